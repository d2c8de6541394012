"""What a run leaves in the workspace: a deterministic record of what it computed, without when and where.

`metrics/records/<stage>[/<model>].json` holds parameters, metrics, history, data fingerprint and the hashes of the
artifacts, and the same of its parts (folds, seeds). It is an output of the stage: DVC restores it with the rest.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RECORDS = Path("metrics/records")


@dataclass(frozen=True)
class Part:
    """One training of several that a run is made of: a fold, a seed."""

    title: str
    parameters: dict[str, Any]
    metrics: dict[str, float | None]
    history: list[dict[str, float | None]]


@dataclass(frozen=True)
class Record:
    """What one run computed."""

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
        """`train@light_cnn` as in dvc.yaml."""
        return run_name(self.stage, self.model)

    def text(self) -> str:
        """The record as it is written; equal records have equal texts."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    def content(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text().encode()).hexdigest()


def run_name(stage: str, model: str | None) -> str:
    """`train@light_cnn`, as dvc.yaml names the stage."""
    return stage if model is None else f"{stage}@{model}"


def record_path(stage: str, model: str | None = None) -> Path:
    """Where the record of a run lies."""
    return RECORDS / f"{stage}.json" if model is None else RECORDS / stage / f"{model}.json"


def parse_record(text: str) -> Record:
    """A record from its text."""
    content = json.loads(text)
    return Record(**content | {"parts": [Part(**part) for part in content["parts"]]})


def read_record(path: Path) -> Record:
    """A record from the workspace."""
    return parse_record(path.read_text(encoding="utf-8"))


def content_of(records: list[Record]) -> str:
    """SHA-256 of what all the records together say: the identity of a finished pipeline."""
    return hashlib.sha256("\n".join(sorted(record.content() for record in records)).encode()).hexdigest()
