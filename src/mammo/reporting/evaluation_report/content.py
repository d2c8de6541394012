"""The content of an evaluation report and its model cards: tables, records and images, and how they are read."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mammo.core import schemas
from mammo.core.config import Config, flatten
from mammo.core.records import Record
from mammo.core.row_names import BASELINE, READER, is_baseline
from mammo.evaluation.clinical_tables import COLUMNS

BORDER = f"{BASELINE}border"  # what the film's border knows of the label
TEXT_COLUMNS = [
    "model",
    "samples",
    "level",
    "point",
    "metric",
    "variable",
    "value",
    "note",
    "method",
    "rule",
    "rate",
    "kind",
    "sample_id",
    "patient_id",
    "pathology",
    "abnormality_type",
    "breast_density",
    "subtlety",
]
# metrics.csv alone uses the name `value` for a number.
NUMBERS_NAMED_AS_TEXT = {"metrics": {"value"}}
# They change how a run is computed or where it is logged, and no result (dvc.yaml).
WITHOUT_INFLUENCE = ("compute", "tracking")
PACKAGES = [
    "mammo",
    "dvc",
    "jinja2",
    "keras",
    "matplotlib",
    "mlflow",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "scikit-learn",
    "scipy",
    "tensorflow",
]


class MappedCase(NamedTuple):
    """A sample with its heat map beside it, as WebP, and what it shows."""

    caption: str
    image: bytes


@dataclass(frozen=True)
class Content:
    """The content of a report and its model cards.

    tables: by the names of clinical_tables.COLUMNS (`read_tables`). roc: model, false_positive_rate, sensitivity,
    optionally low and high. test_set: the sentence on the openings of the test set. origin: by which code and command.
    validation: model, auc, n and n_patients of the models that can be chosen among, on the same validation rows.
    prevalence: share of malignant samples by row of the comparison table. aucs: PNG of figures.evaluation.draw_aucs.
    training_curves, roc_curves: PNG by row. gradcam, shortcut_images: cases by model. localisation, shortcuts, sanity:
    summary.csv, shortcuts.csv and sanity.csv of every explained model, with the column model; retrained: summary.csv of
    the stage retrained_maps likewise, whose checks are in `sanity` too. error_images: WebP by (model, sample_id).
    """

    params: Config
    fingerprint: str
    cases: pd.DataFrame
    splits: pd.DataFrame
    excluded: pd.DataFrame
    dropped: pd.DataFrame
    comparison: pd.DataFrame
    paired_tests: pd.DataFrame
    roc: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    records: Sequence[Record]
    versions: Mapping[str, str]
    test_set: str = ""
    origin: str = ""
    validation: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["model", "auc", "n", "n_patients"]))
    prevalence: Mapping[str, float] = field(default_factory=dict)
    aucs: bytes = b""
    training_curves: Mapping[str, bytes] = field(default_factory=dict)
    roc_curves: Mapping[str, bytes] = field(default_factory=dict)
    gradcam: Mapping[str, Sequence[MappedCase]] = field(default_factory=dict)
    localisation: pd.DataFrame = field(default_factory=pd.DataFrame)
    sanity: pd.DataFrame = field(default_factory=pd.DataFrame)
    retrained: pd.DataFrame = field(default_factory=pd.DataFrame)
    shortcuts: pd.DataFrame = field(default_factory=pd.DataFrame)
    shortcut_images: Mapping[str, Sequence[MappedCase]] = field(default_factory=dict)
    error_images: Mapping[tuple[str, str], bytes] = field(default_factory=dict)

    @property
    def synthetic(self) -> bool:
        """Whether the films are drawn by the program."""
        return self.params.ingest.source == "demo"

    @property
    def closed(self) -> bool:
        """Whether the test set is closed: no label of its samples is shown."""
        return self.params.evaluate.test == "closed"

    @property
    def percent(self) -> str:
        """The confidence of all intervals, as `95 %`."""
        return f"{100 * self.params.evaluate.confidence:g} %"

    @property
    def best(self) -> str | None:
        """The model of the best validation AUC, of equals the first; None where no validation row is known."""
        known = self.validation.dropna(subset="auc")
        return None if known.empty else str(known["model"].iloc[int(known["auc"].astype(float).argmax())])

    @property
    def shown(self) -> list[str]:
        """The rows that figures of many rows show in colour: the best model on validation, reader and border."""
        rows = set(self.comparison["model"])
        return [name for name in (self.best, READER, BORDER) if name is not None and name in rows]

    def row(self, name: str) -> pd.Series | None:
        """Return a row of the comparison table; None where it has no such row."""
        rows = self.comparison[self.comparison["model"] == name]
        return None if rows.empty else rows.iloc[0]

    def models(self, *, baselines: bool = False) -> list[str]:
        """Return the names of the rows of the comparison table, in its order."""
        return [name for name in self.comparison["model"] if baselines or not is_baseline(name)]


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables of metrics/evaluation by name; raises TableError naming a missing file or column."""
    return {name: _read_table(folder / f"{name}.csv", columns) for name, columns in COLUMNS.items()}


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise schemas.TableError(f"{path} does not exist; `dvc repro evaluate` writes it")
    texts = set(TEXT_COLUMNS) - NUMBERS_NAMED_AS_TEXT.get(path.stem, set())
    table = pd.read_csv(path, dtype=dict.fromkeys(texts & set(columns), str), keep_default_na=False, na_values=[""])
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise schemas.TableError(f"{path}: columns missing: {', '.join(missing)} (needed: {', '.join(columns)})")
    numbers = [column for column in columns if column not in texts]
    return table.astype(dict.fromkeys(numbers, "float64")).fillna(dict.fromkeys(texts & set(columns), ""))


def package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that a result rests on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def hash_records(content: Content) -> dict[str, str]:
    """Return the SHA-256 of every record by its name."""
    return {record.name: record.content() for record in content.records}


def hash_artifacts(records: Sequence[Record]) -> dict[str, str]:
    """Return the SHA-256 of every artifact by its path."""
    return {path: digest for record in records for path, digest in sorted(record.artifacts.items())}


def flatten_parameters(params: Config) -> dict[str, str]:
    """Return the parameters that results rest on, flat: `train.epochs` -> `20`."""
    chosen = {name: value for name, value in params.model_dump().items() if name not in WITHOUT_INFLUENCE}
    return {key: str(value) for key, value in flatten(chosen).items()}
