"""Runs on the MLflow server: each leaves a deterministic record in the workspace, and the same on the server.

No other room but model_registry.py knows MLflow. The SHA-256 of the record (record.py) is the run's tag `content`: by
it the comparison table finds the runs of the current workspace, and `publish` what the server lacks. All the records of
a finished workspace together name its `pipeline` run, the parent of the runs that it was the first to need; a run's own
children are its folds and seeds.
"""

import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import mlflow
import pandas as pd
from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from mammo.core import schemas
from mammo.core.errors import InputError
from mammo.core.files import sha256
from mammo.core.paths import project_root
from mammo.core.records import Part, Record, content_of, parse_record
from mammo.tracking import provenance

PIPELINE = "pipeline"  # the stage that a pipeline's run names
ROW_STAGES = ("evaluate", "external")  # each of their runs is a row of the comparison table
ROW_METRICS = ("auc", "sensitivity", "specificity")  # of a row, on the pipeline's run
LOOKUPS = 8  # questions to the server at a time
DATA = "pixels"  # the name of the input that the tag `data` is the digest of
DIGEST = 32  # characters of it: MLflow takes 36 at most
RECORD = "record.json"
RUNS, IDS_IN_A_TAG = "runs.", 200  # tags of a pipeline's run that name the runs of its records
EXAMPLE_GREY = 128.0  # the even image of a model's input example: no patient's film
PATCH = "workspace.patch"  # what the workspace had beside its commit, for `git apply`
LOCKS = Path(".dvc/tmp")  # in the user's repository; the system takes a lock back however its process ends
FAILURES = (MlflowException, OSError)  # of a server; artifacts that it does not take end in an error of `requests`
log = logging.getLogger(__name__)


class Published(NamedTuple):
    """What the server holds of a workspace."""

    replayed: list[str]  # names of the runs that it lacked
    runs: list[Run]  # one per record, in their order
    pipeline: str | None  # id of the pipeline's run, where it is there already


@dataclass(frozen=True)
class Origin:
    """What a finished run was made from, and what it left."""

    run_id: str
    tags: dict[str, str]
    patch: Path | None  # of the workspace against tags["git.commit"]
    records: list[Record]  # one; of a pipeline's run all


@contextmanager
def _curable() -> Iterator[None]:
    """A server that is away or refuses us is an InputError with the cure, not a defect."""
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


@_curable()
def publish(experiment: str, records: list[Record]) -> Published:
    """Make the server hold a finished run for every record.

    A workspace that was published before costs two questions, however many records it has.
    """
    experiment_id = connect(experiment)
    pipeline = _pipeline_run(experiment_id, records)
    known = _runs_of(experiment_id, pipeline) if pipeline else {}
    if not all(record.content() in known for record in records):
        known = _find(experiment_id, records)
        pipeline = None
    replayed = []
    for record in records:
        if record.content() not in known:
            known[record.content()] = _replay(experiment, record)
            replayed.append(record.name)
    return Published(
        replayed, [known[record.content()] for record in records], pipeline.info.run_id if pipeline else None
    )


@_curable()
def log_pipeline(experiment: str, records: list[Record], runs: list[Run], artifacts: list[Path]) -> str:
    """Write the pipeline's own run: provenance, the rows' headline metrics, which run each record is; returns its id.

    runs: as `publish` gave them; those without a parent become its children.
    """
    client = mlflow.MlflowClient()
    content = content_of(records)
    tags = provenance.tags() | {
        "dvc.stage": PIPELINE,
        "mlflow.source.name": "dvc.yaml",
        "dvc.lock": provenance.lock_hash() or "none",
    }
    name = f"{PIPELINE} {os.environ.get('DVC_EXP_NAME') or content[:8]}"
    run_id = str(client.create_run(connect(experiment), tags=tags, run_name=name).info.run_id)
    rows = [record for record in records if record.stage in ROW_STAGES]
    note = f"One finished workspace: {len(records)} runs, of which those that it was the first to need are below it."
    values = {f"{record.model}/{metric}": record.metrics.get(metric) for record in rows for metric in ROW_METRICS}
    client.log_batch(run_id, metrics=to_metrics(values, 0), tags=[*_id_tags(runs), RunTag(MLFLOW_RUN_NOTE, note)])
    for run in runs:
        if MLFLOW_PARENT_RUN_ID not in run.data.tags:
            client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, run_id)
    for path in artifacts:
        _log_artifact(client, run_id, path)
    _log_patch(client, run_id)
    client.set_tag(run_id, "content", content)
    client.set_terminated(run_id)
    return run_id


