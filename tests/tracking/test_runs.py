"""One identity: a run leaves the same record each time, the server holds what the record says, and gets it back."""

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import IntegrityError

from mammo import models
from mammo.core import schemas
from mammo.core.errors import InputError
from mammo.core.files import write_text
from mammo.core.records import Part, Record, read_record, record_path
from mammo.reporting.comparison import format_interval
from mammo.tracking import live_run, mlflow_client, model_registry, model_uri, provenance, publishing, run_contents
from mammo.tracking.live_run import StageRun, StageSpec
from mammo.tracking.model_registry import VersionSpec
from mammo.tracking.verification import retire
from tests import arrays, mlflow_server

EXPERIMENT = "tests"
EPOCHS = [{"loss": 0.7, "val_auc": 0.5}, {"loss": 0.4, "val_auc": 0.75}]
PREDICTIONS = Path("data/predictions/light_cnn.csv")
MODEL = Path("data/models/light_cnn.keras")
NAN = float("nan")


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository as the current folder, without MLflow's and DVC's settings of this process."""
    for variable in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    return tmp_path / "repository"


@pytest.fixture
def new_server(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Start an empty server of that name and make it the current one."""

    def start(name: str) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.new_store(tmp_path / f"{name}.db", empty_store))

    return start


@pytest.fixture
def server(new_server: Callable[[str], None]) -> None:
    new_server("server")


def run_stage(
    stage: str = "train",
    model: str | None = "light_cnn",
    parameters: dict[str, object] | None = None,
    tags: dict[str, str] | None = None,
    metrics: dict[str, float] | None = None,
) -> Record:
    """Track a small stage with two epochs, a file and a folder; its record as written."""
    write_text(PREDICTIONS, "sample_id,prob\na,0.5\n")
    write_text(Path("data/gradcam/samples.csv"), "sample_id\na\n")
    with live_run.tracked_run(
        stage,
        model=model,
        experiment=EXPERIMENT,
        parameters=parameters or {"seed": 3, "augmentation": {"flip": True}},
        tags={"data": "abc"} | (tags or {}),
    ) as tracked:
        for epoch, values in enumerate(EPOCHS):
            tracked.log_epoch(epoch, values)
        tracked.log_metrics(metrics or {"auc": 0.75})
        tracked.log_artifact(PREDICTIONS)
        tracked.log_artifact(Path("data/gradcam"))
    return read_record(record_path(stage, model))


def runs(condition: str = "") -> list[Run]:
    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    return [] if experiment is None else list(mlflow.MlflowClient().search_runs([experiment.experiment_id], condition))


def history(run: Run, metric: str) -> list[tuple[int, float]]:
    found = mlflow.MlflowClient().get_metric_history(run.info.run_id, metric)
    return sorted((entry.step, entry.value) for entry in found)


def artifacts(run: Run) -> dict[str, str]:
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id))
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def as_the_record_says(run: Run, record: Record) -> bool:
    return (
        run.data.tags["content"] == record.content()
        and run.data.params == {key: str(value) for key, value in record.parameters.items()}
        and run.data.metrics["auc"] == record.metrics["auc"]
        and history(run, "val_auc") == [(0, 0.5), (1, 0.75)]
        and artifacts(run)["record.json"] == record.text()
    )


def test_a_run_leaves_a_record_and_the_same_on_the_server(server):
    record = run_stage()
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == record.name == "train@light_cnn"
    assert as_the_record_says(run, record)
    assert {key: run.data.tags[key] for key in ("dvc.stage", "model", "data")} == {
        "dvc.stage": "train",
        "model": "light_cnn",
        "data": "abc",
    }
    assert run.data.params == {"seed": "3", "augmentation.flip": "True"}
    assert {"light_cnn.csv", "gradcam/samples.csv", "record.json"} == set(artifacts(run))


def test_a_record_knows_neither_run_nor_time(server):
    record = run_stage()
    assert set(json.loads(record.text())) == set(Record.__dataclass_fields__)
    assert runs()[0].info.run_id not in record.text()


def test_a_repeated_run_writes_the_same_bytes(server, workspace):
    run_stage()
    path = record_path("train", "light_cnn")
    first = path.read_bytes()
    path.unlink()
    run_stage()
    assert path.read_bytes() == first
    assert len(runs(f"tags.content = '{read_record(path).content()}'")) == 2


