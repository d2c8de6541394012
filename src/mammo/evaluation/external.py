"""Finished models on data from elsewhere. Nothing is trained, fitted or chosen there.

The operating point and the calibration come from the validation rows that the models already have; the rows of the
external set stand where the test rows stood. Its patients are strangers to the training data by name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.config import Config, ConfigError, EvaluateConfig, IdcConfig, IngestConfig, PreprocessConfig
from mammo.core.errors import InputError
from mammo.core.parallel import parallel_map
from mammo.data import datasets
from mammo.data.datasets import Located
from mammo.data.images import preprocess
from mammo.data.images.dicom import PixelError
from mammo.data.images.transforms import Film
from mammo.evaluation.evaluate import Evaluated
from mammo.metrics import calibration, discrimination

CALIBRATORS = ["raw", "platt"]  # of calibration.METHODS: as the models say it, and recalibrated on validation
MEASURES = ["ece", "brier", "slope", "intercept"]
INTERVALS = ["auc", "sensitivity", "specificity", "accuracy", "ppv", "npv"]
COLUMNS = [
    *("model", "samples", "unit", "weights", "n", "n_patients", "n_malignant"),
    *(f"{name}{limit}" for name in INTERVALS for limit in ("", "_low", "_high")),
    *("threshold", "auc_official_test"),
    *(f"{measure}_{method}" for method in CALIBRATORS for measure in MEASURES),
]


def ingest_params(loaded: Config, name: str) -> IngestConfig:
    """How the data set `external.<name>` is read: as `ingest` reads its own, in the same unit and types."""
    known = loaded.external
    if name not in known:
        raise ConfigError(f"unknown external data set {name!r}; external has: {', '.join(known) or 'none'}")
    if name == loaded.ingest.dataset:
        raise ConfigError(f"external.{name}: the models were trained on {name}, which is not external to them")
    own = known[name]
    return loaded.ingest.model_copy(
        update={
            "dataset": name,
            "source": own.source,
            "root": own.root,
            "expect": own.expect,
            "on_error": own.on_error,
            "idc": IdcConfig(patients=own.patients),
        }
    )


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Errors of sources and readers speak of `ingest`; say which section of params.yaml they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"external.{name}, where this says `ingest`: {error}") from error


def check(located: Located, ingest: IngestConfig) -> None:
    """Raise DatasetError where the copy is not what `expect` and `on_error` ask for."""
    if ingest.expect == "full":
        published = datasets.load_dataset(ingest.dataset).published(list(ingest.abnormality_types))
        datasets.assert_full(located.counts, published, ingest.dataset)
    if ingest.on_error == "fail":
        datasets.refuse_excluded(located.excluded, ingest.dataset)


def prepare(
    cases: pd.DataFrame,
    root: Path,
    unit: str,
    settings: PreprocessConfig,
    images: npt.NDArray[np.unsignedinteger],
    workers: int,
) -> dict[str, str]:
    """Fill `images` (n, h, w), on disk, with what a model sees of each case; returns by sample_id why one failed."""

    def attempt(case: dict[str, object]) -> Film | str:
        try:
            return preprocess.prepare_case(case, root, unit, settings).image
        except PixelError as error:
            return str(error).replace(f"{root}/", "")

    damaged: dict[str, str] = {}
    records = cast(list[dict[str, object]], cases.to_dict(orient="records"))
    done = parallel_map(attempt, records, workers, "preprocessing")
    for number, (sample_id, image) in enumerate(zip(cases["sample_id"], done, strict=True)):
        if isinstance(image, str):
            damaged[sample_id] = image
        else:
            images[number] = image
    return damaged


def frozen(predictions: pd.DataFrame, external: pd.DataFrame) -> pd.DataFrame:
    """The validation rows of `predictions` with the rows of `external` as their test set; both tables.PREDICTIONS.

    Raises InputError where a patient is in both.
    """
    validation = predictions[predictions["split"] == "val"]
    shared = sorted(set(validation["patient_id"]) & set(external["patient_id"]))
    if shared:
        raise InputError(
            f"{len(shared)} patient(s) of the external set are among the validation patients, e.g. "
            f"{', '.join(shared[:3])}; it is not external"
        )
    return pd.concat([validation, external.assign(split="test")], ignore_index=True)


def calibrated(predictions: pd.DataFrame, params: EvaluateConfig) -> dict[str, float]:
    """`<measure>_<calibrator>` on the test rows, each calibrator being fitted on the validation rows."""
    validation, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    found: dict[str, float] = {}
    for name in CALIBRATORS:
        calibrator = calibration.METHODS[name](validation["label"].to_numpy(), validation["prob"].to_numpy())
        summary = calibration.summary(
            test["label"].to_numpy(),
            calibrator(test["prob"].to_numpy()),
            test["patient_id"].to_numpy(str),
            confidence=params.confidence,
        )
        found |= {f"{measure}_{name}": summary[measure] for measure in MEASURES}
    return found


def official_auc(predictions: pd.DataFrame) -> float:
    """AUC on the test rows of the data set that the model comes from: what the external AUC is read against."""
    test = predictions[predictions["split"] == "test"]
    return discrimination.auc(test["label"], test["prob"])


def table(rows: dict[str, dict[str, object]], evaluated: dict[str, Evaluated]) -> pd.DataFrame:
    """metrics/external/<name>.csv, one row per model; rows: what else than the evaluation a row says, by model."""
    parts = [
        {"model": name, "n_malignant": int(found.rows["label"].sum()), **found.values(), **rows[name]}
        for name, found in evaluated.items()
    ]
    return pd.DataFrame(parts)[COLUMNS]