def origin(run_id: str) -> Origin:
    """Where a finished run came from; InputError where there is no such run, or where it did not finish."""
    _point_at_store()
    client = mlflow.MlflowClient()
    try:
        found = client.get_run(run_id)
        files = {file.path for file in client.list_artifacts(run_id)}
    except MlflowException as error:
        raise InputError(f"run {run_id} cannot be had from {mlflow.get_tracking_uri()}: {error}") from error
    if "content" not in found.data.tags:
        raise InputError(
            f"run {run_id} ({found.info.run_name}, {found.info.status}) is no finished run of a stage or a pipeline; "
            "`make ui` lists those that are"
        )
    runs = [found]
    if found.data.tags["dvc.stage"] == PIPELINE:
        runs = list(_runs_of(found.info.experiment_id, found).values())
    patch = _fetched(run_id, PATCH) if PATCH in files else None
    records = [parse_record(_fetched(run.info.run_id, RECORD).read_text(encoding="utf-8")) for run in runs]
    return Origin(run_id, dict(found.data.tags), patch, records)


def _fetched(run_id: str, path: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path))


def is_uri(source: str) -> bool:
    """Whether `source` names a model on the server, not a file."""
    return source.startswith(("runs:/", "models:/"))


def model_file(uri: str) -> Path:
    """The .keras file of `runs:/<run>/<model>` or `models:/<name>/<version>`; raises InputError naming the URI."""
    _point_at_store()
    try:
        place = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        raise InputError(f"{uri} cannot be had from {mlflow.get_tracking_uri()}: {error}") from error
    found = sorted(place.rglob("*.keras")) if place.is_dir() else [place]
    if len(found) != 1:
        raise InputError(
            f"{uri} holds {len(found)} .keras files; name the model of one run, e.g. runs:/<run>/light_cnn"
        )
    return found[0]


def table_page(experiment: str) -> tuple[str, str]:
    """The store's address, and the page of its UI (what follows the host) that lists the comparison table by AUC."""
    query = {"searchFilter": "tags.`dvc.stage` = 'evaluate'", "orderByKey": "metrics.`auc`", "orderByAsc": "false"}
    query["workflowType"] = "machine_learning"  # else MLflow surrounds the runs with its pages for chat assistants
    page = f"/#/experiments/{connect(experiment)}/runs?{urlencode(query, quote_via=quote)}"
    return mlflow.get_tracking_uri(), page


def rows_of_runs(runs: list[Run], tags: list[str]) -> pd.DataFrame:
    """The runs that are rows of the comparison table: the named tags, then every metric; in the order of `order`."""
    return _rows([(run.data.tags, run.data.metrics) for run in runs if run.data.tags["dvc.stage"] in ROW_STAGES], tags)


def rows_of_records(records: list[Record], tags: list[str]) -> pd.DataFrame:
    """The same table from the records of the workspace, which the server's runs repeat."""
    chosen = [record for record in records if record.stage in ROW_STAGES]
    return _rows([(record.tags | {"model": record.model or ""}, record.metrics) for record in chosen], tags)


def _rows(found: list[tuple[dict[str, str], Mapping[str, float | None]]], tags: list[str]) -> pd.DataFrame:
    ordered = sorted(found, key=lambda row: row[0]["order"])
    table = pd.DataFrame([{tag: have[tag] for tag in tags} | dict(values) for have, values in ordered])
    metric_names = sorted(set(table.columns) - set(tags))
    return table[tags + metric_names].astype(dict.fromkeys(metric_names, "float64"))


def connect(experiment: str) -> str:
    """Point MLflow at the server (MLFLOW_TRACKING_URI, else SQLite in the repository); returns the experiment's id."""
    embedded = _point_at_store()
    with turn("store"):  # two processes cannot make one at once
        found = mlflow.get_experiment_by_name(experiment)
        if found is not None:
            return str(found.experiment_id)
        location = (project_root() / "mlartifacts").as_uri() if embedded else None
        try:
            return str(mlflow.create_experiment(experiment, location))
        except MlflowException:  # somebody else's process was faster
            found = mlflow.get_experiment_by_name(experiment)
            if found is None:
                raise
            return str(found.experiment_id)


