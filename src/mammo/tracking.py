"""The only room that knows MLflow. A run leaves a deterministic record in the workspace, and the same on the server.

The record (`metrics/records/<stage>[/<model>].json`: parameters, history, metrics, data fingerprint, hashes of the
artifacts; no run id, no time) is a DVC output. Its SHA-256 is the run's tag `content`: by it the comparison table finds
the runs of the current workspace, and `publish` what the server lacks.
"""

import hashlib
import json
import logging
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import mlflow
import pandas as pd
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from mammo import params, project, tables
from mammo.errors import InputError

RECORDS = Path("metrics/records")
ROW_STAGES = ("evaluate", "external")  # each of their runs is a row of the comparison table
LOOKUPS = 8  # questions to the server at a time
RESOURCES_SECONDS = 5.0  # between two looks at them; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets another
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What one run computed, without when and where."""

    stage: str
    model: str | None
    parameters: dict[str, Any]
    tags: dict[str, str]
    metrics: dict[str, float | None]
    history: list[dict[str, float | None]]
    artifacts: dict[str, str]
    model_file: str | None

    @property
    def name(self) -> str:
        """`train@light_cnn` as in dvc.yaml."""
        return run_name(self.stage, self.model)

    def text(self) -> str:
        """The record as it is written; equal records have equal texts."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n"

    def content(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text().encode()).hexdigest()


@dataclass
class Tracked:
    """An open run: what is put here ends up in the record and on the server."""

    stage: str
    model: str | None
    parameters: dict[str, Any]
    live: "_Live"
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)
    history: list[dict[str, float | None]] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    model_file: str | None = None

    def log_epoch(self, epoch: int, values: Mapping[str, float], prefix: str = "") -> None:
        """Add the metrics of one epoch (from 0), their names after `prefix`; they reach the server at once."""
        named = _plain({f"{prefix}{name}": value for name, value in values.items()})
        self.history.append({"epoch": epoch, **named})
        self.live.attempt(lambda client, run_id: client.log_batch(run_id, _metrics(named, epoch)))

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Add final metrics."""
        self.metrics |= _plain(values)

    def log_artifact(self, path: Path) -> None:
        """Add a file or folder of the workspace, as it is now."""
        self.artifacts[path.as_posix()] = tables.sha256(path)

    def log_model(self, path: Path) -> None:
        """Add a .keras file; on the server it becomes an MLflow model."""
        self.log_artifact(path)
        self.model_file = path.as_posix()

    def record(self) -> Record:
        """The record of what has been put here."""
        return Record(
            self.stage,
            self.model,
            params.flat(self.parameters),
            self.tags,
            self.metrics,
            self.history,
            self.artifacts,
            self.model_file,
        )


def run_name(stage: str, model: str | None) -> str:
    """`train@light_cnn`, as dvc.yaml names the stage."""
    return stage if model is None else f"{stage}@{model}"


def record_path(stage: str, model: str | None = None) -> Path:
    """Where the record of a run lies."""
    return RECORDS / f"{stage}.json" if model is None else RECORDS / stage / f"{model}.json"


def read_record(path: Path) -> Record:
    """A record from the workspace."""
    return Record(**json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def run(
    stage: str,
    *,
    experiment: str,
    parameters: dict[str, Any],
    model: str | None = None,
    tags: dict[str, str],
    resources: bool = False,
) -> Iterator[Tracked]:
    """Track one stage (of one model): live on the server, and as a record when the block ends well.

    Where the server is away the work goes on: the record is kept, and `publish` replays it later. resources: the run
    also has MLflow's system metrics (CPU, memory, disk, network, GPU), which are no result and in no record.
    """
    live = _Live(experiment, run_name(stage, model), _run_tags(stage, model) | tags, params.flat(parameters))
    tracked = Tracked(stage, model, parameters, live, tags)
    try:
        with live.resources() if resources else nullcontext():
            yield tracked
        record = tracked.record()
        _check_artifacts(record)
    except BaseException:
        live.attempt(lambda client, run_id: client.set_terminated(run_id, "FAILED"))
        raise
    tables.write_text(record_path(stage, model), record.text())
    live.attempt(lambda client, run_id: _finish(client, run_id, record))


def publish(experiment: str, records: list[Record]) -> tuple[list[str], list[Run]]:
    """Make the server hold a finished run for every record; returns the names of those replayed, and all the runs."""
    experiment_id = connect(experiment)
    runs = _find(experiment_id, records)
    replayed = []
    for record in records:
        if record.content() not in runs:
            runs[record.content()] = _replay(experiment, record)
            replayed.append(record.name)
    return replayed, [runs[record.content()] for record in records]


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
    found = mlflow.get_experiment_by_name(experiment)
    if found is not None:
        return str(found.experiment_id)
    location = (project.root() / "mlartifacts").as_uri() if embedded else None
    try:
        return str(mlflow.create_experiment(experiment, location))
    except MlflowException:  # another stage was faster
        found = mlflow.get_experiment_by_name(experiment)
        if found is None:
            raise
        return str(found.experiment_id)


def _point_at_store() -> bool:
    """Tell MLflow where the runs are; True where that is the store in the repository."""
    # MLflow retries a server that is away for minutes; a training should not wait for that.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    own_store = f"sqlite:///{project.root() / 'mlflow.db'}"
    embedded = os.environ.get("MLFLOW_TRACKING_URI", own_store) == own_store
    if embedded:
        mlflow.set_tracking_uri(own_store)
    return embedded


class _Live:
    """A run on the server, or, once the server has failed, the knowledge that there is none."""

    def __init__(self, experiment: str, name: str, tags: dict[str, str], parameters: dict[str, Any]):
        self.run_id: str | None = None
        try:
            experiment_id = connect(experiment)
            created = mlflow.MlflowClient().create_run(experiment_id, tags=tags, run_name=name)
            self.run_id = created.info.run_id
            mlflow.MlflowClient().log_batch(created.info.run_id, params=_params(parameters))
        except MlflowException as error:
            self._give_up(error)

    def attempt(self, action: Callable[[mlflow.MlflowClient, str], Any]) -> None:
        if self.run_id is None:
            return
        try:
            action(mlflow.MlflowClient(), self.run_id)
        except MlflowException as error:
            self._give_up(error)

    @contextmanager
    def resources(self) -> Iterator[None]:
        """MLflow's system metrics while the block runs."""
        if self.run_id is None:
            yield
            return
        logging.getLogger(SystemMetricsMonitor.__module__).setLevel(logging.WARNING)
        monitor = SystemMetricsMonitor(self.run_id, sampling_interval=RESOURCES_SECONDS)
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def _give_up(self, error: MlflowException) -> None:
        self.run_id = None
        log.warning(
            "MLflow at %s failed (%s). The work goes on and its record is kept; `dvc repro publish` sends it later.",
            mlflow.get_tracking_uri(),
            str(error).splitlines()[0],
        )


