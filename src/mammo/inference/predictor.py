"""Image files -> what a finished model says of each: the stages' own code on single films, a batch at a time.

A file that cannot be used gets its error in its row, and the others go on.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo import models
from mammo.core.config import PARAMS_FILE, load_config
from mammo.core.errors import InputError
from mammo.core.files import sha256
from mammo.core.parallel import parallel_map
from mammo.core.row_names import is_combined
from mammo.core.schemas import BOX_PREFIX
from mammo.data.images import dicom, input_check, io, preprocess
from mammo.data.images.dicom import PixelError
from mammo.data.images.preprocess import Square
from mammo.data.samples import Samples
from mammo.evaluation.ensembling import Combination
from mammo.explain.saliency import METHODS, Explainer
from mammo.inference import bundle, ensemble
from mammo.inference.bundle import About
from mammo.training import predict

Item = TypeVar("Item")
Result = TypeVar("Result")
Corners = tuple[int, int, int, int]  # x0, y0, x1, y1 in px of the film; x1 and y1 excluded
Boxes = Mapping[Path, Sequence[Corners]]

COLUMNS = [
    *("file", "box", "prob", "calibrated", "threshold", "call", "set", "confidence", "doubt", "heat_map", "error"),
    *("model", "version", "model_sha256"),
]
CONFIDENCE = 0.9
METHOD = "layercam"
WORKERS = 2
log = logging.getLogger(__name__)
MLFLOW = ("runs:/", "models:/")


@dataclass(frozen=True)
class Asked:
    """A file to be read, in which a lesion model looks at `box`; error: why it will not be."""

    file: Path
    box: Corners | None = None
    error: str = ""


@dataclass(frozen=True)
class Seen:
    """A file as the model sees it; without a square there is an error."""

    asked: Asked
    square: Square | None = None
    doubt: str = ""
    error: str = ""


@dataclass(frozen=True)
class Ensemble:
    """Models that look at the same images, by name, and what makes one probability of theirs."""

    members: Mapping[str, keras.Model]
    combination: Combination


@dataclass(frozen=True)
class Predictor:
    """A model or an ensemble, and how films are prepared for it and its probabilities read."""

    model: keras.Model | Ensemble
    about: About

    def predict(
        self,
        files: Path | str | Iterable[Path | str],
        box: Corners | None = None,
        boxes: Boxes | None = None,
        *,
        confidence: float | None = None,
        heat_maps: Path | str | None = None,
        method: str = METHOD,
        workers: int = WORKERS,
    ) -> pd.DataFrame:
        """A row per file and box (COLUMNS): what the model says of it, or in `error` why it says nothing.

        files: image files and folders of them. A model of lesions needs `box` (of one file) or `boxes` by file. prob is
        the model's own, `calibrated` and `call` rest on its validation rows, `set` is the class that stands at
        `confidence` (of the bundle's; .9 if it has it) or "refer". doubt: why the image can be no mammogram.
        heat_maps: folder for a picture per row. Raises InputError for what concerns all files.
        """
        asked = self._asked(_listed([files] if isinstance(files, Path | str) else files), box, boxes)
        level = self._confidence(confidence)
        draw = None if heat_maps is None else self._drawing(Path(heat_maps), method, [one.file for one in asked])
        read = parallel_map(partial(_see, about=self.about), asked, workers, f"predict {self.about.name}")
        told = _one_behind(lambda batch: list(self._rows(batch, level, draw)), _batches(read))
        rows = [row for of_batch in told for row in of_batch]
        return pd.DataFrame(rows, columns=COLUMNS)

    def probabilities(self, images: npt.NDArray[np.unsignedinteger[Any]]) -> npt.NDArray[np.float64]:
        """The model's own probabilities (n,) of prepared images (n, h, w), uint8 or uint16."""
        samples = Samples(pd.DataFrame(index=range(len(images))), images)
        if not isinstance(self.model, Ensemble):
            return predict.probabilities(self.model, samples, self.about.flips)
        single = [predict.probabilities(one, samples, self.about.flips) for one in self.model.members.values()]
        return self.model.combination(np.column_stack(single))

    def prepared(self, file: Path | str, box: Corners | None = None) -> Square:
        """A file as the model sees it; raises PixelError."""
        return _prepared(Path(file), io.shape(Path(file)), box, self.about)

    def _asked(self, files: list[Asked], box: Corners | None, boxes: Boxes | None) -> list[Asked]:
        if self.about.unit == "breast":
            raise InputError(
                f"{self.about.name} reads the CC and MLO view of a breast together, and single films are given; "
                "use a model that was trained with `ingest.unit: lesion` or `image`"
            )
        if self.about.unit == "image":
            if box is not None or boxes is not None:
                raise InputError(f"{self.about.name} reads whole films; leave the box out")
            return files
        if box is not None and (len(files) != 1 or boxes is not None):
            raise InputError(f"one box, but {len(files)} files or a table of boxes; give the boxes of all in one table")
        return _with_boxes(files, {files[0].file: [box]} if box is not None else boxes or {}, self.about.name)

    def _confidence(self, asked: float | None) -> float:
        levels = [float(level) for level in self.about.conformal] or [CONFIDENCE]
        chosen = min(levels, key=lambda level: abs(level - CONFIDENCE)) if asked is None else asked
        self.about.sets(np.empty(0), chosen)
        return chosen

    def _rows(self, batch: list[Seen], level: float, draw: "Drawing | None") -> Iterator[dict[str, object]]:
        seen = [one.square for one in batch if one.square is not None]
        prob = self.probabilities(np.stack([square.image for square in seen])) if seen else np.empty(0)
        about = self.about
        told = zip(prob, about.calibrated(prob), about.calls(prob), about.sets(prob, level), strict=True)
        pictures = iter(draw([one for one in batch if one.square is not None], prob) if draw and seen else [])
        point, sets = about.operating_point, bool(about.conformal)
        for one in batch:
            row: dict[str, object] = {
                "file": str(one.asked.file),
                "box": ",".join(map(str, one.asked.box)) if one.asked.box else None,
                "doubt": one.doubt or None,
                "error": one.error or None,
                "model": about.name,
                "version": about.record,
                "model_sha256": about.model_sha256,
            }
            if one.square is not None:
                own, calibrated, call, chosen = next(told)
                row |= {"heat_map": next(pictures, None)}
                if np.isnan(own):
                    row["error"] = (
                        f"{one.asked.file}: {about.name} gives no number for it (nan); are its weights whole?"
                    )
                else:
                    row |= {"prob": own, "calibrated": calibrated, "call": call, "set": chosen}
                    row |= {"threshold": point.threshold if point else None, "confidence": level if sets else None}
            yield row

    def _drawing(self, folder: Path, method: str, files: list[Path]) -> "Drawing":
        if method not in METHODS:
            raise InputError(f"unknown saliency method {method!r}; there are {', '.join(METHODS)}")
        if isinstance(self.model, Ensemble):
            raise InputError(
                f"{self.about.name} has no heat map of its own; ask a member: {', '.join(self.model.members)}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return Drawing(Explainer(self.model), method, folder, {})


@dataclass(frozen=True)
class Drawing:
    """Pictures of where the model looked, written to a folder; taken: how often a name was."""

    explainer: Explainer
    method: str
    folder: Path
    taken: dict[str, int]

    def __call__(self, batch: list[Seen], prob: npt.NDArray[np.float64]) -> list[str]:
        """Write the film beside its heat map for each of `batch`; returns the files."""
        squares = [one.square for one in batch if one.square is not None]
        images = Samples(pd.DataFrame(index=range(len(squares))), np.stack([square.image for square in squares]))
        shown = images.pixels(np.arange(len(squares)))
        maps = np.concatenate(
            [self.explainer.maps(shown[place : place + 1], self.method) for place in range(len(shown))]
        )
        found = zip(batch, squares, shown[..., 0].astype(np.uint8), maps, prob, strict=True)
        return [
            self._write(one.asked.file, image, square.mask, heat, value) for one, square, image, heat, value in found
        ]

    def _write(
        self,
        file: Path,
        image: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.uint8],
        heat: npt.NDArray[np.float32],
        prob: float,
    ) -> str:
        from mammo.reporting.figures import evaluation  # matplotlib, only where something is drawn

        number = self.taken[file.stem] = self.taken.get(file.stem, 0) + 1
        path = self.folder / (f"{file.stem}.png" if number == 1 else f"{file.stem}_{number}.png")
        titles = [file.name, f"{self.method}, prob {prob:.2f}"]
        sheet = evaluation.samples(
            np.stack([image, image]), np.stack([mask, mask]), titles, np.stack([np.zeros_like(heat), heat])
        )
        evaluation.save(sheet, path)
        return str(path)


def load(source: Path | str) -> Predictor:
    """What `source` names: a bundle, a .keras file, an MLflow URI, a finished model or an ensemble of this workspace.

    Raises InputError for what is none of these. A .keras file that is no model of this workspace is prepared for by
    params.yaml, and nothing is known of its operating point and calibration.
    """
    text = str(source)
    if text.startswith(MLFLOW):
        return _of_server(text)
    path = Path(source)
    if bundle.is_bundle(path):
        with bundle.opened(path) as (about, folder):
            return Predictor(models.load(folder / bundle.MODEL), about)
    if path.suffix == ".keras":
        name = bundle.known_file(models.existing(path))
        return Predictor(models.load(path), bundle.of_workspace(name)) if name else _by_params(path, path.stem)
    if path.exists():
        raise bundle.BundleError(f"{path} is no bundle of `python -m mammo export`: it has no {bundle.ABOUT}")
    if path.suffix == ".zip" or path.is_absolute():
        raise InputError(f"{path} does not exist")
    if is_combined(text):
        return _of_ensemble(text)
    about = bundle.of_workspace(text)
    return Predictor(models.load(_file(text)), about)


def _of_ensemble(name: str) -> Predictor:
    found = ensemble.of_workspace(name)
    members = {member: models.load(_file(member)) for member in found.members}
    return Predictor(Ensemble(members, found.combination), found.about)


def _file(name: str) -> Path:
    return bundle.MODELS / f"{name}.keras"


def _of_server(uri: str) -> Predictor:
    """A model from MLflow; it is known here if a model of this workspace that the URI names has the same weights."""
    from mammo.tracking import mlflow_client  # MLflow, only where it is asked

    path = mlflow_client.download_model(uri)
    model = models.load(path)
    for name in bundle.names():
        if name in uri.split("/") and _same(model, models.load(_file(name))):
            return Predictor(model, bundle.of_workspace(name))
    return _by_params(path, uri)


def _same(one: keras.Model, other: keras.Model) -> bool:
    pairs = list(zip(one.get_weights(), other.get_weights(), strict=False))
    return len(one.weights) == len(other.weights) and all(np.array_equal(first, second) for first, second in pairs)


def _by_params(path: Path, name: str) -> Predictor:
    if not PARAMS_FILE.is_file():
        raise InputError(
            f"{name} does not say how films are prepared for it; run in the repository that trained it, whose "
            "params.yaml does, or use a bundle (`python -m mammo export`)"
        )
    loaded, model = load_config(), models.load(path)
    about = About(
        name=name,
        unit=loaded.ingest.unit,
        preprocess=loaded.preprocess,
        flips=loaded.predict.flips,
        model_sha256=sha256(path),
    )
    if model.input_shape[1:] != about.image_shape:
        raise InputError(
            f"{name} takes images of {model.input_shape[1:]}, and params.yaml prepares {about.image_shape}; "
            "set preprocess.size_px and ingest.unit as it was trained"
        )
    log.warning("%s: no operating point, calibration or prediction sets are known of it", name)
    return Predictor(model, about)


def _listed(files: Iterable[Path | str]) -> list[Asked]:
    """Every file, those of folders in the order of their names; a folder without images is an error of its own."""
    found: list[Asked] = []
    for path in map(Path, files):
        if path.is_dir():
            inside = [Asked(file) for file in sorted(path.rglob("*")) if file.is_file() and _is_image(file)]
            found += inside or [Asked(path, error=f"{path}: no image in this folder")]
        else:
            found.append(Asked(path, error="" if path.exists() else f"{path} does not exist"))
    if not found:
        raise InputError("no files are given")
    return found


def _is_image(file: Path) -> bool:
    """By its suffix; DICOM files often have none."""
    if file.suffix:
        return file.suffix.lower() in io.IMAGE_SUFFIXES
    with file.open("rb") as opened:
        return dicom.is_dicom(opened)


def read_boxes(path: Path) -> dict[Path, list[Corners]]:
    """A CSV table with the columns file, x0, y0, x1, y1, by file; a file may have several lesions.

    A relative file starts at the table's folder, or else at the current one. Raises InputError.
    """
    try:
        table = pd.read_csv(path, dtype={"file": str})
        corners = table[["x0", "y0", "x1", "y1"]].astype(np.int64)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path}: needs the columns file, x0, y0, x1, y1, the last four in whole px ({error})"
        ) from error
    found: dict[Path, list[Corners]] = {}
    for name, *box in zip(table["file"], *(corners[column] for column in corners), strict=True):
        beside = path.parent / name
        found.setdefault(beside if beside.exists() else Path(name), []).append((box[0], box[1], box[2], box[3]))
    return found