@contextmanager
def turn(name: str) -> Iterator[None]:
    """A block that one process of this repository at a time is in, queued experiments included."""
    folder = project_root() / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"mlflow_{name}.lock"):
        yield


def _point_at_store() -> bool:
    """Tell MLflow where the runs are; True where that is the store in the repository."""
    # MLflow retries a server that is away for minutes; a training should not wait for that.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    own_store = f"sqlite:///{project_root() / 'mlflow.db'}"
    address = os.environ.get("MLFLOW_TRACKING_URI") or own_store
    mlflow.set_tracking_uri(address)  # in a process that lives on (a notebook, a test) it still has the one before
    return address == own_store


def _pipeline_run(experiment_id: str, records: list[Record]) -> Run | None:
    """The finished run of the pipeline whose records these are."""
    found = _search(experiment_id, f"tags.content = '{content_of(records)}'", 1)
    return found[0] if found else None


def _runs_of(experiment_id: str, pipeline: Run) -> dict[str, Run]:
    """The finished runs that a pipeline's run names, by content."""
    ids = ",".join(value for tag, value in sorted(pipeline.data.tags.items()) if tag.startswith(RUNS)).split(",")
    listed = ", ".join(f"'{run_id}'" for run_id in ids)
    return {
        run.data.tags.get("content", ""): run
        for run in _search(experiment_id, f"attributes.run_id IN ({listed})", len(ids))
    }


def _id_tags(runs: list[Run]) -> list[RunTag]:
    """Tags with the ids of the runs; so many in each as a tag can hold."""
    ids = [run.info.run_id for run in runs]
    parts = [ids[start : start + IDS_IN_A_TAG] for start in range(0, len(ids), IDS_IN_A_TAG)]
    return [RunTag(f"{RUNS}{number:02d}", ",".join(part)) for number, part in enumerate(parts)]


def _find(experiment_id: str, records: list[Record]) -> dict[str, Run]:
    """Finished runs by content, the newest of each; side by side, because MLflow knows no `tag IN (...)`."""
    contents = [record.content() for record in records]
    with ThreadPoolExecutor(LOOKUPS) as pool:
        answers = pool.map(lambda content: _search(experiment_id, f"tags.content = '{content}'", 1), contents)
    return {content: found[0] for content, found in zip(contents, answers, strict=True) if found}


def _search(experiment_id: str, condition: str, most: int) -> list[Run]:
    """Finished runs, the newest first."""
    finished = f"attributes.status = 'FINISHED' AND {condition}"
    return list(mlflow.MlflowClient().search_runs([experiment_id], finished, max_results=most))


def _replay(experiment: str, record: Record) -> Run:
    check_artifacts(record)
    client, experiment_id = mlflow.MlflowClient(), connect(experiment)
    tags = run_tags(record.stage, record.model) | record.tags | {"replayed": "true"}
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=record.name).info.run_id)
    _send_history(client, run_id, record.history)
    for part in record.parts:
        own = tags | {MLFLOW_PARENT_RUN_ID: run_id, "part": part.title}
        child_id = client.create_run(experiment_id, tags=own, run_name=f"{record.name} {part.title}").info.run_id
        _send_history(client, child_id, part.history)
        finish_part(client, child_id, part)
    finish_run(client, run_id, record)
    return client.get_run(run_id)


def _send_history(client: mlflow.MlflowClient, run_id: str, history: list[dict[str, float | None]]) -> None:
    for values in history:
        named = {name: value for name, value in values.items() if name != "epoch"}
        client.log_batch(run_id, to_metrics(named, int(values["epoch"] or 0)))


def finish_run(client: mlflow.MlflowClient, run_id: str, record: Record) -> None:
    """Log what the record holds beside its history and parts, and mark the run as the record's."""
    client.log_batch(
        run_id,
        metrics=to_metrics(record.metrics, len(record.history)),
        params=to_params(record.parameters),
        tags=[RunTag(key, value) for key, value in (record.tags | {MLFLOW_RUN_NOTE: _note(record)}).items()],
    )
    if "data" in record.tags:
        client.log_inputs(run_id, [_input(record)])
    for path in record.artifacts:
        if path != record.model_file:
            _log_artifact(client, run_id, Path(path))
    if record.model_file is not None:
        _log_model(run_id, Path(record.model_file), record)
    _log_patch(client, run_id)
    client.log_text(run_id, record.text(), RECORD)
    client.set_tag(run_id, "content", record.content())
    client.set_terminated(run_id)


