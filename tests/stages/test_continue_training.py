"""The start of continue_training: a model of stage train, any file, or a run on the server."""

from pathlib import Path

from mammo.core.config import ContinueConfig
from mammo.core.paths import MODELS
from mammo.tracking import mlflow_client
from stages import continue_training


def settings(checkpoint: str | None) -> ContinueConfig:
    return ContinueConfig(model="light_cnn", checkpoint=checkpoint, epochs=1, learning_rate=0.1)


def test_the_default_is_the_model_of_train():
    assert continue_training._find_checkpoint(settings(None)) == MODELS / "light_cnn.keras"


def test_a_path_is_relative_to_the_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert continue_training._find_checkpoint(settings("old/m.keras")) == tmp_path / "old/m.keras"


def test_a_run_is_downloaded_from_the_server(monkeypatch):
    monkeypatch.setattr(mlflow_client, "download_model", lambda uri: Path("/there") / uri[6:])
    assert continue_training._find_checkpoint(settings("runs:/1/m")) == Path("/there/1/m")


def test_tables_show_where_it_started():
    assert [settings(checkpoint).start for checkpoint in (None, "old/m.keras", "runs:/1/m")] == [
        "light_cnn",
        "m.keras",
        "runs:/1/m",
    ]
