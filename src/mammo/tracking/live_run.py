"""A stage's run while it goes on: live on the MLflow server, and a deterministic record in the workspace.

Where the server is away the work goes on, and its record is kept for `dvc repro publish`.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
from mammo.tracking import provenance
from mammo.tracking.failures import FAILURES, find_cure, first_line, is_outage_known, remember_outage
from mammo.tracking.mlflow_client import connect, use_store
from mammo.tracking.run_contents import (
    check_artifacts,
    finish_part,
    finish_run,
    plain_numbers,
    run_tags,
    to_metrics,
    to_params,
)

RESOURCES_SECONDS = 5.0  # between two readings; MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL sets another
RUN_IDS = "mlflow_runs.json"  # in the folder of unfinished work: the runs that the next attempt goes on with
RECORD_IS_KEPT = "The work goes on and its record is kept; `dvc repro publish` sends it later."
TRIALS_ARE_KEPT = "The search goes on, and remembers its trials itself."
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageSpec:
    """What one run of a stage is: stage and model as in dvc.yaml, its experiment, parameters (nested) and tags."""

    stage: str
    model: str | None
    experiment: str
    parameters: dict[str, Any]
    tags: dict[str, str]


@dataclass(kw_only=True)
class RunLog:
    """Epochs and metrics for the record and the server."""

    live: "MlflowRun"
    metrics: dict[str, float | None] = field(default_factory=dict)
    history: list[dict[str, float | None]] = field(default_factory=list)

    def log_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add the metrics of one epoch (from 0); they reach the server at once."""
        numbers = plain_numbers(values)
        self.history.append({"epoch": epoch, **numbers})
        self.live.log_epoch(epoch, numbers)

    def log_metrics(self, values: Mapping[str, float]) -> None:
        """Add final metrics."""
        self.metrics |= plain_numbers(values)


@dataclass(kw_only=True)
class StageRun(RunLog):
    """An open run of a stage."""

    spec: StageSpec
    parts: list[Part] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    model_file: str | None = None

    @contextmanager
    def part(self, title: str, parameters: dict[str, Any]) -> Iterator[RunLog]:
        """Track one training of several (a fold, a seed) as a child run."""
        with self.live.start_child(title, parameters).mark_failure() as live:
            run_log = RunLog(live=live)
            yield run_log
            part = Part(title, flatten(parameters), run_log.metrics, run_log.history)
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
        """Return the record of what has been logged."""
        return Record(
            self.spec.stage,
            self.spec.model,
            flatten(self.spec.parameters),
            self.spec.tags,
            self.metrics,
            self.history,
            self.parts,
            self.artifacts,
            self.model_file,
        )


def tracked_run(
    stage: str, *, experiment: str, parameters: dict[str, Any], tags: dict[str, str], model: str | None = None
) -> AbstractContextManager[StageRun]:
    """Track one stage (of one model): live on the server, and as a record when the block ends well."""
    return _track(StageSpec(stage, model, experiment, parameters, tags), None)


def resumable_run(spec: StageSpec, unfinished: Path) -> AbstractContextManager[StageRun]:
    """Track one stage whose long work can be killed; the next attempt goes on with the same run.

    unfinished: the folder of that work (core/resume.py). The run has MLflow's system metrics (CPU, memory, disk,
    network, GPU), which are no result and in no record.
    """
    return _track(spec, unfinished)


@contextmanager
def _track(spec: StageSpec, unfinished: Path | None) -> Iterator[StageRun]:
    name, tags = run_name(spec.stage, spec.model), run_tags(spec.stage, spec.model) | spec.tags
    resume = None if unfinished is None else ResumeFile(unfinished / RUN_IDS)
    live = MlflowRun(RunSpec(spec.experiment, name, tags, spec.parameters), resume)
    run = StageRun(live=live, spec=spec)
    with live.mark_failure():
        with nullcontext() if unfinished is None else live.monitor_system():
            yield run
        record = run.record()
        check_artifacts(record)
        write_text(record_path(spec.stage, spec.model), record.text())
        live.attempt(lambda client, run_id: finish_run(client, run_id, record))


@dataclass(frozen=True)
class RunSpec:
    """What a run is on the server: its experiment, name, tags and parameters (nested)."""

    experiment: str
    name: str
    tags: dict[str, str]
    parameters: dict[str, Any]


@dataclass(frozen=True)
class ResumeFile:
    """A JSON file with the server's address and the id of the run of each part that an attempt has begun.

    part: "" is the run itself.
    """

    path: Path
    part: str = ""

    def read(self) -> str | None:
        """Return the id of the run that an earlier attempt began on the current server."""
        address, run_id = self._entries().get(self.part, (None, ""))
        return run_id if address == mlflow.get_tracking_uri() else None

    def write(self, run_id: str) -> None:
        """Remember the run of this attempt."""
        write_text(self.path, json.dumps(self._entries() | {self.part: [mlflow.get_tracking_uri(), run_id]}))

    def _entries(self) -> dict[str, list[str]]:
        return dict(json.loads(self.path.read_text(encoding="utf-8"))) if self.path.is_file() else {}


