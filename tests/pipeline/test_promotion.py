"""A promotion that failed, or was killed, happens at the next publish, and then not again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.errors import InputError
from mammo.core.files import write_table
from mammo.core.paths import COMPARISON, SPLITS
from mammo.core.records import read_record, record_path
from mammo.pipeline import promotion
from mammo.tracking import live_run
from stages import publish as stage
from tests import arrays
from tests.workspaces import enter


@pytest.fixture
def publish(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Publish a workspace of one evaluated row."""
    enter(tmp_path / "workspace", monkeypatch)
    write_table(SPLITS, arrays.index()[list(schemas.SPLITS.columns)], schemas.SPLITS)
    shutil.copyfile(empty_store, tmp_path / "store.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setattr(stage.results, "COLUMNS", ["model", "auc"])
    monkeypatch.setattr(stage, "render_tables", str)
    config = load_config()
    tags = dict.fromkeys(stage.TABLE_TAGS[1:], "x") | {"order": "000"}
    with live_run.tracked_run(
        "evaluate", model="a", experiment=config.tracking.experiment, parameters={}, tags=tags
    ) as run:
        run.log_metrics({"auc": 0.75})
    records = [read_record(record_path("evaluate", "a"))]
    return lambda: stage._publish(config, records)


@pytest.mark.parametrize("kill", [False, True], ids=["refused", "killed"])
def test_a_promotion_that_failed_happens_at_the_next_publish_and_once(publish, monkeypatch, capsys, kill):
    attempts = []

    def promote(*words: object) -> str:
        attempts.append(words)
        if len(attempts) > 1:
            return "a is version 1, champion"
        raise KeyboardInterrupt if kill else MlflowException("Permission denied", error_code=PERMISSION_DENIED)

    monkeypatch.setattr(promotion, "_promote", promote)
    with pytest.raises(KeyboardInterrupt if kill else InputError) as failed:
        publish()
    if not kill:
        assert "grant EDIT on the registered model 'mammo-demo-lesion'" in str(failed.value)
        assert "dvc repro publish" in str(failed.value)
    assert "0.75" in COMPARISON.read_text()  # the table does not wait for it
    publish()
    assert "a is version 1, champion" in capsys.readouterr().out
    publish()
    assert len(attempts) == 2
