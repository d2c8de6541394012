"""Evaluation of finished models on another data set, on which nothing is trained, fitted or chosen.

The operating point and the calibration come from the validation rows that the models already have; the external rows
take the place of the test rows. No external patient, and no external film, is one of the models' own data.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.config import Config, ConfigError, EvaluateConfig, IdcConfig, IngestConfig, PreprocessConfig
from mammo.core.errors import InputError
from mammo.core.parallel import parallel_map
from mammo.data import datasets
from mammo.data.cohort import leakage
from mammo.data.datasets import Located
from mammo.data.images import preprocess
from mammo.data.images.dicom import PixelError
from mammo.data.images.transforms import Film
from mammo.evaluation.comparison_rows import EvaluatedRow
from mammo.metrics import calibration, discrimination

EXAMPLES = 3  # of patients and films, in an error
CALIBRATORS = ["raw", "platt"]  # of calibration.METHODS: as the models say it, and recalibrated on validation
MEASURES = ["ece", "brier", "slope", "intercept"]
INTERVALS = ["auc", "sensitivity", "specificity", "accuracy", "ppv", "npv"]
COLUMNS = [
    *("model", "samples", "unit", "weights", "n", "n_patients", "n_malignant"),
    *(f"{name}{limit}" for name in INTERVALS for limit in ("", "_low", "_high")),
    *("threshold", "auc_official_test"),
    *(f"{measure}_{method}" for method in CALIBRATORS for measure in MEASURES),
]


@dataclass(frozen=True)
class FilmPreparation:
    """The preprocessing of the films below `root`, the same as that of the training films."""

    root: Path
    unit: str
    preprocess: PreprocessConfig
    workers: int


def external_ingest_config(config: Config, name: str) -> IngestConfig:
    """Return how the data set `external.<name>` is read: as `ingest` reads its own, in the same unit and types."""
    if name not in config.external:
        raise ConfigError(f"unknown external data set {name!r}; external has: {', '.join(config.external) or 'none'}")
    if name == config.ingest.dataset:
        raise ConfigError(f"external.{name}: the models were trained on {name}, which is not external to them")
    external = config.external[name]
    return config.ingest.model_copy(
        update={
            "dataset": name,
            "source": external.source,
            "root": external.root,
            "expect": external.expect,
            "on_error": external.on_error,
            "idc": IdcConfig(patients=external.patients),
        }
    )


@contextmanager
def name_section_in_errors(name: str) -> Iterator[None]:
    """Say in errors of sources and readers, which speak of `ingest`, that they are about `external.<name>`."""
    try:
        yield
    except InputError as error:
        raise InputError(f"external.{name}, where this says `ingest`: {error}") from error


def check_copy(located: Located, ingest: IngestConfig) -> None:
    """Raise DatasetError where the copy is not what `expect` and `on_error` ask for."""
    if ingest.expect == "full":
        published = datasets.load_dataset(ingest.dataset).published(list(ingest.abnormality_types))
        datasets.assert_full(located.counts, published, ingest.dataset)
    if ingest.on_error == "fail":
        datasets.refuse_excluded(located.excluded, ingest.dataset)


def refuse_known_patients(cases: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Raise InputError where a patient of the external `cases` has a split, whichever it is.

    cases: schemas.CASES, splits: schemas.SPLITS.
    """
    split_of = splits.drop_duplicates("patient_id").set_index("patient_id")["split"]
    known = sorted(set(cases["patient_id"]) & set(split_of.index))
    if known:
        named = ", ".join(f"{patient} ({split_of[patient]})" for patient in known[:EXAMPLES])
        raise InputError(
            f"{len(known)} of {cases['patient_id'].nunique()} patient(s) are also in data/splits.csv, e.g. {named}; "
            "the set is not external to the models: leave these patients out of it"
        )


def refuse_known_films(films: pd.DataFrame, known_films: pd.DataFrame) -> None:
    """Raise InputError where an external film is one of the models' own data under another name.

    films, known_films: schemas.MANIFEST of the external set, and of ingest.
    """
    same = leakage.match_manifests(films, known_films)
    if len(same):
        named = "; ".join(f"{row.path} is {row.known_path}" for row in same.head(EXAMPLES).itertuples())
        raise InputError(
            f"{same['path'].nunique()} external film(s) show films of data/manifest.csv, e.g. {named}; the set is not "
            "external to the models: leave these films out of it"
        )


def prepare_films(
    cases: pd.DataFrame, preparation: FilmPreparation, images: npt.NDArray[np.unsignedinteger]
) -> dict[str, str]:
    """Fill `images` (n, h, w), on disk, with the model input of each case; return failures as reasons by sample_id."""
    root, unit, settings = preparation.root, preparation.unit, preparation.preprocess

    def attempt(case: dict[str, object]) -> Film | str:
        try:
            return preprocess.prepare_case(case, root, unit, settings).image
        except PixelError as error:
            return str(error).replace(f"{root}/", "")

    damaged: dict[str, str] = {}
    records = cast(list[dict[str, object]], cases.to_dict(orient="records"))
    prepared = parallel_map(attempt, records, preparation.workers, "preprocessing")
    for number, (sample_id, image) in enumerate(zip(cases["sample_id"], prepared, strict=True)):
        if isinstance(image, str):
            damaged[sample_id] = image
        else:
            images[number] = image
    return damaged


def replace_test_rows(predictions: pd.DataFrame, external: pd.DataFrame) -> pd.DataFrame:
    """Return the validation rows of `predictions` with `external` as their test rows; both schemas.PREDICTIONS.

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


def measure_calibration(predictions: pd.DataFrame, config: EvaluateConfig) -> dict[str, float]:
    """Return `<measure>_<calibrator>` on the test rows, each calibrator being fitted on the validation rows."""
    validation, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    measures: dict[str, float] = {}
    for name in CALIBRATORS:
        calibrator = calibration.METHODS[name](validation["label"].to_numpy(), validation["prob"].to_numpy())
        summary = calibration.summary(
            test["label"].to_numpy(),
            calibrator(test["prob"].to_numpy()),
            test["patient_id"].to_numpy(str),
            confidence=config.confidence,
        )
        measures |= {f"{measure}_{name}": summary[measure] for measure in MEASURES}
    return measures


def measure_official_auc(predictions: pd.DataFrame) -> float:
    """Return the AUC on the test rows of the models' own data set, beside which the external AUC is read."""
    test = predictions[predictions["split"] == "test"]
    return discrimination.auc(test["label"], test["prob"])


def tabulate_rows(descriptions: dict[str, dict[str, object]], evaluated: dict[str, EvaluatedRow]) -> pd.DataFrame:
    """Return metrics/external/<name>.csv, one row per model; descriptions: the columns besides its evaluation."""
    parts = [
        {"model": name, "n_malignant": int(row.rows["label"].sum()), **row.to_metrics(), **descriptions[name]}
        for name, row in evaluated.items()
    ]
    return pd.DataFrame(parts)[COLUMNS]
