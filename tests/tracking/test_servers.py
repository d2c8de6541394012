"""A real `mlflow server` on PostgreSQL, with proxied artifacts and passwords: several at once, away, back, refused."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import imports
import mlflow
import numpy as np
import pytest
from mlflow.server import get_app_client

from mammo import models
from mammo.core.errors import InputError
from mammo.core.files import write_text
from mammo.core.records import Record, read_record, record_path
from mammo.tracking import live_run, mlflow_client, publishing
from tests import arrays, mlflow_server
from tests.mlflow_server import Server

pytestmark = pytest.mark.slow

ADMIN = ("admin", "of the test only 1")
READER = ("reader", "of the test only 2")
EXPERIMENT = "pipeline"
CONFIG = """[mlflow]
default_permission = READ
database_uri = {store}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""
AT_ONCE = 3
PREDICTIONS = Path("data/predictions/light_cnn.csv")
# One of several pipelines: it waits until all are there, so that each makes the experiment first.
PIPELINE = """
import sys, time
from pathlib import Path
from mammo.core.files import write_text
from mammo.core.records import read_record, record_path
from mammo.tracking import live_run, publishing
number, barrier, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
(barrier / number).touch()
while len(list(barrier.iterdir())) < count:
    time.sleep(0.01)
write_text(Path("out.csv"), number)
records = []
for stage in ("split", "evaluate"):
    parameters, tags = {"seed": number}, {"data": "abc"}
    with live_run.tracked_run(stage, experiment="several", parameters=parameters, tags=tags) as tracked:
        for epoch in range(3):
            tracked.log_epoch(epoch, {"loss": float(number)})
        tracked.log_metrics({"auc": 0.5})
        tracked.log_artifact(Path("out.csv"))
    records.append(read_record(record_path(stage)))
print(publishing.publish("several", records).replayed)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server.postgres() as store:
        (folder / "auth.ini").write_text(CONFIG.format(store=store))
        environment = {
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the test only",
        }
        with mlflow_server.serving(store, folder, ["--app-name", "basic-auth"], environment) as started:
            yield started


@pytest.fixture(autouse=True)
def workspace(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, whose runs go to the server under the administrator's name."""
    for variable in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a kept connection ends with its server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    log_in(monkeypatch, ADMIN)
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    if server.process is None:
        server.start()
    return tmp_path / "repository"


def log_in(monkeypatch: pytest.MonkeyPatch, user: tuple[str, str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", user[1])


def stage(seed: int, epochs: int = 3, after_epoch_0: object = None) -> Record:
    """Track a small stage; `after_epoch_0` is called there."""
    write_text(PREDICTIONS, f"sample_id,prob\na,0.{seed}\n")
    with live_run.tracked_run(
        "train", experiment=EXPERIMENT, parameters={"seed": seed}, tags={"data": "abc"}
    ) as tracked:
        for epoch in range(epochs):
            tracked.log_epoch(epoch, {"loss": seed + epoch})
            if epoch == 0 and callable(after_epoch_0):
                after_epoch_0()
        tracked.log_metrics({"auc": 0.75})
        tracked.log_artifact(PREDICTIONS)
    return read_record(record_path("train"))


def runs(record: Record, experiment: str = EXPERIMENT) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(experiment)
    condition = f"tags.content = '{record.content()}'"
    return list(client.search_runs([found.experiment_id], condition)) if found else []


def artifact(run: mlflow.entities.Run, name: str) -> str:
    return Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name)).read_text()


def test_a_run_lands_on_the_server_with_its_artifacts_and_is_found_again(server: Server) -> None:
    record = stage(1)
    (run,) = runs(record)
    assert run.info.status == "FINISHED"
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert artifact(run, "light_cnn.csv") == PREDICTIONS.read_text()
    assert list(server.artifacts.rglob("light_cnn.csv"))
    published = publishing.publish(EXPERIMENT, [record])
    assert (published.replayed, published.runs[0].info.run_id) == ([], run.info.run_id)


def test_a_model_comes_back_from_the_server_and_predicts_the_same() -> None:
    model = models.build(arrays.LIGHT, arrays.SHAPE, seed=1)
    path = Path("data/models/light_cnn.keras")
    models.save(model, path)
    with live_run.tracked_run("train", model="light_cnn", experiment=EXPERIMENT, parameters={}, tags={}) as tracked:
        tracked.log_model(path)
    (run,) = runs(read_record(record_path("train", "light_cnn")))
    again = models.load(mlflow_client.download_model(f"runs:/{run.info.run_id}/light_cnn"))
    images = arrays.images(np.array([0, 1]))[0][..., np.newaxis].astype(np.float32)
    np.testing.assert_allclose(again.predict_on_batch(images), model.predict_on_batch(images), atol=1e-6)