def _find(experiment_id: str, records: list[Record]) -> dict[str, Run]:
    """Finished runs by content, the newest of each; side by side, because MLflow knows no `tag IN (...)`."""

    def ask(content: str) -> list[Run]:
        condition = f"attributes.status = 'FINISHED' AND tags.content = '{content}'"
        return list(mlflow.MlflowClient().search_runs([experiment_id], condition, max_results=1))

    contents = [record.content() for record in records]
    with ThreadPoolExecutor(LOOKUPS) as pool:
        answers = pool.map(ask, contents)
    return {content: found[0] for content, found in zip(contents, answers, strict=True) if found}


def _replay(experiment: str, record: Record) -> Run:
    _check_artifacts(record)
    live_tags = _run_tags(record.stage, record.model) | record.tags | {"replayed": "true"}
    client = mlflow.MlflowClient()
    created = client.create_run(connect(experiment), tags=live_tags, run_name=record.name)
    run_id = created.info.run_id
    for values in record.history:
        client.log_batch(run_id, _metrics({k: v for k, v in values.items() if k != "epoch"}, int(values["epoch"] or 0)))
    _finish(client, run_id, record)
    return client.get_run(run_id)


def _finish(client: mlflow.MlflowClient, run_id: str, record: Record) -> None:
    """Log what the record holds beside its history, and mark the run as the record's."""
    client.log_batch(
        run_id,
        metrics=_metrics(record.metrics, len(record.history)),
        params=_params(record.parameters),
        tags=[RunTag(key, value) for key, value in record.tags.items()],
    )
    for path in record.artifacts:
        if path != record.model_file:
            _log_artifact(client, run_id, Path(path))
    if record.model_file is not None:
        _log_model(run_id, Path(record.model_file), record)
    client.log_text(run_id, record.text(), "record.json")
    client.set_tag(run_id, "content", record.content())
    client.set_terminated(run_id)


def _check_artifacts(record: Record) -> None:
    for path, digest in record.artifacts.items():
        if not Path(path).exists() or tables.sha256(Path(path)) != digest:
            raise tables.TableError(
                f"{path} is not what its record says; "
                "restore it with `dvc checkout`, or rerun its stage with `dvc repro`"
            )


def _log_artifact(client: mlflow.MlflowClient, run_id: str, path: Path) -> None:
    if path.is_dir():
        client.log_artifacts(run_id, str(path), path.name)
    else:
        client.log_artifact(run_id, str(path))


