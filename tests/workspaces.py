"""A workspace as `dvc repro` gives it to a stage: params.yaml in the current folder, and no tracking server."""

from pathlib import Path
from typing import Any

import pytest
import yaml

COMMITTED = Path(__file__).resolve().parents[1] / "params.yaml"


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch, **ingest: Any) -> Path:
    """Make `folder` a workspace with the committed parameters, those of `ingest` replaced, and go there."""
    content = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    content["ingest"] |= ingest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    for variable in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(variable, raising=False)
    # Nobody listens there: stages go on without a server and keep their records.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(folder)
    return folder