@pytest.mark.parametrize(
    "change",
    [{"parameters": {"seed": 4}}, {"metrics": {"auc": 0.8}}, {"tags": {"data": "other"}}, {"model": "basic_vgg16"}],
    ids=lambda change: next(iter(change)),
)
def test_what_a_run_computed_decides_its_content(server, change):
    assert run_stage(**change).content() != run_stage().content()


def test_a_record_of_a_stage_without_a_model():
    assert record_path("ingest") == Path("metrics/records/ingest.json")
    assert Record("ingest", None, {}, {}, {}, [], [], {}, None).name == "ingest"


def test_a_record_reads_back_as_it_was(server):
    record = run_stage(metrics={"auc": 0.75, "ppv": NAN})
    write_text(Path("copy.json"), record.text())
    assert read_record(Path("copy.json")) == record


def fail(error: BaseException) -> None:
    with live_run.tracked_run("train", model="light_cnn", experiment=EXPERIMENT, parameters={}, tags={}):
        raise error


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")], ids=["error", "interrupt"]
)
def test_a_failed_block_fails_its_run_and_leaves_no_record(server, error, status):
    with pytest.raises(type(error)):
        fail(error)
    (run,) = runs()
    assert run.info.status == status
    assert "content" not in run.data.tags
    assert not record_path("train", "light_cnn").exists()


def test_an_artifact_that_changes_within_its_stage_leaves_no_record(server):
    def log_and_overwrite() -> None:
        with live_run.tracked_run("split", experiment=EXPERIMENT, parameters={}, tags={}) as tracked:
            write_text(PREDICTIONS, "sample_id,prob\n")
            tracked.log_artifact(PREDICTIONS)
            write_text(PREDICTIONS, "sample_id,prob\na,0.5\n")

    with pytest.raises(schemas.TableError, match="is not what its record says"):
        log_and_overwrite()
    assert runs()[0].info.status == "FAILED"
    assert not record_path("split").exists()


def test_what_cannot_be_estimated_is_null_and_not_sent(server):
    record = run_stage(metrics={"auc": 0.75, "ppv": NAN, "npv": float("inf")})
    assert record.metrics == {"auc": 0.75, "ppv": None, "npv": None}
    assert set(runs()[0].data.metrics) == {"auc", "loss", "val_auc"}


def cross_validate(folder: Path | None = None, killed_in: int | None = None) -> Record:
    """A run of two folds with an epoch each; killed after that epoch of one of them."""
    spec = StageSpec("cross_validate", "light_cnn", EXPERIMENT, {}, {})
    opened = (
        live_run.tracked_run("cross_validate", model="light_cnn", experiment=EXPERIMENT, parameters={}, tags={})
        if folder is None
        else live_run.resumable_run(spec, folder)
    )
    with opened as tracked:
        for fold in range(2):
            with tracked.part(f"fold{fold}", {"fold": fold}) as part:
                part.log_epoch(0, {"loss": fold + 0.5})
                if fold == killed_in:
                    raise KeyboardInterrupt
                part.log_metrics({"auc": 0.75})
    return read_record(record_path("cross_validate", "light_cnn"))


