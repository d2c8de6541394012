"""The finished models of this workspace, described from the records of the run: params.yaml may have changed since."""

import importlib.metadata
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mammo.core import row_names, schemas
from mammo.core.config import PreprocessConfig
from mammo.core.files import read_table, sha256
from mammo.core.paths import MEMBERS, MODELS, PREDICTIONS
from mammo.core.records import Record, read_record, record_path
from mammo.core.row_names import CONTINUED
from mammo.inference.about import About, BundleError, OperatingPoint, Platt, make_reference

SEEDS = "seeds"
PACKAGES = ("mammo", "keras", "tensorflow", "numpy", "opencv-python-headless", "pydicom", "scipy")


@dataclass(frozen=True)
class TrainedModel:
    """What a row of the comparison table rests on.

    record: path of the record of its training; predictions: its table; data: fingerprint of its training pixels.
    """

    record: Path
    predictions: Path
    data: str
    flips: bool
    model_sha256: str


def list_models() -> list[str]:
    """Return the names of the models that have a training record, those of one training first."""
    trained, averaged = (
        sorted(path.stem for path in record_path(stage, "any").parent.glob("*.json"))
        for stage in ("train", "cross_validate")
    )
    continued = [CONTINUED] if record_path(CONTINUED).is_file() else []
    names = [*trained, *continued, *map(row_names.members_name, averaged)]
    return [name for name in names if model_path(name).is_file()]


def model_path(name: str) -> Path:
    """Return the path of the .keras file of a model."""
    return MODELS / f"{name}.keras"


def training_record_path(name: str) -> Path:
    """Return the path of the record of the model's training."""
    if name.startswith(f"{SEEDS}/"):
        return record_path(SEEDS, name.split("/")[1])
    if row_names.is_average(name):
        return record_path("cross_validate", name.removeprefix(MEMBERS))
    return record_path(CONTINUED) if name == CONTINUED else record_path("train", name)


def describe_model(name: str) -> About:
    """Return what the records and the validation predictions of the run state about a model; raises BundleError.

    Of ensembles and rows of two views, `ensemble.read_row`.
    """
    if name not in list_models():
        known = ", ".join(list_models()) or "none: run `dvc repro`"
        raise BundleError(f"no finished model {name!r} in this workspace; there are {known}")
    record, model_sha256 = check_training(name)
    flips = record.parameters["predict.flips"]
    predictions = PREDICTIONS / f"{name}.csv"
    return describe_row(
        name, TrainedModel(training_record_path(name), predictions, record.tags["data"], flips, model_sha256)
    )


def check_training(name: str) -> tuple[Record, str]:
    """Return the record of the training of a model, and the SHA-256 of its file.

    Raises BundleError where the model or its predictions are not what the record says. The record of further seeds
    names no model files: those are taken as they are.
    """
    record = require_record(training_record_path(name))
    digests = []
    for path in (model_path(name), PREDICTIONS / f"{name}.csv"):
        if not path.is_file():
            raise BundleError(f"{path} does not exist; restore it with `dvc checkout`, or `dvc repro`")
        digest = sha256(path)
        unrecorded = digest if name.startswith(f"{SEEDS}/") else ""
        if record.artifacts.get(path.as_posix(), unrecorded) != digest:
            raise BundleError(f"{path} is not what its record says; restore it with `dvc checkout`, or `dvc repro`")
        digests.append(digest)
    return record, digests[0]


def describe_row(name: str, trained: TrainedModel) -> About:
    """Return what is known of a row of the comparison table.

    Raises BundleError where it was evaluated on other pixels than it learned from.
    """
    prepared, evaluated = map(require_record, (record_path("preprocess"), record_path("evaluate", name)))
    if {record.tags["data"] for record in (prepared, evaluated)} != {trained.data}:
        raise BundleError(f"{name} was trained, prepared and evaluated on different pixels; run `dvc repro`")
    rule, value, confidences = (evaluated.parameters[key] for key in ("rule", "value", "conformal"))
    predictions = read_table(trained.predictions, schemas.PREDICTIONS)
    return About(
        name=name,
        unit=prepared.parameters["unit"],
        preprocess=PreprocessConfig(**{key: prepared.parameters[key] for key in PreprocessConfig.model_fields}),
        flips=trained.flips,
        data=trained.data,
        record=sha256(trained.record),
        model_sha256=trained.model_sha256,
        packages={package: importlib.metadata.version(package) for package in PACKAGES},
        **fit_decisions(predictions, rule, value, confidences),
    )


def fit_decisions(predictions: pd.DataFrame, rule: str, value: float, confidences: Sequence[float]) -> dict[str, Any]:
    """Return the fields of About that are fitted on the validation rows of `predictions` (schemas.PREDICTIONS)."""
    from mammo.evaluation import operating_point
    from mammo.metrics import calibration, conformal  # SciPy's and scikit-learn's heavy parts, where they are needed

    validation = predictions[predictions["split"] == "val"]
    label, prob = validation["label"].to_numpy(), validation["prob"].to_numpy()
    slope, shift = calibration.platt_line(label, prob)
    quantiles = conformal.quantiles(label, prob, confidences)
    threshold = float(operating_point.choose_thresholds(predictions, rule, value).iloc[0])
    fitted = {
        "operating_point": OperatingPoint(rule=rule, value=value, threshold=threshold),
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
    return fitted | {"reference": make_reference(prob, fitted)}


def identify_file(path: Path) -> str | None:
    """Return the name of the model whose file has the same content as `path`; None if there is none."""
    digest = sha256(path)
    for name in list_models():
        if require_record(training_record_path(name)).artifacts.get(model_path(name).as_posix()) == digest:
            return name
    return None


def require_record(path: Path) -> Record:
    """Return the record in `path`; raises BundleError where there is none."""
    if not path.is_file():
        raise BundleError(f"{path} does not exist; `dvc repro` finishes the run")
    return read_record(path)