def finish_part(client: mlflow.MlflowClient, run_id: str, part: Part) -> None:
    """Log the final values of a child run and end it."""
    client.log_batch(run_id, to_metrics(part.metrics, len(part.history)), to_params(part.parameters))
    client.set_terminated(run_id)


def _note(record: Record) -> str:
    """The run's description in the UI."""
    data = f" on the data `{record.tags['data'][:12]}`" if "data" in record.tags else ""
    lines = [f"`dvc repro {record.name}`{data}"]
    if record.parts:
        lines.append(f"In parts, each a run below this one: {', '.join(part.title for part in record.parts)}.")
    shown = [name for name in ("auc", "val_auc") if record.metrics.get(name) is not None]
    lines += [f"{name} {record.metrics[name]:.3f}" for name in shown]
    return "\n\n".join(lines)


def _input(record: Record) -> DatasetInput:
    """The pixel store as MLflow's input data set: its digest is the start of the tag `data`."""
    digest = record.tags["data"][:DIGEST]
    source = json.dumps({"uri": f"data/{DATA}"})
    context = InputTag(MLFLOW_DATASET_CONTEXT, "evaluation" if record.stage in ROW_STAGES else "training")
    return DatasetInput(Dataset(DATA, digest, "local", source), [context])


def _log_patch(client: mlflow.MlflowClient, run_id: str) -> None:
    """What the workspace had beside its commit, so that the run can be reproduced."""
    change = provenance.patch()
    if change:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PATCH
            path.write_bytes(change)
            client.log_artifact(run_id, str(path))


def check_artifacts(record: Record) -> None:
    """Raise InputError where an artifact of the record is not what the record says."""
    for path, digest in record.artifacts.items():
        if not Path(path).exists() or sha256(Path(path)) != digest:
            raise schemas.TableError(
                f"{path} is not what its record says; "
                "restore it with `dvc checkout`, or rerun its stage with `dvc repro`"
            )


def _log_artifact(client: mlflow.MlflowClient, run_id: str, path: Path) -> None:
    if path.is_dir():
        client.log_artifacts(run_id, str(path), path.name)
    else:
        client.log_artifact(run_id, str(path))


def _log_model(run_id: str, path: Path, record: Record) -> None:
    """The .keras file as an MLflow model with signature and example; it predicts the same when loaded back."""
    import keras  # heavy, and needed here only
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    model = keras.models.load_model(path, compile=False)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *model.input_shape[1:]), "image")]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1), "prob")]),
    )
    requirements = [f"keras=={keras.__version__}", f"numpy=={np.__version__}", _backend_requirement(keras)]
    with mlflow.start_run(run_id=run_id):
        Model.log(
            None,
            flavor=_KerasFlavor,
            model=model,
            name=record.model or record.stage,
            signature=signature,
            pip_requirements=requirements,
            input_example=np.full((1, *model.input_shape[1:]), EXAMPLE_GREY, np.float32),
        )


class _KerasFlavor:
    """`mlflow.keras`, which as of 3.17 writes the input example before it makes the folder that this goes to."""

    __name__ = "mlflow.keras"

    @staticmethod
    def save_model(path: str, **given: Any) -> None:
        Path(path).mkdir(parents=True)
        mlflow.keras.save_model(path=path, **given)


def _backend_requirement(keras: Any) -> str:
    import importlib.metadata

    backend = keras.backend.backend()
    return f"{backend}=={importlib.metadata.version(backend)}"


def to_metrics(values: Mapping[str, float | None], step: int) -> list[Metric]:
    """Return MLflow metrics of those values that are not None."""
    now = time.time_ns() // 1_000_000
    return [Metric(key, value, now, step) for key, value in values.items() if value is not None]


def to_params(values: Mapping[str, Any]) -> list[Param]:
    """Return MLflow parameters."""
    return [Param(key, str(value)) for key, value in values.items()]


def plain_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """Python floats; what is not estimable becomes null, which JSON can hold."""
    return {key: float(value) if math.isfinite(value) else None for key, value in values.items()}


def run_tags(stage: str, model: str | None) -> dict[str, str]:
    """Return the tags of a stage's run."""
    tags = provenance.tags() | {"dvc.stage": stage, "mlflow.source.name": f"dvc.yaml:{stage}"}
    return tags if model is None else tags | {"model": model}
