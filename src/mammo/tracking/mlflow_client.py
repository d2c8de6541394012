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

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from mammo.core.errors import InputError
from mammo.core.paths import SCRATCH, project_root
from mammo.core.records import Record
from mammo.tracking import model_uri
from mammo.tracking.failures import FAILURES, SQLITE, DeletedExperimentError

N_LOOKUPS = 8  # queries to the server at a time
PAGE = 1000  # runs in an answer of the server
N_TWINS = 20  # finished runs of one record that are looked at, the newest first
REQUEST_TIMEOUT_S = "10"  # without an answer; MLFLOW_HTTP_REQUEST_TIMEOUT sets another
UPLOAD_TIMEOUT_S = "120"  # the same for a file, which a server may pass on to a bucket before it answers
DATABASES = ("postgresql", "mysql", "mssql")  # without a server before them
ARTIFACTS = "mlartifacts"  # folder beside a SQLite store


def connect(experiment: str) -> str:
    """Point MLflow at the server (MLFLOW_TRACKING_URI, else SQLite in the repository); return the experiment's id.

    Raises one of failures.FAILURES.
    """
    address = use_store()
    _await_answer(address)
    with exclusive_lock("store"):  # two processes cannot create one at once
        existing = mlflow.get_experiment_by_name(experiment)
        if existing is None:
            try:
                return str(mlflow.create_experiment(experiment, _artifact_location(address)))
            except MlflowException:  # somebody else's process was faster
                existing = mlflow.get_experiment_by_name(experiment)
                if existing is None:
                    raise
    if existing.lifecycle_stage != "active":
        raise DeletedExperimentError(
            f"the experiment {experiment!r} of MLflow at {address} was deleted; restore it with `MLFLOW_TRACKING_URI="
            f"{address} mlflow experiments restore --experiment-id {existing.experiment_id}`, or set another name "
            "(tracking.experiment in params.yaml), then run `dvc repro publish`. All records are kept."
        )
    return str(existing.experiment_id)


def use_store() -> str:
    """Tell MLflow the address of its store, and return it; a relative path of SQLite starts at the repository."""
    # MLflow waits minutes for a server that is away, and tries again; a training should not wait for that.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a kept connection ends with its server
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", REQUEST_TIMEOUT_S)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    if address.startswith(SQLITE):
        address = f"{SQLITE}{project_root() / address.removeprefix(SQLITE)}"
    mlflow.set_tracking_uri(address)  # a long-lived process (a notebook, a test) still has the previous one
    return address


def is_missing(address: str) -> bool:
    """Return whether the address is of a SQLite file that is not there; MLflow would create it to read it."""
    return address.startswith(SQLITE) and not Path(address.removeprefix(SQLITE)).is_file()


def _await_answer(address: str) -> None:
    """Ask a server once, without trying again, whether it answers at all; raises MlflowException or OSError."""
    if address.startswith("http"):
        http_request(get_default_host_creds(address), "/health", "GET", max_retries=0, raise_on_status=False)


def _artifact_location(address: str) -> str | None:
    """Return the folder of artifacts beside a SQLite store, of another database in the repository; None of a server.

    MLflow's default lies in the current folder, and a queued experiment runs in a copy that DVC deletes.
    """
    if address.startswith(SQLITE):
        return (Path(address.removeprefix(SQLITE)).parent / ARTIFACTS).as_uri()
    return (project_root() / ARTIFACTS).as_uri() if address.startswith(DATABASES) else None


@contextmanager
def upload_timeout() -> Iterator[None]:
    """Wait longer for an answer in the block, unless the user has set a time."""
    if os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") != REQUEST_TIMEOUT_S:
        yield
        return
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = UPLOAD_TIMEOUT_S
    try:
        yield
    finally:
        os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = REQUEST_TIMEOUT_S


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


def list_runs(experiment: str) -> dict[str, Run]:
    """Return all runs of the experiment by id; none where there is no such experiment."""
    use_store()
    existing = mlflow.get_experiment_by_name(experiment)
    if existing is None:
        return {}
    runs: dict[str, Run] = {}
    token = None
    while True:
        page = mlflow.MlflowClient().search_runs([existing.experiment_id], max_results=PAGE, page_token=token)
        runs |= {run.info.run_id: run for run in page}
        token = page.token
        if not token:
            return runs


def download_artifact(run_id: str, path: str) -> Path:
    """Return the local copy of an artifact of a run; raises MlflowException or OSError."""
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path))


def download_model(uri: str) -> Path:
    """Return the .keras file of `runs:/<run>/<model>` or `models:/<name>/<version>`.

    Raises InputError that names the URI.
    """
    return find_model(uri, download(uri))


def download(uri: str) -> Path:
    """Return the local copy of what a URI of MLflow names; raises InputError that names the URI."""
    use_store()
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except FAILURES as error:
        raise InputError(f"{uri} cannot be downloaded from {mlflow.get_tracking_uri()}: {error}") from error


def find_model(uri: str, downloaded: Path) -> Path:
    """Return the one .keras file of what was downloaded from a URI; raises InputError where there is not one."""
    models = sorted(downloaded.rglob("*.keras")) if downloaded.is_dir() else [downloaded]
    if len(models) != 1:
        raise InputError(
            f"{uri} holds {len(models)} .keras files; name the model of one run, e.g. {model_uri.RUNS}<run>/light_cnn"
        )
    return models[0]
