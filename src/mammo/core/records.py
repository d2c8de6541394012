"""Records: what a run computed, as deterministic JSON without run id or time.

`metrics/records/<stage>[/<model>].json` holds parameters, metrics, history, data fingerprint and the hashes of the
artifacts, and the same of its parts (folds, seeds). It is an output of the stage, so that DVC restores it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mammo.core.paths import RECORDS


@dataclass(frozen=True)
class Part:
    """One training of a run that consists of several: a fold, a seed."""

    title: str
    parameters: dict[str, Any]
    metrics: dict[str, float | None]
    history: list[dict[str, float | None]]


@dataclass(frozen=True)
class Record:
    """The parameters and results of one run; `name` is its stage in dvc.yaml."""

    stage: str
    model: str | None
    parameters: dict[str, Any]
    tags: dict[str, str]
    metrics: dict[str, float | None]
    history: list[dict[str, float | None]]
    parts: list[Part]
    artifacts: dict[str, str]
    model_file: str | None

    @property
    def name(self) -> str:
        """The run's name in dvc.yaml: `train@light_cnn`."""
        return run_name(self.stage, self.model)

    def text(self) -> str:
        """Return the record as JSON; equal records have equal texts."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    def content(self) -> str:
        """Return the SHA-256 of the text."""
        return hashlib.sha256(self.text().encode()).hexdigest()


def run_name(stage: str, model: str | None) -> str:
    """Return the name of a stage in dvc.yaml: `train@light_cnn`."""
    return stage if model is None else f"{stage}@{model}"


def record_path(stage: str, model: str | None = None) -> Path:
    """Return the path of a run's record."""
    return RECORDS / f"{stage}.json" if model is None else RECORDS / stage / f"{model}.json"


def parse_record(text: str) -> Record:
    """Parse the text of a record."""
    content = json.loads(text)
    return Record(**content | {"parts": [Part(**part) for part in content["parts"]]})


def read_record(path: Path) -> Record:
    """Read a record from the workspace."""
    return parse_record(path.read_text(encoding="utf-8"))


def hash_records(records: list[Record]) -> str:
    """Return the SHA-256 of all records together, which identifies a finished pipeline."""
    return hashlib.sha256("\n".join(sorted(record.content() for record in records)).encode()).hexdigest()
