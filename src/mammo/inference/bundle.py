"""A trained model with all that is needed to use it elsewhere: a folder or a zip file, without the pipeline.

model.keras, bundle.json (`About`), record.json (of the training), model_card.md, LICENSE, README.md, what mammo.formats
adds, and SHA256SUMS over all of them. What `About` says is read from the records of a finished run: params.yaml may
have changed since.
"""

import importlib.metadata
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import expit, logit

from mammo.core import schemas
from mammo.core.config import PreprocessConfig, Unit
from mammo.core.errors import InputError
from mammo.core.files import atomic_write, fresh_folder, read_table, sha256
from mammo.core.records import record_path
from mammo.core.row_names import is_combined
from mammo.data.images import preprocess

MODELS = Path("data/models")
PREDICTIONS = Path("data/predictions")
CARDS = Path("data/report/model_cards")
LICENCE = Path("LICENSE")

ABOUT, MODEL, SUMS = "bundle.json", "model.keras", "SHA256SUMS"
CONTINUED, SEEDS = "continue_training", "seeds"
PACKAGES = ("mammo", "keras", "tensorflow", "numpy", "opencv-python-headless", "pydicom", "scipy")
CONFORMAL_TOLERANCE = 1e-8  # MAPIE's own
EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)
BENIGN, MALIGNANT, REFER = "benign", "malignant", "refer"
HOW_TO = """# {name}

A model of mammo for one {unit} at a time. For research and teaching only; not a medical device.

    pip install mammo   # from its repository: pip install -r requirements.txt && pip install --no-deps .
    mammo predict FILM.png --model {place}{box}

or in Python: `mammo.load("{place}").predict("FILM.png"{argument})`. `model_card.md` says what it was trained on and
how well it does, `bundle.json` how films are prepared and probabilities read, `sha256sum -c SHA256SUMS` whether all is
whole.
"""

Floats = npt.NDArray[np.float64]


class BundleError(InputError):
    """A bundle cannot be used, or not be made; the message says which, why and the cure."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class OperatingPoint(_Part):
    """Called malignant: prob >= threshold, which `rule` at `value` chose on validation rows (mammo.operating)."""

    rule: str
    value: float
    threshold: float


class Platt(_Part):
    """Calibrated: expit(slope * logit(prob) + shift), fitted on validation rows (calibration.platt)."""

    slope: float
    shift: float


class About(_Part):
    """How films are prepared for a model and how its probabilities are read.

    conformal: the quantile by confidence (conformal.quantiles), None: there were too few validation rows, so that every
    film is referred. Without operating point, calibration or conformal nothing is known of them. data: fingerprint of
    the pixels it was trained on; record: content hash of its training's record, the tag `content` in MLflow.
    """

    format: Literal[1] = 1
    name: str
    unit: Unit
    preprocess: PreprocessConfig
    flips: bool
    operating_point: OperatingPoint | None = None
    calibration: Platt | None = None
    conformal: dict[str, float | None] = {}
    validation: dict[str, int] = {}
    data: str | None = None
    record: str | None = None
    model_sha256: str
    packages: dict[str, str] = {}
    licence: str = "MIT"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, 1) of what the model takes."""
        return (*preprocess.shape(self.unit, self.preprocess.size_px), 1)

    def calibrated(self, prob: Floats) -> Floats:
        """Calibrated probabilities (n,); nan where there is no calibration."""
        if self.calibration is None:
            return np.full_like(prob, np.nan)
        return np.asarray(expit(self.calibration.slope * logit(prob) + self.calibration.shift))

    def calls(self, prob: Floats) -> list[str | None]:
        """BENIGN or MALIGNANT at the operating point; None where there is none."""
        if self.operating_point is None:
            return [None] * len(prob)
        return [MALIGNANT if one >= self.operating_point.threshold else BENIGN for one in prob]

    def sets(self, prob: Floats, confidence: float) -> list[str | None]:
        """The one class of the prediction set, or REFER for a set of both or none; None without conformal quantiles.

        Raises BundleError for a confidence without quantile.
        """
        if not self.conformal:
            return [None] * len(prob)
        known = {float(level): quantile for level, quantile in self.conformal.items()}
        if confidence not in known:
            levels = ", ".join(map(str, known))
            raise BundleError(f"{self.name}: no prediction sets of confidence {confidence:g}; there are {levels}")
        quantile = known[confidence]
        limit = CONFORMAL_TOLERANCE + (math.inf if quantile is None else quantile)
        held = np.column_stack([prob <= limit, 1 - prob <= limit])
        return [REFER if one.sum() != 1 else (MALIGNANT if one[1] else BENIGN) for one in held]