def _with_boxes(files: list[Asked], boxes: Boxes, name: str) -> list[Asked]:
    """A row per box; a file without box, and a box without file, are errors of their own."""
    by_place = {path.resolve(): of_file for path, of_file in boxes.items()}
    found: list[Asked] = []
    for one in files:
        own = by_place.get(one.file.resolve(), ())
        if one.error:
            found.append(one)
        elif own:
            found += [Asked(one.file, box) for box in own]
        else:
            why = f"{one.file}: {name} reads lesions, and no box says where one is; give --box or --boxes"
            found.append(Asked(one.file, error=why))
    given = {one.file.resolve() for one in files}
    left = [path for path in boxes if path.resolve() not in given]
    return found + [Asked(path, error=f"{path}: has a box, but is not among the files") for path in left]


def _see(asked: Asked, about: About) -> Seen:
    if asked.error:
        return Seen(asked, error=asked.error)
    try:
        image = io.load(asked.file)
        doubt = input_check.rejection_reason(image)
        return Seen(asked, _prepared(asked.file, image.shape, asked.box, about), doubt)
    except InputError as error:
        return Seen(asked, error=str(error))


def _prepared(file: Path, shape: tuple[int, int], box: Corners | None, about: About) -> Square:
    """shape: (h, w) of the film in `file`."""
    marked = "" if box is None else _mark(file, shape, box)
    case = {"image_path": file.name, "mask_path": marked, "view": ""}
    return preprocess.prepare(case, file.parent, about.unit, about.preprocess)


def _mark(file: Path, shape: tuple[int, int], box: Corners) -> str:
    """`box` as a table of cases has it; raises PixelError where it is not on the film."""
    height, width = shape
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise PixelError(
            f"{file}: the box {x0},{y0},{x1},{y1} (x0,y0,x1,y1) is not on the film, which is {width} px wide and "
            f"{height} px high"
        )
    return f"{BOX_PREFIX}{y0},{x0},{y1},{x1}"


def _batches(read: Iterator[Seen]) -> Iterator[list[Seen]]:
    while batch := list(islice(read, predict.BATCH)):
        yield batch


def _one_behind(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` of every item, in their order: one item is worked on while the next one is made."""
    with ThreadPoolExecutor(1) as pool:
        under_way: Future[Result] | None = None
        for item in items:
            begun = pool.submit(work, item)
            if under_way is not None:
                yield under_way.result()
            under_way = begun
        if under_way is not None:
            yield under_way.result()
