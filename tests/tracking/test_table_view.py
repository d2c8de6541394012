"""The page of the comparison table in MLflow's UI: its columns, each row once, and who may only read."""

import json
from pathlib import Path
from urllib.parse import parse_qs

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from mammo.core.records import Record, read_record, record_path
from mammo.tracking import live_run, publishing, table_view

EXPERIMENT = "screening"


@pytest.fixture
def client(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    """A store of its own in an empty folder."""
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    for variable in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")


def evaluate(auc: float) -> Record:
    tags = {"order": "000", "unit": "lesion", "samples": "official test"}
    given = {"experiment": EXPERIMENT, "parameters": {"seed": 1}, "tags": tags, "model": "light_cnn"}
    with live_run.tracked_run("evaluate", **given) as run_log:
        run_log.log_metrics({"n": 9, "auc": auc})
    return read_record(record_path("evaluate", "light_cnn"))


def view_of(page: str, client: mlflow.MlflowClient) -> dict[str, object]:
    query = parse_qs(page.split("?")[1])
    assert query["workflowType"] == ["machine_learning"]
    (key,) = query["viewStateShareKey"]
    tags = client.get_experiment_by_name(EXPERIMENT).tags
    assert "not a medical device" in tags["mlflow.note.content"]
    return dict(json.loads(tags[f"{table_view.VIEW_TAG}{key}"]))


def test_the_page_has_columns_and_each_row_once(client: mlflow.MlflowClient) -> None:
    runs = []
    for auc in (0.7, 0.8):  # two finished workspaces: the row of the first is an older one
        records = [evaluate(auc)]
        runs = publishing.publish(EXPERIMENT, records).runs
        publishing.log_pipeline(EXPERIMENT, records, runs, [])
    view = view_of(table_view.table_page(EXPERIMENT)[1], client)
    assert view["selectedColumns"] == list(table_view.COLUMNS)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    listed = client.search_runs([experiment.experiment_id], view["searchFilter"])
    assert [run.info.run_id for run in listed] == [runs[0].info.run_id]
    assert listed[0].data.metrics["auc"] == 0.8


def test_one_workspace_has_the_plain_filter_and_one_view(client: mlflow.MlflowClient) -> None:
    records = [evaluate(0.7)]
    publishing.log_pipeline(EXPERIMENT, records, publishing.publish(EXPERIMENT, records).runs, [])
    pages = {table_view.table_page(EXPERIMENT) for _ in range(2)}
    assert view_of(pages.pop()[1], client)["searchFilter"] == table_view.ROWS
    assert not pages
    views = [tag for tag in client.get_experiment_by_name(EXPERIMENT).tags if tag.startswith(table_view.VIEW_TAG)]
    assert len(views) == 1


def test_a_note_of_the_users_own_stays(client: mlflow.MlflowClient) -> None:
    evaluate(0.7)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "mine")
    table_view.table_page(EXPERIMENT)
    assert client.get_experiment_by_name(EXPERIMENT).tags["mlflow.note.content"] == "mine"


def test_who_may_only_read_gets_the_rows_in_the_address(client: mlflow.MlflowClient, monkeypatch) -> None:
    def refuse(*words: object) -> None:
        raise MlflowException("Permission denied")

    evaluate(0.7)
    monkeypatch.setattr(mlflow.MlflowClient, "set_experiment_tag", refuse)
    query = parse_qs(table_view.table_page(EXPERIMENT)[1].split("?")[1])
    assert query["searchFilter"] == [table_view.ROWS]
    assert query["orderByKey"] == ["metrics.`auc`"]
