"""A stage's run: live on the MLflow server, and a deterministic record in the workspace."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from mammo.core.config import flatten
from mammo.core.files import sha256, write_text
from mammo.core.records import Part, Record, record_path, run_name
from mammo.tracking.mlflow_client import (
    FAILURES,
    check_artifacts,
    connect,
    finish_part,
    finish_run,
    log,
    plain_numbers,
    run_tags,
    to_metrics,
    to_params,
)

RESOURCES_SECONDS = 5.0  # between two looks at them; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets another
RUN_IDS = "mlflow_runs.json"  # in the folder of unfinished work: the runs that the next attempt goes on with


@dataclass(kw_only=True)
class RunLog:
    """What is put here ends up in the record and on the server."""

    live: "_Live"
    metrics: dict[str, float | None] = field(default_factory=dict)
    history: list[dict[str, float | None]] = field(default_factory=list)

    def log_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add the metrics of one epoch (from 0); they reach the server at once."""
        named = plain_numbers(values)
        self.history.append({"epoch": epoch, **named})
        self.live.log_epoch(epoch, named)

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Add final metrics."""
        self.metrics |= plain_numbers(values)


@dataclass(kw_only=True)
class StageRun(RunLog):
    """An open run."""

    stage: str
    model: str | None
    parameters: dict[str, Any]
    tags: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    model_file: str | None = None

    @contextmanager
    def part(self, title: str, parameters: dict[str, Any]) -> Iterator[RunLog]:
        """One training of several (a fold, a seed), as a child run."""
        with self.live.child(title, parameters).closing() as live:
            logged = RunLog(live=live)
            yield logged
            part = Part(title, flatten(parameters), logged.metrics, logged.history)
            live.attempt(lambda client, run_id: finish_part(client, run_id, part))
        self.parts.append(part)

    def log_artifact(self, path: Path) -> None:
        """Add a file or folder of the workspace, as it is now."""
        self.artifacts[path.as_posix()] = sha256(path)

    def log_model(self, path: Path) -> None:
        """Add a .keras file; on the server it becomes an MLflow model."""
        self.log_artifact(path)
        self.model_file = path.as_posix()

    def record(self) -> Record:
        """The record of what has been put here."""
        return Record(
            self.stage,
            self.model,
            flatten(self.parameters),
            self.tags,
            self.metrics,
            self.history,
            self.parts,
            self.artifacts,
            self.model_file,
        )


@contextmanager
def tracked_run(
    stage: str,
    *,
    experiment: str,
    parameters: dict[str, Any],
    model: str | None = None,
    tags: dict[str, str],
    unfinished: Path | None = None,
) -> Iterator[StageRun]:
    """Track one stage (of one model): live on the server, and as a record when the block ends well.

    Where the server is away the work goes on: the record is kept, and `publish` replays it later. unfinished: the
    workshop of long work that can be killed; the next attempt then goes on with the same run instead of a second one,
    and the run has MLflow's system metrics (CPU, memory, disk, network, GPU), which are no result and in no record.
    """
    ids = None if unfinished is None else unfinished / RUN_IDS
    live = _Live(
        experiment, run_name(stage, model), run_tags(stage, model) | tags, flatten(parameters), ids=ids, part=""
    )
    tracked = StageRun(live=live, stage=stage, model=model, parameters=parameters, tags=tags)
    with live.closing():
        with nullcontext() if unfinished is None else live.resources():
            yield tracked
        record = tracked.record()
        check_artifacts(record)
        write_text(record_path(stage, model), record.text())
        live.attempt(lambda client, run_id: finish_run(client, run_id, record))


class _Live:
    """A run on the server, or, once the server has failed, the knowledge that there is none."""

    def __init__(
        self,
        experiment: str,
        name: str,
        tags: dict[str, str],
        parameters: dict[str, Any],
        *,
        ids: Path | None,
        part: str,
    ):
        self.run_id: str | None = None
        self._experiment, self._name, self._tags, self._ids, self._part = experiment, name, tags, ids, part
        self._sent: dict[str, set[int]] | None = None  # by metric, the epochs that an earlier attempt has sent
        try:
            experiment_id = connect(experiment)
            self.run_id = self._resumed() or self._created(experiment_id)
            mlflow.MlflowClient().log_batch(self.run_id, params=to_params(parameters))
        except FAILURES as error:
            self._give_up(error)

    def attempt(self, action: Callable[[mlflow.MlflowClient, str], Any]) -> None:
        if self.run_id is None:
            return
        try:
            action(mlflow.MlflowClient(), self.run_id)
        except FAILURES as error:
            self._give_up(error)

    @contextmanager
    def closing(self) -> Iterator["_Live"]:
        """A block after whose failure the run says so: KILLED by the user, or FAILED."""
        try:
            yield self
        except BaseException as error:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            self.attempt(lambda client, run_id: client.set_terminated(run_id, status))
            raise

    def child(self, title: str, parameters: dict[str, Any]) -> "_Live":
        """The run of a part of this one."""
        if self.run_id is None:
            return self
        tags = self._tags | {MLFLOW_PARENT_RUN_ID: self.run_id, "part": title}
        return _Live(self._experiment, f"{self._name} {title}", tags, flatten(parameters), ids=self._ids, part=title)

    def log_epoch(self, epoch: int, values: Mapping[str, float | None]) -> None:
        def send(client: mlflow.MlflowClient, run_id: str) -> None:
            missing = {name: value for name, value in values.items() if not self._has(client, run_id, name, epoch)}
            client.log_batch(run_id, to_metrics(missing, epoch))

        self.attempt(send)

    @contextmanager
    def resources(self) -> Iterator[None]:
        """MLflow's system metrics while the block runs."""
        if self.run_id is None:
            yield
            return
        logging.getLogger(SystemMetricsMonitor.__module__).setLevel(logging.WARNING)
        monitor = SystemMetricsMonitor(
            self.run_id, sampling_interval=RESOURCES_SECONDS, resume_logging=self._sent is not None
        )
        monitor.start()
        try:
            yield
        finally:
            monitor.finish()

    def _created(self, experiment_id: str) -> str:
        client = mlflow.MlflowClient()
        run_id = str(client.create_run(experiment_id, tags=self._tags, run_name=self._name).info.run_id)
        if self._ids is not None:
            ids = _read_ids(self._ids)
            ids[self._part] = [mlflow.get_tracking_uri(), run_id]
            write_text(self._ids, json.dumps(ids))
        return run_id

    def _resumed(self) -> str | None:
        """The run of the attempt before, marked and open again; None where there is none on this server."""
        address, run_id = _read_ids(self._ids).get(self._part, (None, "")) if self._ids else (None, "")
        if address != mlflow.get_tracking_uri():
            return None
        client = mlflow.MlflowClient()
        try:
            found = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if found.info.lifecycle_stage != "active":
            return None
        self._sent = {}
        client.update_run(run_id, "RUNNING")
        client.set_tag(run_id, "resumed", str(int(found.data.tags.get("resumed", "0")) + 1))
        return run_id

    def _has(self, client: mlflow.MlflowClient, run_id: str, metric: str, epoch: int) -> bool:
        """Whether an earlier attempt has sent that epoch already; asks the server once per metric."""
        if self._sent is None:
            return False
        if metric not in self._sent:
            self._sent[metric] = {entry.step for entry in client.get_metric_history(run_id, metric)}
        return epoch in self._sent[metric]

    def _give_up(self, error: Exception) -> None:
        self.run_id = None
        log.warning(
            "MLflow at %s failed (%s). The work goes on and its record is kept; `dvc repro publish` sends it later.",
            mlflow.get_tracking_uri(),
            str(error).splitlines()[0],
        )