def names() -> list[str]:
    """The models of this workspace that have a training record."""
    found = sorted(path.stem for path in record_path("train", "any").parent.glob("*.json"))
    continued = [CONTINUED] if record_path(CONTINUED).is_file() else []
    return [name for name in [*found, *continued] if (MODELS / f"{name}.keras").is_file()]


def of_workspace(name: str) -> About:
    """What the records and the validation predictions of a finished run say of `name`; raises BundleError."""
    if is_combined(name):
        raise BundleError(f"{name} is no single model; `predict` takes ensembles, a bundle one of {', '.join(names())}")
    if name not in names():
        raise BundleError(
            f"no finished model {name!r} in this workspace; there are {', '.join(names()) or 'none: run `dvc repro`'}"
        )
    record, model_sha256 = trained(name)
    return described(
        name,
        _training_record(name),
        PREDICTIONS / f"{name}.csv",
        data=record["tags"]["data"],
        flips=record["parameters"]["predict.flips"],
        model_sha256=model_sha256,
    )


def trained(name: str) -> tuple[dict[str, Any], str]:
    """The record of the training of a model below MODELS, and the SHA-256 of its file.

    Raises BundleError where the model or its predictions are not what the record says. That of further seeds names
    folders, not files: those are taken as they are.
    """
    record = recorded(_training_record(name))
    digests = []
    for path in (MODELS / f"{name}.keras", PREDICTIONS / f"{name}.csv"):
        digest = sha256(path) if path.is_file() else "none"
        unnamed = digest if name.startswith(f"{SEEDS}/") else ""
        if not path.is_file() or record["artifacts"].get(path.as_posix(), unnamed) != digest:
            raise BundleError(f"{path} is not what its record says; restore it with `dvc checkout`, or `dvc repro`")
        digests.append(digest)
    return record, digests[0]


def described(name: str, place: Path, predicted: Path, *, data: str, flips: bool, model_sha256: str) -> About:
    """What is known of the row `name` of a finished run, whose record lies at `place` and predictions in `predicted`.

    data: fingerprint of the pixels that it learned from; raises BundleError where it was evaluated on others.
    """
    prepared, evaluated = map(recorded, (record_path("preprocess"), record_path("evaluate", name)))
    if {record["tags"]["data"] for record in (prepared, evaluated)} != {data}:
        raise BundleError(f"{name} was trained, prepared and evaluated on different pixels; run `dvc repro`")
    rule, value, confidences = (evaluated["parameters"][key] for key in ("rule", "value", "conformal"))
    return About(
        name=name,
        unit=prepared["parameters"]["unit"],
        preprocess=PreprocessConfig(**{key: prepared["parameters"][key] for key in PreprocessConfig.model_fields}),
        flips=flips,
        data=data,
        record=sha256(place),
        model_sha256=model_sha256,
        packages={package: importlib.metadata.version(package) for package in PACKAGES},
        **fitted(read_table(predicted, schemas.PREDICTIONS), rule, value, confidences),
    )


def fitted(predictions: pd.DataFrame, rule: str, value: float, confidences: Sequence[float]) -> dict[str, Any]:
    """What `About` holds that is fitted on the validation rows of `predictions` (tables.PREDICTIONS), by field."""
    from mammo.evaluation import operating_point
    from mammo.metrics import calibration, conformal  # SciPy's and scikit-learn's heavy parts, where they are needed

    validation = predictions[predictions["split"] == "val"]
    label, prob = validation["label"].to_numpy(), validation["prob"].to_numpy()
    slope, shift = calibration.platt_line(label, prob)
    quantiles = conformal.quantiles(label, prob, confidences)
    return {
        "operating_point": OperatingPoint(
            rule=rule, value=value, threshold=float(operating_point.thresholds(predictions, rule, value).iloc[0])
        ),
        "calibration": None if math.isnan(slope) else Platt(slope=slope, shift=shift),
        "conformal": {
            f"{confidence:g}": quantile if math.isfinite(quantile) else None
            for confidence, quantile in zip(confidences, quantiles, strict=True)
        },
        "validation": {
            "n": len(validation),
            "n_malignant": int(label.sum()),
            "n_patients": int(validation["patient_id"].nunique()),
        },
    }


def known_file(path: Path) -> str | None:
    """The name of the model of this workspace whose file has the same content as `path`; None if there is none."""
    digest = sha256(path)
    for name in names():
        if recorded(_training_record(name))["artifacts"].get((MODELS / f"{name}.keras").as_posix()) == digest:
            return name
    return None