def family() -> dict[str, tuple[str, str | None, dict[str, str], dict[str, float]]]:
    """By name: status, name of the parent, parameters and metrics."""
    names = {run.info.run_id: run.info.run_name for run in runs()}
    return {
        run.info.run_name: (
            run.info.status,
            names.get(run.data.tags.get("mlflow.parentRunId", "")),
            run.data.params,
            {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")},
        )
        for run in runs()
    }


FOLDS = {
    "cross_validate@light_cnn": ("FINISHED", None, {}, {}),
    "cross_validate@light_cnn fold0": (
        "FINISHED",
        "cross_validate@light_cnn",
        {"fold": "0"},
        {"loss": 0.5, "auc": 0.75},
    ),
    "cross_validate@light_cnn fold1": (
        "FINISHED",
        "cross_validate@light_cnn",
        {"fold": "1"},
        {"loss": 1.5, "auc": 0.75},
    ),
}


def test_folds_are_runs_below_their_stage_and_are_replayed_so(server, new_server):
    record = cross_validate()
    assert record.parts[1] == Part("fold1", {"fold": 1}, {"auc": 0.75}, [{"epoch": 0, "loss": 1.5}])
    assert family() == FOLDS
    new_server("empty")
    publishing.publish(EXPERIMENT, [record])
    assert family() == FOLDS


@pytest.mark.parametrize("killed_in", [0, 1])
def test_an_interrupted_run_goes_on_as_the_same_run_with_each_epoch_once(server, tmp_path, killed_in):
    folder = tmp_path / "unfinished"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        cross_validate(folder, killed_in)
    assert family()["cross_validate@light_cnn"][0] == "KILLED"
    record = cross_validate(folder)
    assert family() == FOLDS
    assert len(runs()) == 3
    (parent,) = runs("tags.`mlflow.runName` = 'cross_validate@light_cnn'")
    assert parent.data.tags["resumed"] == "1"
    assert parent.data.tags["content"] == record.content()
    for child in runs(f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"):
        assert len(history(child, "loss")) == 1


def test_a_run_that_goes_on_has_the_origin_of_the_last_attempt(server, tmp_path, monkeypatch):
    """An edit, a kill, a commit: the run is of the commit, and no change hangs on it."""
    folder = tmp_path / "unfinished"
    folder.mkdir()
    before, now = (
        {"git.commit": "a", "git.dirty": "true", "git.patch": "attached", "dvc.exp": "mole"},
        {
            "git.commit": "b",
            "git.dirty": "false",
        },
    )
    monkeypatch.setattr(provenance, "tags", lambda: dict(before))
    with pytest.raises(KeyboardInterrupt):
        cross_validate(folder, killed_in=1)
    monkeypatch.setattr(provenance, "tags", lambda: dict(now))
    cross_validate(folder)
    expected = now | dict.fromkeys(("git.patch", "dvc.exp"))
    for run in runs("tags.`mlflow.runName` != 'cross_validate@light_cnn fold0'"):
        assert {key: run.data.tags.get(key) for key in expected} == expected


def test_a_clean_run_is_reproduced_without_the_patch_of_an_earlier_attempt(server, monkeypatch):
    monkeypatch.setattr(provenance, "tags", lambda: {"git.commit": "b", "git.dirty": "false"})
    run_stage()
    (run,) = runs()
    mlflow.MlflowClient().log_text(run.info.run_id, "of an attempt that was killed", "workspace.patch")
    assert publishing.find_origin(run.info.run_id).patch is None
    mlflow.MlflowClient().set_tag(run.info.run_id, "git.dirty", "true")
    assert publishing.find_origin(run.info.run_id).patch is not None


def test_a_run_that_the_server_lost_is_begun_anew(server, new_server, tmp_path):
    folder = tmp_path / "unfinished"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        cross_validate(folder, killed_in=0)
    new_server("other")
    cross_validate(folder)
    assert family() == FOLDS
    mlflow.MlflowClient().delete_run(runs("tags.`mlflow.runName` = 'cross_validate@light_cnn'")[0].info.run_id)
    cross_validate(folder)
    assert family()["cross_validate@light_cnn"][0] == "FINISHED"


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A repository with a store of two trainings: the same architecture under seeds 1 and 2; copy it."""
    folder = tmp_path_factory.mktemp("trainings")
    shutil.copyfile(empty_store, folder / "store.db")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
            patch.delenv(variable, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'store.db'}")
        patch.chdir(folder)
        for seed in (1, 2):
            models.save(models.build(arrays.LIGHT, arrays.SHAPE, seed=seed), MODEL)
            with live_run.tracked_run(
                "train", model="light_cnn", experiment=EXPERIMENT, parameters={"seed": seed}, tags={}
            ) as tracked:
                tracked.log_model(MODEL)
    return folder


@pytest.fixture
def trained(trainings: Path, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The two runs, on a server of one's own; record and model of the second lie in the workspace."""
    shutil.copyfile(trainings / "store.db", tmp_path / "trainings.db")
    for name in ("data", "metrics"):
        shutil.copytree(trainings / name, workspace / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'trainings.db'}")
    mlflow_client.use_store()
    return [runs(f"params.seed = '{seed}'")[0] for seed in (1, 2)]


def test_a_tracked_model_loads_back_and_predicts_the_same(trained):
    assert read_record(record_path("train", "light_cnn")).model_file == MODEL.as_posix()
    model, run = models.load(MODEL), trained[1]
    assert run.info.status == "FINISHED"
    loaded = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/light_cnn")
    assert loaded.predict(loaded.input_example).shape == (1, 1)
    assert loaded.metadata.signature.inputs.to_dict()[0]["tensor-spec"]["shape"] == (-1, *arrays.SHAPE)
    images = arrays.images(np.array([0, 1]))[0][..., np.newaxis].astype(np.float32)
    np.testing.assert_allclose(loaded.predict(images), model.predict_on_batch(images), atol=1e-6)


def test_the_model_of_a_run_is_had_back_by_its_uri(trained):
    model = models.build(arrays.LIGHT, arrays.SHAPE, seed=1)
    uri = f"runs:/{trained[0].info.run_id}/light_cnn"
    assert model_uri.is_model_uri(uri)
    assert not model_uri.is_model_uri(MODEL.as_posix())
    again = models.load(mlflow_client.download_model(uri))
    assert all(np.array_equal(a, b) for a, b in zip(again.get_weights(), model.get_weights(), strict=True))


@pytest.mark.parametrize("uri", ["runs:/0123456789abcdef0123456789abcdef/light_cnn", "models:/none/1"])
def test_a_model_that_is_not_there_is_refused_by_its_uri(server, uri):
    with pytest.raises(InputError, match=f"{uri} cannot be downloaded from (sqlite|postgresql)"):
        mlflow_client.download_model(uri)


def test_a_run_without_a_model_is_refused(server):
    with live_run.tracked_run("split", experiment=EXPERIMENT, parameters={}, tags={}):
        pass
    (run,) = runs()
    with pytest.raises(InputError, match=r"holds 0 \.keras files"):
        mlflow_client.download_model(f"runs:/{run.info.run_id}/")


def test_publish_finds_what_a_run_left(server):
    record = run_stage()
    replayed, found, pipeline, differing, promotion = publishing.publish(EXPERIMENT, [record])
    assert (replayed, pipeline, differing, promotion) == ([], None, [], None)
    assert [run.info.run_id for run in found] == [runs()[0].info.run_id]


def test_a_published_workspace_has_a_run_of_its_own_and_is_found_by_two_questions(server, monkeypatch):
    records = [run_stage(model=name, parameters={"name": name}) for name in ("light_cnn", "basic_vgg16")]
    records.append(evaluated("light_cnn", 0, 0.75, 0.5))
    first = publishing.publish(EXPERIMENT, records)
    pipeline = publishing.log_pipeline(EXPERIMENT, records, first.runs, [PREDICTIONS])
    questions = []
    ask = mlflow.MlflowClient.search_runs
    monkeypatch.setattr(
        mlflow.MlflowClient, "search_runs", lambda *words, **named: questions.append(words) or ask(*words, **named)
    )
    again = publishing.publish(EXPERIMENT, records)
    assert again.pipeline == pipeline
    assert again.replayed == []
    assert [run.info.run_id for run in again.runs] == [run.info.run_id for run in first.runs]
    assert len(questions) == 2
    own = mlflow.get_run(pipeline)
    assert own.data.metrics == {"light_cnn/auc": 0.75}
    assert set(artifacts(own)) == {"light_cnn.csv"}
    assert {run.data.tags["mlflow.parentRunId"] for run in again.runs} == {pipeline}
    assert publishing.publish(EXPERIMENT, records[:2]).pipeline is None


def test_a_run_of_two_pipelines_stays_below_the_first(server):
    records = [run_stage(model=name, parameters={"name": name}) for name in ("light_cnn", "basic_vgg16")]
    first = publishing.log_pipeline(EXPERIMENT, records[:1], publishing.publish(EXPERIMENT, records[:1]).runs, [])
    second = publishing.log_pipeline(EXPERIMENT, records, publishing.publish(EXPERIMENT, records).runs, [])
    shared, new = publishing.publish(EXPERIMENT, records).runs
    assert [run.data.tags["mlflow.parentRunId"] for run in (shared, new)] == [first, second]


def test_a_pipeline_that_names_a_lost_run_names_its_replay(server):
    records = [run_stage(model=name, parameters={"name": name}) for name in ("light_cnn", "basic_vgg16")]
    pipeline = publishing.log_pipeline(EXPERIMENT, records, publishing.publish(EXPERIMENT, records).runs, [])
    mlflow.MlflowClient().delete_run(publishing.publish(EXPERIMENT, records).runs[1].info.run_id)
    again = publishing.publish(EXPERIMENT, records)
    assert (again.replayed, again.pipeline) == (["train@basic_vgg16"], pipeline)
    last = publishing.publish(EXPERIMENT, records)
    assert (last.replayed, last.pipeline) == ([], pipeline)
    assert {run.data.tags["mlflow.parentRunId"] for run in last.runs} == {pipeline}


def log_another_auc(run_id: str) -> None:
    mlflow.MlflowClient().log_metric(run_id, "auc", 0.99, step=50)


def log_a_metric_more(run_id: str) -> None:
    mlflow.MlflowClient().log_metric(run_id, "specificity", 0.9)


def log_a_parameter_more(run_id: str) -> None:
    mlflow.MlflowClient().log_param(run_id, "dropout", 0.9)


def change_the_order(run_id: str) -> None:
    mlflow.MlflowClient().set_tag(run_id, "order", "999")


@pytest.mark.parametrize("tamper", [log_another_auc, log_a_metric_more, log_a_parameter_more, change_the_order])
def test_a_run_that_says_something_else_than_its_record_is_named_and_never_shown(server, tamper):
    records = [evaluated("a", 0, 0.353, 0.5), evaluated("b", 1, 0.6, NAN)]
    before = publishing.publish(EXPERIMENT, records)
    pipeline = publishing.log_pipeline(EXPERIMENT, records, before.runs, [])
    table = publishing.table_of_runs(before.runs, ["model"])
    tampered = before.runs[0].info.run_id
    tamper(tampered)
    after = publishing.publish(EXPERIMENT, records)
    (difference,) = after.differing
    assert f"run {tampered} (evaluate@a): " in difference
    assert (after.replayed, after.pipeline) == (["evaluate@a"], pipeline)
    pd.testing.assert_frame_equal(publishing.table_of_runs(after.runs, ["model"]), table)
    retired = mlflow.get_run(tampered)
    assert (retired.info.status, retired.info.run_name) == ("FAILED", "retired: evaluate@a")
    assert retired.data.tags["retired"] in difference
    again = publishing.publish(EXPERIMENT, records)
    assert (again.replayed, again.differing) == ([], [])
    assert tampered not in {run.info.run_id for run in again.runs}


def test_a_tampered_pipeline_run_is_published_again(server):
    records = [evaluated("a", 0, 0.353, 0.5)]
    pipeline = publishing.log_pipeline(EXPERIMENT, records, publishing.publish(EXPERIMENT, records).runs, [])
    mlflow.MlflowClient().log_metric(pipeline, "a/auc", 0.99)
    after = publishing.publish(EXPERIMENT, records)
    assert (after.replayed, after.pipeline) == ([], None)
    assert after.differing == [f"run {pipeline} (pipeline): a/auc is 0.99, its record says 0.353"]


def finished(record: Record) -> list[Run]:
    return runs(f"tags.content = '{record.content()}' AND attributes.status = 'FINISHED'")


def test_two_clones_that_publish_at_once_leave_one_run_of_each_record(server, new_server, monkeypatch):
    records = [run_stage(model=name, parameters={"name": name}) for name in ("light_cnn", "basic_vgg16")]
    new_server("empty")
    mlflow_client.connect(EXPERIMENT)
    both, look_up = threading.Barrier(2, timeout=30), publishing.find_by_record
    looked = threading.local()

    def look_up_at_once(*words: object) -> dict[str, list[Run]]:
        found = look_up(*words)
        if not hasattr(looked, "once"):
            looked.once = True
            both.wait()  # both have seen a server without the records
        return found

    monkeypatch.setattr(publishing, "find_by_record", look_up_at_once)

    def publish() -> str:
        return publishing.log_pipeline(EXPERIMENT, records, publishing.publish(EXPERIMENT, records).runs, [])

    with ThreadPoolExecutor(2) as pool:
        for clone in [pool.submit(publish) for _ in range(2)]:
            clone.result()
    monkeypatch.setattr(publishing, "find_by_record", look_up)
    after = publishing.publish(EXPERIMENT, records)
    assert (after.replayed, after.differing) == ([], [])
    assert [len(finished(record)) for record in records] == [1, 1]
    (pipeline,) = runs("tags.`dvc.stage` = 'pipeline' AND attributes.status = 'FINISHED'")
    assert after.pipeline == pipeline.info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in after.runs} == {pipeline.info.run_id}
    assert {run.data.tags["retired"].split()[0] for run in runs("attributes.status = 'FAILED'")} == {"twin"}


def test_two_clones_may_enter_the_same_data_set_at_once(server, monkeypatch):
    """MLflow looks for a data set and inserts it where there is none; the later of two clones then breaks a key."""
    record = run_stage()
    run_id = mlflow.MlflowClient().create_run(mlflow_client.connect(EXPERIMENT)).info.run_id
    log_inputs, refusals = (
        mlflow.MlflowClient.log_inputs,
        ["(sqlite3.IntegrityError) UNIQUE constraint failed: datasets"],
    )

    def refuse_once(self, *words: object) -> None:
        if refusals:
            raise IntegrityError("INSERT INTO datasets", {}, Exception(refusals.pop()))
        log_inputs(self, *words)

    monkeypatch.setattr(mlflow.MlflowClient, "log_inputs", refuse_once)
    run_contents.finish_run(mlflow.MlflowClient(), run_id, record)
    assert [each.dataset.digest for each in mlflow.get_run(run_id).inputs.dataset_inputs] == [record.tags["data"][:8]]


def test_a_twin_decides_the_same_whoever_looks(server, new_server):
    """Of three twins the one that was live stays, else the one that ended first; a live one is never retired."""
    record = run_stage()
    new_server("empty")
    experiment = mlflow_client.connect(EXPERIMENT)
    for _ in range(2):
        publishing._replay(experiment, record)
    first = min(finished(record), key=lambda run: run.info.end_time).info.run_id
    for _ in range(2):
        assert publishing._settle_twins(experiment, [record])[record.content()].info.run_id == first
    run_stage()
    publishing._settle_twins(experiment, [record])
    (stays,) = finished(record)
    assert "replayed" not in stays.data.tags


@pytest.mark.parametrize("lost", ["light_cnn.csv", "gradcam", "record.json"])
def test_a_run_whose_artifacts_are_lost_is_sent_again(server, lost):
    record = run_stage()
    (run,) = runs()
    path = Path(run.info.artifact_uri.removeprefix("file://")) / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if lost == "record.json":
        with pytest.raises(InputError, match=rf"run {run.info.run_id} .* its artifacts are not .*dvc repro publish"):
            publishing.find_origin(run.info.run_id)
    after = publishing.publish(EXPERIMENT, [record])
    assert after.replayed == ["train@light_cnn"]
    assert after.differing == [f"run {run.info.run_id} (train@light_cnn): its artifact {lost} is lost"]
    assert as_the_record_says(after.runs[0], record)


def test_a_training_whose_model_is_lost_is_sent_again(trained, new_server, tmp_path):
    new_server("empty")
    record = read_record(record_path("train", "light_cnn"))
    first = publishing.publish(EXPERIMENT, [record]).runs[0]
    model = mlflow.MlflowClient().get_logged_model(first.outputs.model_outputs[0].model_id)
    shutil.rmtree(model.artifact_location.removeprefix("file://"))
    assert publishing.publish(EXPERIMENT, [record]).replayed == ["train@light_cnn"]


def test_a_lost_server_gets_every_record_back_once(server, new_server):
    records = [run_stage(model=name, parameters={"name": name}) for name in ("light_cnn", "basic_vgg16")]
    records.append(run_stage("ingest", model=None))
    new_server("empty")
    replayed, found, *_ = publishing.publish(EXPERIMENT, records)
    assert replayed == ["train@light_cnn", "train@basic_vgg16", "ingest"]
    assert publishing.publish(EXPERIMENT, records)[0] == []
    assert len(runs()) == 3
    for run, record in zip(found, records, strict=True):
        assert run.info.status == "FINISHED"
        assert run.data.tags["replayed"] == "true"
        assert run.info.run_name == record.name
        assert as_the_record_says(run, record)


def test_an_unfinished_or_failed_run_does_not_count_as_published(server):
    record = run_stage()
    mlflow.MlflowClient().set_terminated(runs()[0].info.run_id, "FAILED")
    assert publishing.publish(EXPERIMENT, [record])[0] == ["train@light_cnn"]


@pytest.mark.parametrize("change", [lambda: PREDICTIONS.write_text("other"), PREDICTIONS.unlink], ids=["other", "gone"])
def test_an_artifact_that_changed_since_is_refused(server, new_server, change):
    record = run_stage()
    new_server("empty")
    change()
    with pytest.raises(schemas.TableError, match=r"light_cnn\.csv is not what its record says.*`dvc checkout`"):
        publishing.publish(EXPERIMENT, [record])
    assert runs() == []
    write_text(PREDICTIONS, "sample_id,prob\na,0.5\n")
    assert publishing.publish(EXPERIMENT, [record])[0] == ["train@light_cnn"]


def test_a_model_file_that_changed_since_is_refused(trained, new_server):
    new_server("empty")
    models.save(models.build(arrays.LIGHT, arrays.SHAPE, seed=1), MODEL)
    with pytest.raises(schemas.TableError, match=r"light_cnn\.keras is not what its record says"):
        publishing.publish(EXPERIMENT, [read_record(record_path("train", "light_cnn"))])


def test_without_a_server_the_work_goes_on_and_its_record_is_kept(new_server, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING, "mammo.tracking.live_run"):
        record = run_stage()
    assert [entry.levelname for entry in caplog.records if entry.name == "mammo.tracking.live_run"] == ["WARNING"]
    assert "http://127.0.0.1:9 failed" in caplog.text
    assert "dvc repro publish" in caplog.text
    new_server("later")
    assert publishing.publish(EXPERIMENT, [record])[0] == ["train@light_cnn"]
    assert as_the_record_says(runs()[0], record)


def test_a_server_that_leaves_midway_changes_no_record(server, monkeypatch, caplog):
    record = run_stage()
    send = mlflow.MlflowClient.log_batch

    def leave(client: mlflow.MlflowClient, run_id: str, *metrics: object, **others: object) -> None:
        if metrics:
            raise MlflowException("connection reset")
        send(client, run_id, **others)

    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", leave)
    with caplog.at_level(logging.WARNING, "mammo.tracking.live_run"):
        again = run_stage()
    assert again == record
    assert caplog.text.count("connection reset") == 1


def test_a_run_shows_what_the_machine_did_and_its_record_does_not(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    with live_run.resumable_run(StageSpec("train", "light_cnn", EXPERIMENT, {}, {}), tmp_path):
        deadline = time.monotonic() + 30
        while not shown(runs()[0]) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"} <= shown(runs()[0])
    assert runs()[0].info.status == "FINISHED"
    assert read_record(record_path("train", "light_cnn")).metrics == {}
    assert not [thread for thread in threading.enumerate() if thread.name == "SystemMetricsMonitor"]


def shown(run: Run) -> set[str]:
    return {name for name in run.data.metrics if name.startswith("system/")}


def test_an_alias_names_the_version_that_was_registered_last_under_it(trained):
    assert model_registry.find_version("mammo-demo", "champion") is None
    first = model_registry.register_version(
        trained[0], VersionSpec("mammo-demo", "light_cnn", "champion", {"val_auc": "0.7"}, "the first")
    )
    assert model_registry.find_version("mammo-demo", "champion") == first
    assert model_registry.find_version("mammo-demo", "challenger") is None
    second = model_registry.register_version(
        trained[1], VersionSpec("mammo-demo", "light_cnn", "champion", {}, "better")
    )
    assert model_registry.find_version("mammo-demo", "champion") == second
    assert (first.number, second.number) == ("1", "2")
    assert second.content == trained[1].data.tags["content"]
    again = model_registry.register_version(
        trained[0], VersionSpec("mammo-demo", "light_cnn", "challenger", {}, "once more")
    )
    assert again == first
    loaded = models.load(mlflow_client.download_model("models:/mammo-demo@champion"))
    expected = models.build(arrays.LIGHT, arrays.SHAPE, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), expected.get_weights(), strict=True))