def _read_ids(path: Path) -> dict[str, list[str]]:
    """By part (the run itself: ""), the server's address and the id of the run that an attempt has begun."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


class Branch(_Live):
    """A run without a record: a search, or a trial of one. A later process goes on with it by the file `ids`."""

    def send(self, epoch: int, values: Mapping[str, float]) -> None:
        """Send the metrics of one epoch (from 0)."""
        self.log_epoch(epoch, plain_numbers(values))

    def end(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Send final metrics and tags; the run is finished."""
        sent = [RunTag(key, value) for key, value in tags.items()]
        self.attempt(lambda client, run_id: client.log_batch(run_id, to_metrics(plain_numbers(metrics), 0), tags=sent))
        self.attempt(lambda client, run_id: client.set_terminated(run_id))

    def _give_up(self, error: Exception) -> None:
        self.run_id = None
        log.warning(
            "MLflow at %s failed (%s). The search goes on, and remembers its trials itself.",
            mlflow.get_tracking_uri(),
            str(error).splitlines()[0],
        )


def search_run(experiment: str, model: str, data: str, asked: dict[str, Any], ids: Path) -> Branch:
    """The run of a search. data: fingerprint; asked: its spaces and objective."""
    tags = run_tags("search", model) | {"data": data}
    return Branch(experiment, run_name("search", model), tags, asked, ids=ids, part="")


def trial_run(
    experiment: str, model: str, search: Branch, number: int, data: str, parameters: dict[str, Any], ids: Path
) -> Branch:
    """The run of one trial, a child of the search's."""
    tags = run_tags("trial", model) | {"data": data, "trial": f"{number:03d}"}
    if search.run_id is not None:
        tags[MLFLOW_PARENT_RUN_ID] = search.run_id
    return Branch(experiment, f"trial {number:03d}", tags, flatten(parameters), ids=ids, part="")