def test_several_pipelines_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    barrier = tmp_path / "barrier"
    barrier.mkdir()
    started = []
    for number in range(AT_ONCE):
        (tmp_path / f"pipeline{number}").mkdir()
        command = [sys.executable, "-c", PIPELINE, str(number), str(barrier), str(AT_ONCE)]
        environment = os.environ | {"PYTHONPATH": imports.python_path(imports.ROOT / "src")}
        started.append(
            subprocess.Popen(
                command,
                cwd=tmp_path / f"pipeline{number}",
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in started]
    assert [output.splitlines()[-1] for output in outputs] == ["[]"] * AT_ONCE, outputs
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name("several")
    assert found is not None
    assert len(client.search_runs([found.experiment_id])) == 2 * AT_ONCE
    for number in range(AT_ONCE):
        for name in ("split", "evaluate"):
            record = read_record(tmp_path / f"pipeline{number}" / record_path(name))
            (run,) = runs(record, "several")
            assert run.info.status == "FINISHED"
            history = client.get_metric_history(run.info.run_id, "loss")
            assert sorted((entry.step, entry.value) for entry in history) == [(step, number) for step in range(3)]
            assert artifact(run, "out.csv") == str(number)


def test_a_server_that_goes_away_stops_no_training_and_gets_all_of_it_when_it_is_back(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "mammo.tracking.live_run"):
        record = stage(2, after_epoch_0=server.stop)
    told = [entry.getMessage() for entry in caplog.records if entry.name == "mammo.tracking.live_run"]
    assert len(told) == 1
    assert server.url in told[0]
    assert "its record is kept; `dvc repro publish` sends it later" in told[0]
    with pytest.raises(InputError, match=rf"{server.url} does not answer .*dvc repro publish"):
        publishing.publish(EXPERIMENT, [record])
    server.start()
    assert runs(record) == []
    assert publishing.publish(EXPERIMENT, [record]).replayed == ["train"]
    (run,) = runs(record)
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert sorted((entry.step, entry.value) for entry in history) == [(0, 2), (1, 3), (2, 4)]
    assert artifact(run, "light_cnn.csv") == PREDICTIONS.read_text()
    assert publishing.publish(EXPERIMENT, [record]).replayed == []


def test_a_server_that_cannot_store_artifacts_stops_no_training(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    kept = server.artifacts.rename(server.artifacts.with_name("kept"))
    server.artifacts.write_text("a disk that takes no folder")
    try:
        with caplog.at_level(logging.WARNING, "mammo.tracking.live_run"):
            record = stage(3)
        assert "its record is kept" in caplog.text
    finally:
        server.artifacts.unlink()
        kept.rename(server.artifacts)
    assert runs(record) == []
    assert publishing.publish(EXPERIMENT, [record]).replayed == ["train"]


@pytest.mark.parametrize("user", [None, ("admin", "wrong"), ("nobody", "knows him")])
def test_without_the_right_password_the_user_is_told_and_the_record_is_kept(
    user: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if user is None:
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    else:
        log_in(monkeypatch, user)
    with caplog.at_level(logging.WARNING, "mammo.tracking.live_run"):
        record = stage(4)
    assert "401" in caplog.text
    with pytest.raises(InputError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        publishing.publish(EXPERIMENT, [record])
    log_in(monkeypatch, ADMIN)
    before = len(runs(record))
    assert publishing.publish(EXPERIMENT, [record]).replayed == ([] if before else ["train"])


def test_who_may_only_read_an_experiment_is_told_and_publishes_once_he_may_write(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    experiment_id = mlflow_client.connect(EXPERIMENT)
    office = get_app_client("basic-auth", server.url)
    office.create_user(*READER)
    log_in(monkeypatch, READER)
    with caplog.at_level(logging.WARNING, "mammo.tracking.live_run"):
        record = stage(5)
    assert "403" in caplog.text or "Permission denied" in caplog.text
    with pytest.raises(InputError, match="may not write"):
        publishing.publish(EXPERIMENT, [record])
    log_in(monkeypatch, ADMIN)
    office.grant_user_permission(READER[0], "experiment", experiment_id, "EDIT")
    log_in(monkeypatch, READER)
    assert publishing.publish(EXPERIMENT, [record]).replayed == ["train"]