def _log_model(run_id: str, path: Path, record: Record) -> None:
    """The .keras file as an MLflow model with a signature; it predicts the same when loaded back."""
    import keras  # heavy, and needed here only
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    model = keras.models.load_model(path, compile=False)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *model.input_shape[1:]), "image")]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1), "prob")]),
    )
    requirements = [f"keras=={keras.__version__}", f"numpy=={np.__version__}", _backend_requirement(keras)]
    with mlflow.start_run(run_id=run_id):
        mlflow.keras.log_model(
            model,
            name=record.model or record.stage,
            signature=signature,
            pip_requirements=requirements,
        )


def _backend_requirement(keras: Any) -> str:
    import importlib.metadata

    backend = keras.backend.backend()
    return f"{backend}=={importlib.metadata.version(backend)}"


def _run_tags(stage: str, model: str | None) -> dict[str, str]:
    tags = {"dvc.stage": stage, "git.commit": _git_commit(), "mlflow.source.name": f"dvc.yaml:{stage}"}
    if model is not None:
        tags["model"] = model
    if "DVC_EXP_NAME" in os.environ:
        tags["dvc.exp"] = os.environ["DVC_EXP_NAME"]
    return tags


def _git_commit() -> str:
    """The commit that the experiment started from: a queued one runs on a temporary commit that is then deleted."""
    if "DVC_EXP_BASELINE_REV" in os.environ:
        return os.environ["DVC_EXP_BASELINE_REV"]
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=project.root())
    return found.stdout.strip() if found.returncode == 0 else "none"


def _metrics(values: Mapping[str, float | None], step: int) -> list[Metric]:
    now = time.time_ns() // 1_000_000
    return [Metric(key, value, now, step) for key, value in values.items() if value is not None]


def _params(values: Mapping[str, Any]) -> list[Param]:
    return [Param(key, str(value)) for key, value in values.items()]


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    """Python floats; what is not estimable becomes null, which JSON can hold."""
    return {key: float(value) if math.isfinite(value) else None for key, value in values.items()}


class Branch(_Live):
    """A run without a record: a search, or a trial of one. `identity`: tags that no other run has.

    Where an earlier, killed process has begun it, it is found again by them and goes on; nothing is sent twice.
    """

    def __init__(
        self,
        experiment: str,
        name: str,
        tags: dict[str, str],
        identity: dict[str, str],
        parameters: dict[str, Any],
    ):
        self.run_id, self.identity = None, identity
        self.sent: set[tuple[str, int]] = set()
        try:
            begun = _begun(connect(experiment), identity)
            if begun is not None:
                self._go_on(begun)
        except MlflowException as error:
            self._give_up(error)
            return
        if begun is None:
            super().__init__(experiment, name, tags | identity, params.flat(parameters))

    def log_epoch(self, epoch: int, values: Mapping[str, float], prefix: str = "") -> None:
        """Send the metrics of one epoch (from 0), their names after `prefix`."""
        named = {f"{prefix}{name}": value for name, value in values.items()}
        new = _plain({name: value for name, value in named.items() if (name, epoch) not in self.sent})
        self.attempt(lambda client, run_id: client.log_batch(run_id, _metrics(new, epoch)))

    def end(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Send final metrics and tags; the run is finished."""
        sent = [RunTag(key, value) for key, value in tags.items()]
        self.attempt(lambda client, run_id: client.log_batch(run_id, _metrics(_plain(metrics), 0), tags=sent))
        self.attempt(lambda client, run_id: client.set_terminated(run_id))

    def _go_on(self, begun: Run) -> None:
        client, self.run_id = mlflow.MlflowClient(), begun.info.run_id
        client.update_run(begun.info.run_id, "RUNNING")
        for key in begun.data.metrics:
            self.sent |= {(key, metric.step) for metric in client.get_metric_history(begun.info.run_id, key)}

    def _give_up(self, error: MlflowException) -> None:
        self.run_id = None
        log.warning(
            "MLflow at %s failed (%s). The search goes on, and remembers its trials itself.",
            mlflow.get_tracking_uri(),
            str(error).splitlines()[0],
        )


def search_run(experiment: str, model: str, key: str, data: str, asked: dict[str, Any]) -> Branch:
    """The run of a search, which `key` names. data: fingerprint; asked: its spaces and objective."""
    tags = _run_tags("search", model) | {"data": data}
    return Branch(experiment, run_name("search", model), tags, {"search": key, "trial": "all"}, asked)


def trial_run(
    experiment: str, model: str, search: Branch, number: int, data: str, parameters: dict[str, Any]
) -> Branch:
    """The run of one trial, a child of the search's."""
    tags = _run_tags("trial", model) | {"data": data}
    if search.run_id is not None:
        tags["mlflow.parentRunId"] = search.run_id
    identity = search.identity | {"trial": f"{number:03d}"}
    return Branch(experiment, f"trial {number:03d}", tags, identity, parameters)


def _begun(experiment_id: str, identity: dict[str, str]) -> Run | None:
    condition = " AND ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
    found = mlflow.MlflowClient().search_runs([experiment_id], condition, max_results=1)
    return found[0] if found else None