class MlflowRun:
    """A run on the server; once the server has failed, also in an earlier stage, a stand-in that sends nothing.

    run_id is None then. failure_message: what the one warning tells the user after the reason.
    """

    def __init__(self, spec: RunSpec, resume: ResumeFile | None = None, failure_message: str = RECORD_IS_KEPT):
        self.run_id: str | None = None
        self.spec, self._resume, self._failure_message = spec, resume, failure_message
        self._sent: dict[str, set[int]] | None = None  # by metric, the epochs that an earlier attempt has sent
        use_store()
        if is_outage_known():
            return
        try:
            experiment_id = connect(spec.experiment)
            self.run_id = self._reopen() or self._create(experiment_id)
            mlflow.MlflowClient().log_batch(self.run_id, params=to_params(flatten(spec.parameters)))
        except FAILURES as error:
            self._give_up(error)

    def attempt(self, action: Callable[[mlflow.MlflowClient, str], Any]) -> None:
        """Call `action` with a client and the run's id; where it fails, warn once and send nothing more."""
        if self.run_id is None:
            return
        try:
            action(mlflow.MlflowClient(), self.run_id)
        except FAILURES as error:
            self._give_up(error)

    @contextmanager
    def mark_failure(self) -> Iterator["MlflowRun"]:
        """End the run as KILLED (by the user) or FAILED where the block raises."""
        try:
            yield self
        except BaseException as error:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            self.attempt(lambda client, run_id: client.set_terminated(run_id, status))
            raise

    def start_child(self, title: str, parameters: dict[str, Any]) -> "MlflowRun":
        """Start the run of a part of this one."""
        if self.run_id is None:
            return self
        tags = self.spec.tags | {MLFLOW_PARENT_RUN_ID: self.run_id, "part": title}
        spec = RunSpec(self.spec.experiment, f"{self.spec.name} {title}", tags, parameters)
        resume = None if self._resume is None else ResumeFile(self._resume.path, title)
        return MlflowRun(spec, resume, self._failure_message)

    def log_epoch(self, epoch: int, values: Mapping[str, float | None]) -> None:
        """Send the metrics of one epoch (from 0), less those that an earlier attempt has sent."""

        def send(client: mlflow.MlflowClient, run_id: str) -> None:
            numbers = plain_numbers(values)
            missing = {
                name: value for name, value in numbers.items() if epoch not in self._sent_epochs(client, run_id, name)
            }
            client.log_batch(run_id, to_metrics(missing, epoch))

        self.attempt(send)

    def finish(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Send final metrics and tags, and end the run; for a run without a record."""
        numbers = to_metrics(plain_numbers(metrics), 0)
        run_tags = [RunTag(key, value) for key, value in tags.items()]
        self.attempt(lambda client, run_id: client.log_batch(run_id, numbers, tags=run_tags))
        self.attempt(lambda client, run_id: client.set_terminated(run_id))

    @contextmanager
    def monitor_system(self) -> Iterator[None]:
        """Log MLflow's system metrics while the block runs."""
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

    def _create(self, experiment_id: str) -> str:
        run = mlflow.MlflowClient().create_run(experiment_id, tags=self.spec.tags, run_name=self.spec.name)
        run_id = str(run.info.run_id)
        if self._resume is not None:
            self._resume.write(run_id)
        return run_id

    def _reopen(self) -> str | None:
        """Reopen the run of the previous attempt and return its id; None where this server has none."""
        run_id = None if self._resume is None else self._resume.read()
        if run_id is None:
            return None
        client = mlflow.MlflowClient()
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if run.info.lifecycle_stage != "active":
            return None
        self._sent = {}
        client.update_run(run_id, "RUNNING")
        # Commit, changes and packages are those of this attempt, whose changes the run will hold.
        tags = self.spec.tags | {"resumed": str(int(run.data.tags.get("resumed", "0")) + 1)}
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        for tag in sorted(provenance.OPTIONAL_TAGS & run.data.tags.keys() - tags.keys()):
            client.delete_tag(run_id, tag)
        return run_id

    def _sent_epochs(self, client: mlflow.MlflowClient, run_id: str, metric: str) -> set[int]:
        """Return the epochs that an earlier attempt has sent; asks the server once per metric."""
        if self._sent is None:
            return set()
        if metric not in self._sent:
            self._sent[metric] = {entry.step for entry in client.get_metric_history(run_id, metric)}
        return self._sent[metric]

    def _give_up(self, error: Exception) -> None:
        """Send nothing more, nor let the later stages of this `dvc repro`; warn once."""
        self.run_id = None
        cure, address = find_cure(error), mlflow.get_tracking_uri()
        advice = "" if cure is None else f" It {cure}."
        log.warning("MLflow at %s failed (%s).%s %s", address, first_line(error), advice, self._failure_message)
        remember_outage()


def search_run(experiment: str, model: str, data: str, parameters: dict[str, Any], ids: Path) -> MlflowRun:
    """Start the run of a search, which has no record.

    data: fingerprint; parameters: its spaces and objective; ids: the file by which a later process goes on with it.
    """
    tags = run_tags("search", model) | {"data": data}
    spec = RunSpec(experiment, run_name("search", model), tags, parameters)
    return MlflowRun(spec, ResumeFile(ids), TRIALS_ARE_KEPT)


def trial_run(search: MlflowRun, number: int, parameters: dict[str, Any], ids: Path) -> MlflowRun:
    """Start the run of one trial as a child of the search's; where that has given up the server, the search's."""
    if search.run_id is None:
        return search
    model, data = search.spec.tags["model"], search.spec.tags["data"]
    tags = run_tags("trial", model) | {"data": data, "trial": f"{number:03d}", MLFLOW_PARENT_RUN_ID: search.run_id}
    spec = RunSpec(search.spec.experiment, f"trial {number:03d}", tags, parameters)
    return MlflowRun(spec, ResumeFile(ids), TRIALS_ARE_KEPT)