def test_a_version_is_known_by_the_content_of_its_record(trained):
    spec = VersionSpec("mammo-demo", "light_cnn", "champion", {}, "")
    first = model_registry.register_version(trained[0], spec)
    mlflow.MlflowClient().delete_registered_model_alias("mammo-demo", "champion")  # a kill before the alias was set
    assert model_registry.register_version(trained[0], spec) == first
    assert model_registry.find_version("mammo-demo", "champion") == first
    assert model_registry.is_whole(first)
    retire(trained[0], "of the test")
    assert not model_registry.is_whole(first)
    assert model_registry.register_version(trained[0], spec).number == "2"


def test_a_version_that_a_person_registered_has_neither_model_nor_content(trained):
    mlflow.register_model(f"runs:/{trained[0].info.run_id}/light_cnn", "mammo-demo")
    mlflow.MlflowClient().set_registered_model_alias("mammo-demo", "champion", "1")
    found = model_registry.find_version("mammo-demo", "champion")
    assert found is not None
    assert (found.model, found.content) == ("", "")
    with pytest.raises(InputError, match=r"missing\.csv of mammo-demo, version 1"):
        model_registry.download_version_artifact(found, "missing.csv")


def evaluated(name: str, order: int, auc: float, ppv: float) -> Record:
    with live_run.tracked_run(
        "evaluate",
        model=name,
        experiment=EXPERIMENT,
        parameters={},
        tags={"order": f"{order:03d}", "unit": "lesion"},
    ) as tracked:
        tracked.log_metrics({"auc": auc, "ppv": ppv})
    return read_record(record_path("evaluate", name))


