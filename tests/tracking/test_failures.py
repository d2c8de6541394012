"""A store that is damaged, locked, deleted or silent: the work goes on, and one message has the cure."""

import logging
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from mammo.core.errors import InputError
from mammo.core.records import Record, read_record, record_path
from mammo.tracking import failures, live_run, mlflow_client, publishing

EXPERIMENT = "tests"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The embedded store of an empty repository, which is the current folder."""
    for variable in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "DVC_STAGE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(variable, "")  # so that monkeypatch restores them after the code's own default
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return tmp_path / "mlflow.db"


def run_stage(stage: str = "split") -> Record:
    with live_run.tracked_run(stage, experiment=EXPERIMENT, parameters={"seed": 3}, tags={}) as tracked:
        tracked.log_epoch(0, {"loss": 1.0})
        tracked.log_metrics({"auc": 0.75})
    return read_record(record_path(stage))


def overwrite(store: Path) -> None:
    store.write_bytes(b"not a database" * 1000)


def truncate(store: Path) -> None:
    store.write_bytes(store.read_bytes()[: store.stat().st_size // 2])


def write_by_a_later_version(store: Path) -> None:
    with sqlite3.connect(store) as connection:
        connection.execute("update alembic_version set version_num = 'later'")


def delete_the_experiment(store: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{store}")
    client.delete_experiment(client.create_experiment(EXPERIMENT))


BROKEN = [
    (overwrite, r"is damaged; .*mlflow\.db\.damaged"),
    (truncate, r"is damaged; .*mlflow\.db\.damaged"),
    (write_by_a_later_version, "another version of MLflow; .*mlflow db upgrade"),
    (delete_the_experiment, "'tests' .* was deleted; restore it with .*mlflow experiments restore --experiment-id 1"),
]


@pytest.mark.parametrize(("breaking", "cure"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_embedded_store_stops_no_stage_and_both_messages_have_the_cure(store, caplog, breaking, cure):
    breaking(store)
    with caplog.at_level(logging.WARNING, "mammo.tracking.live_run"):
        record = run_stage()
    (warning,) = [entry.getMessage() for entry in caplog.records if entry.name == "mammo.tracking.live_run"]
    assert "its record is kept" in warning
    with pytest.raises(InputError, match=cure) as refused:
        publishing.publish(EXPERIMENT, [record])
    assert "dvc repro publish" in str(refused.value)
    assert "All records are kept" in str(refused.value)


def test_a_locked_embedded_store_stops_no_stage(store, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}?timeout=0.2")  # 5 s by default
    connection = sqlite3.connect(store, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.WARNING, "mammo.tracking.live_run"):
        record = run_stage()
    assert caplog.text.count("is locked by another process") == 1
    connection.close()
    assert publishing.publish(EXPERIMENT, [record]).replayed == ["split"]


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that accepts connections and never answers; a time-out lasts a second."""
    monkeypatch.setattr(mlflow_client, "REQUEST_TIMEOUT_S", "1")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address


def test_a_time_out_lasts_ten_seconds():
    assert mlflow_client.REQUEST_TIMEOUT_S == "10"


def test_a_silent_server_costs_one_time_out_and_one_message_in_a_whole_repro(silent_server, monkeypatch, caplog):
    monkeypatch.setattr(failures, "_dvc_process", lambda: (1, 2.0))
    start = time.monotonic()
    with caplog.at_level(logging.WARNING, "mammo.tracking.live_run"):
        for stage in ("ingest", "split", "preprocess", "train"):
            run_stage(stage)
    assert time.monotonic() - start < 3
    assert caplog.text.count(f"MLflow at {silent_server} failed") == 1
    monkeypatch.setattr(failures, "_dvc_process", lambda: (1, 3.0))  # the next `dvc repro` asks again
    run_stage("evaluate")
    assert caplog.text.count(f"MLflow at {silent_server} failed") == 2


def test_publish_asks_a_silent_server_once(silent_server):
    start = time.monotonic()
    with pytest.raises(InputError, match=f"{silent_server} does not answer .*`dvc repro publish`"):
        publishing.publish(EXPERIMENT, [])
    assert time.monotonic() - start < 2


def test_a_search_asks_a_silent_server_once_for_all_its_trials(silent_server, tmp_path, caplog):
    start = time.monotonic()
    search = live_run.search_run(EXPERIMENT, "light_cnn", "abc", {}, tmp_path / "ids.json")
    for number in range(3):
        live_run.trial_run(search, number, {}, tmp_path / f"{number}.json").finish({"auc": 0.5}, {})
    assert time.monotonic() - start < 3


def test_the_process_of_dvc_is_known_within_its_stages_alone(monkeypatch):
    assert failures._dvc_process() is None
    monkeypatch.setenv("DVC_STAGE", "train")
    assert failures._dvc_process() is None  # pytest runs this, not dvc