def _training_record(name: str) -> Path:
    if name.startswith(f"{SEEDS}/"):
        return record_path(SEEDS, name.split("/")[1])
    return record_path(CONTINUED) if name == CONTINUED else record_path("train", name)


def recorded(path: Path) -> dict[str, Any]:
    """The record in `path`; raises BundleError where there is none."""
    if not path.is_file():
        raise BundleError(f"{path} does not exist; `dvc repro` finishes the run")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def write(name: str, out: Path, more: Callable[[Path, About], None] | None = None) -> About:
    """Write the bundle of a finished model of this workspace to `out`, a folder or FILE.zip.

    more: writes further files into the folder. Raises BundleError where the run is not finished, or `out` holds
    something else.
    """
    about = of_workspace(name)
    card = CARDS / f"{name}.md"
    for needed in (card, LICENCE):
        if not needed.is_file():
            raise BundleError(f"{needed} does not exist; `dvc repro` in a checkout of the repository makes it whole")
    _refuse_to_replace(out)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        shutil.copyfile(MODELS / f"{name}.keras", folder / MODEL)
        shutil.copyfile(_training_record(name), folder / "record.json")
        shutil.copyfile(card, folder / "model_card.md")
        shutil.copyfile(LICENCE, folder / "LICENSE")
        (folder / "README.md").write_text(_how_to(about, out), encoding="utf-8")
        (folder / ABOUT).write_text(about.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if more is not None:
            more(folder, about)
        (folder / SUMS).write_text(_sums(folder), encoding="utf-8")
        _move(folder, out)
    return about


def _refuse_to_replace(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / ABOUT).is_file():
        raise BundleError(f"{out} is a folder with something else in it; name a new one, or a .zip file")
    if out.suffix == ".zip" and out.is_dir():
        raise BundleError(f"{out} is a folder; name a file")
    if out.suffix != ".zip" and out.is_file():
        raise BundleError(f"{out} is a file; name a folder, or a file that ends in .zip")


def _how_to(about: About, out: Path) -> str:
    lesion = about.unit == "lesion"
    return HOW_TO.format(
        name=about.name,
        unit=about.unit,
        place=out.name,
        box=" --box X0,Y0,X1,Y1" if lesion else "",
        argument=", box=(x0, y0, x1, y1)" if lesion else "",
    )


def _sums(folder: Path) -> str:
    """As `sha256sum` writes and checks it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)


def _move(folder: Path, out: Path) -> None:
    if out.suffix == ".zip":
        with atomic_write(out) as unfinished, zipfile.ZipFile(unfinished, "w") as target:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                place = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH_OF_ZIP)
                target.writestr(place, path.read_bytes())
    else:
        with fresh_folder(out) as fresh:
            shutil.copytree(folder, fresh, dirs_exist_ok=True)


def is_bundle(path: Path) -> bool:
    """Whether `path` looks like one: a folder with bundle.json, or a zip file."""
    return (path / ABOUT).is_file() or (path.is_file() and path.suffix == ".zip")


@contextmanager
def opened(path: Path) -> Iterator[tuple[About, Path]]:
    """What a bundle says, and its folder, checked against its checksums; a zip is unpacked for the while."""
    if path.is_dir():
        yield _checked(path, path), path
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            with zipfile.ZipFile(path) as source:
                source.extractall(folder)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise BundleError(f"{path}: not a zip file, or damaged ({error}); fetch or export it again") from error
        yield _checked(folder, path), folder


def _checked(folder: Path, where: Path) -> About:
    """The bundle's own description; raises BundleError for what is missing or not as its checksum says."""
    for name, digest in _expected(folder, where).items():
        if not (folder / name).is_file():
            raise BundleError(f"{where}: {name} is missing; fetch or export the bundle again")
        if sha256(folder / name) != digest:
            raise BundleError(
                f"{where}: {name} has a wrong checksum: it is damaged or was changed since the export; "
                "fetch or export the bundle again"
            )
    try:
        return About.model_validate_json((folder / ABOUT).read_bytes())
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors())
        raise BundleError(f"{where}: {ABOUT} is not of this version of mammo ({what}); export it again") from None


def _expected(folder: Path, where: Path) -> Mapping[str, str]:
    """SHA-256 by file name."""
    path = folder / SUMS
    if not path.is_file():
        raise BundleError(f"{where}: no {SUMS} in it; this is no bundle of `python -m mammo export`")
    lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
    listed = {name: digest for digest, name in (line for line in lines if len(line) == 2)}
    if lacking := sorted({ABOUT, MODEL} - set(listed)):
        raise BundleError(f"{where}: {SUMS} does not list {', '.join(lacking)}; fetch or export the bundle again")
    return listed
