"""The page of MLflow's UI that lists the rows of the comparison table: which runs, in which order, with which columns.

MLflow keeps such a view in a tag of the experiment, and shows it to whoever opens an address that names the view.
"""

import hashlib
import json
from urllib.parse import quote, urlencode

import mlflow
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from mammo.tracking.failures import FAILURES, name_cure
from mammo.tracking.mlflow_client import connect, search_finished
from mammo.tracking.publishing import PIPELINE, runs_of_pipeline
from mammo.tracking.run_contents import ROW_STAGES

VIEW_TAG = "mlflow.sharedViewState."  # MLflow's; before the key of a view
COLUMNS = ("metrics.`auc`", "metrics.`sensitivity`", "metrics.`specificity`", "tags.`samples`")
ROWS = "attributes.status = 'FINISHED' AND tags.`dvc.stage` = 'evaluate'"
MOST_RUNS = 500  # that are looked at
NOTE = (
    "Each run is a stage of `dvc.yaml`. `evaluate@...` are rows of the comparison table, `train@...` trainings; "
    "below each `pipeline` run lie the runs that it was the first to need. `make ui` prints the address that lists the "
    "table by AUC. For research and teaching only; not a medical device."
)


@name_cure()
def table_page(experiment: str) -> tuple[str, str]:
    """Return the store's address and, below its host, the page of the UI that lists the comparison table by AUC.

    The view is kept on the server; who may not write there gets an address with the same rows and no choice of columns.
    """
    experiment_id = connect(experiment)
    query = _address_view(experiment_id, _select_rows(experiment_id))
    query["workflowType"] = "machine_learning"  # else MLflow surrounds the runs with its pages for chat assistants
    page = f"/#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"
    return mlflow.get_tracking_uri(), page


def _address_view(experiment_id: str, condition: str) -> dict[str, str]:
    """Return the query of the address that opens the view."""
    try:
        return {"viewStateShareKey": _keep_view(experiment_id, json.dumps(describe_view(condition)))}
    except FAILURES:  # a server that lets this user read alone
        return {"searchFilter": condition, "orderByKey": "metrics.`auc`", "orderByAsc": "false"}


def describe_view(condition: str) -> dict[str, object]:
    """Return MLflow's state of a view: the runs that meet `condition`, by AUC, with COLUMNS."""
    return {
        "searchFilter": condition,
        "orderByKey": "metrics.`auc`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(COLUMNS),
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
    }


def _select_rows(experiment_id: str) -> str:
    """Return MLflow's filter of the rows of the newest finished pipeline; of all finished rows where there is none.

    An older workspace's rows stay on the server: the same row would else be listed once per workspace.
    """
    newest = search_finished(experiment_id, f"tags.`dvc.stage` = '{PIPELINE}'", 1)
    if not newest:
        return ROWS
    rows = [run for run in runs_of_pipeline(newest[0]) if run.data.tags.get("dvc.stage") in ROW_STAGES]
    everything = search_finished(experiment_id, ROWS, MOST_RUNS)
    if {run.info.run_id for run in everything} <= {run.info.run_id for run in rows}:
        return ROWS
    return f"attributes.run_id IN ({', '.join(repr(run.info.run_id) for run in rows)})"


def _keep_view(experiment_id: str, view: str) -> str:
    """Keep a view (JSON) on the server, and the experiment's note where it has none; return the view's key."""
    client, key = mlflow.MlflowClient(), hashlib.sha256(view.encode()).hexdigest()[:12]
    tags = client.get_experiment(experiment_id).tags
    if tags.get(f"{VIEW_TAG}{key}") != view:
        client.set_experiment_tag(experiment_id, f"{VIEW_TAG}{key}", view)
    if MLFLOW_RUN_NOTE not in tags:
        client.set_experiment_tag(experiment_id, MLFLOW_RUN_NOTE, NOTE)
    return key
