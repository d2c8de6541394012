"""The connection to the MLflow server: the store's address, the experiment, look-ups of runs, downloads.

`mammo.tracking` alone imports MLflow. The SHA-256 of a run's record (core/records.py) is the run's tag `content`; by it
the runs of a workspace are found.
"""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from mammo.core.errors import InputError
from mammo.core.paths import SCRATCH, project_root
from mammo.core.records import Record
from mammo.tracking import model_uri

N_LOOKUPS = 8  # queries to the server at a time
N_TWINS = 20  # finished runs of one record that are looked at, the newest first
FAILURES = (MlflowException, OSError)  # of a server; artifacts that it does not take end in an error of `requests`


@contextmanager
def name_cure() -> Iterator[None]:
    """Turn the failure of a server that is away, or that refuses us, into an InputError with the cure."""
    try:
        yield
    except FAILURES as error:
        status = error.get_http_status_code() if isinstance(error, MlflowException) else 500
        address, reason = mlflow.get_tracking_uri(), str(error).splitlines()[0]
        if status == 401:
            cure = "does not know us; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        elif status == 403:
            cure = "says that we may not write; its administrator can grant EDIT on the experiment"
        elif status >= 500:
            cure = "does not answer as it should; see that it runs"
        else:
            raise
        raise InputError(
            f"MLflow at {address} {cure}, then run `dvc repro publish`. All records are kept. ({reason})"
        ) from error


def connect(experiment: str) -> str:
    """Point MLflow at the server (MLFLOW_TRACKING_URI, else SQLite in the repository); return the experiment's id."""
    embedded = use_store()
    with exclusive_lock("store"):  # two processes cannot create one at once
        existing = mlflow.get_experiment_by_name(experiment)
        if existing is not None:
            return str(existing.experiment_id)
        location = (project_root() / "mlartifacts").as_uri() if embedded else None
        try:
            return str(mlflow.create_experiment(experiment, location))
        except MlflowException:  # somebody else's process was faster
            existing = mlflow.get_experiment_by_name(experiment)
            if existing is None:
                raise
            return str(existing.experiment_id)


def use_store() -> bool:
    """Tell MLflow the address of its store; return whether it is the SQLite store of the repository."""
    # MLflow retries a server that is away for minutes; a training should not wait for that.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    repository_store = f"sqlite:///{project_root() / 'mlflow.db'}"
    address = os.environ.get("MLFLOW_TRACKING_URI") or repository_store
    mlflow.set_tracking_uri(address)  # a long-lived process (a notebook, a test) still has the previous one
    return address == repository_store


@contextmanager
def exclusive_lock(name: str) -> Iterator[None]:
    """Let one process of this repository at a time into the block, queued experiments included."""
    folder = project_root() / SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"mlflow_{name}.lock"):  # the system releases it however its process ends
        yield


def find_by_record(experiment_id: str, records: list[Record]) -> dict[str, list[Run]]:
    """Return the finished runs of each record, by content, the newest first."""
    contents = [record.content() for record in records]
    with ThreadPoolExecutor(N_LOOKUPS) as pool:  # MLflow knows no `tag IN (...)`
        answers = pool.map(lambda name: search_finished(experiment_id, f"tags.content = '{name}'", N_TWINS), contents)
    return dict(zip(contents, answers, strict=True))


def search_finished(experiment_id: str, condition: str, limit: int) -> list[Run]:
    """Return the finished runs that meet an MLflow filter, the newest first."""
    finished = f"attributes.status = 'FINISHED' AND {condition}"
    return list(mlflow.MlflowClient().search_runs([experiment_id], finished, max_results=limit))


def download_artifact(run_id: str, path: str) -> Path:
    """Return the local copy of an artifact of a run; raises MlflowException or OSError."""
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path))


def download_model(uri: str) -> Path:
    """Return the .keras file of `runs:/<run>/<model>` or `models:/<name>/<version>`.

    Raises InputError that names the URI.
    """
    use_store()
    try:
        download = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except FAILURES as error:
        raise InputError(f"{uri} cannot be downloaded from {mlflow.get_tracking_uri()}: {error}") from error
    models = sorted(download.rglob("*.keras")) if download.is_dir() else [download]
    if len(models) != 1:
        raise InputError(
            f"{uri} holds {len(models)} .keras files; name the model of one run, e.g. {model_uri.RUNS}<run>/light_cnn"
        )
    return models[0]


def table_page(experiment: str) -> tuple[str, str]:
    """Return the store's address and, below its host, the page of the UI that lists the comparison table by AUC."""
    finished = "tags.`dvc.stage` = 'evaluate' AND attributes.status = 'FINISHED'"
    query = {"searchFilter": finished, "orderByKey": "metrics.`auc`", "orderByAsc": "false"}
    query["workflowType"] = "machine_learning"  # else MLflow surrounds the runs with its pages for chat assistants
    page = f"/#/experiments/{connect(experiment)}/runs?{urlencode(query, quote_via=quote)}"
    return mlflow.get_tracking_uri(), page