@pytest.fixture
def comparison(server: None) -> pd.DataFrame:
    records = [evaluated("b", 2, 0.8, 0.3), evaluated("c", 10, 0.7, 0.2), evaluated("a", 0, 0.9, NAN)]
    return publishing.table_of_runs(publishing.publish(EXPERIMENT, [*records, run_stage()]).runs, ["model", "unit"])


def test_the_table_stands_in_the_stated_order(comparison):
    assert list(comparison["model"]) == ["a", "b", "c"]
    assert list(comparison.columns) == ["model", "unit", "auc", "ppv"]
    np.testing.assert_array_equal(comparison["auc"], [0.9, 0.8, 0.7])


def test_what_cannot_be_estimated_is_missing_in_the_table_and_a_dash_for_people(comparison):
    assert comparison["ppv"].isna().tolist() == [True, False, False]
    assert format_interval(comparison.iloc[0], "ppv") == "-"


def test_the_table_holds_this_workspaces_runs_and_no_newer_ones(server):
    mine = evaluated("a", 0, 0.9, 0.5)
    evaluated("a", 0, 0.6, 0.1)
    found = publishing.publish(EXPERIMENT, [mine]).runs
    assert publishing.table_of_runs(found, ["model"])["auc"].tolist() == [0.9]


def test_without_an_address_the_store_lies_in_the_users_repository(tmp_path, empty_store, monkeypatch):
    """A queued experiment runs in a copy that is deleted: nothing may be left there."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(empty_store, home / "mlflow.db")
    monkeypatch.setenv("DVC_ROOT", str(home))
    run_stage()
    (run,) = runs()
    assert mlflow.get_tracking_uri() == f"sqlite:///{home}/mlflow.db"
    assert run.info.artifact_uri.startswith((home / "mlartifacts").as_uri())
    assert not Path("mlruns").exists()
    assert not Path("mlflow.db").exists()


def test_an_experiment_of_dvc_is_named_with_the_commit_it_started_from(server, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "shy-mole")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "0" * 40)
    run_stage()
    assert {key: runs()[0].data.tags[key] for key in ("dvc.exp", "git.commit")} == {
        "dvc.exp": "shy-mole",
        "git.commit": "0" * 40,
    }


def test_the_experiment_is_no_part_of_the_record(server, monkeypatch):
    record = run_stage()
    monkeypatch.setenv("DVC_EXP_NAME", "shy-mole")
    assert run_stage() == record


def test_a_number_that_json_cannot_hold_never_reaches_a_record(server):
    def unfinished(tracked: StageRun) -> str:
        tracked.log_epoch(0, {"loss": NAN})
        return tracked.record().text()

    with live_run.tracked_run("train", model="light_cnn", experiment=EXPERIMENT, parameters={}, tags={}) as tracked:
        assert json.loads(unfinished(tracked))["history"] == [{"epoch": 0, "loss": None}]


def test_the_origin_of_a_run_is_its_record_and_of_a_pipeline_all_of_them(server):
    records = [run_stage(model=name, parameters={"name": name}) for name in ("light_cnn", "basic_vgg16")]
    found = publishing.publish(EXPERIMENT, records).runs
    pipeline = publishing.log_pipeline(EXPERIMENT, records, found, [])
    assert publishing.find_origin(found[0].info.run_id).records == records[:1]
    assert {record.name for record in publishing.find_origin(pipeline).records} == {record.name for record in records}
    with pytest.raises(InputError, match=r"run 0000 cannot be read from (sqlite|postgresql)"):
        publishing.find_origin("0000")


def test_a_run_that_did_not_finish_has_no_origin(server):
    with pytest.raises(ValueError, match="no"):
        fail(ValueError("no"))
    with pytest.raises(InputError, match=r"train@light_cnn, FAILED\) is no finished run"):
        publishing.find_origin(runs()[0].info.run_id)
