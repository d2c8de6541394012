"""The workspace and the server brought together: records that it lacks are replayed, and the table is read back.

All records of a finished workspace together name its `pipeline` run, the parent of the runs that it was the first to
need; a run's own children are its folds and seeds.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mlflow
import pandas as pd
from mlflow.entities import Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NOTE

from mammo.core.errors import InputError
from mammo.core.records import Record, hash_records, parse_record
from mammo.tracking import provenance
from mammo.tracking.failures import FAILURES, first_line, name_cure
from mammo.tracking.mlflow_client import (
    N_TWINS,
    connect,
    download_artifact,
    find_by_record,
    search_finished,
    use_store,
)
from mammo.tracking.run_contents import (
    PATCH,
    RECORD,
    ROW_STAGES,
    check_artifacts,
    finish_part,
    finish_run,
    log_artifact,
    log_patch,
    run_tags,
    to_metrics,
)
from mammo.tracking.verification import describe_difference, find_lost_artifact, metric_differences, retire

PIPELINE = "pipeline"  # the stage that a pipeline's run names
ROW_METRICS = ("auc", "sensitivity", "specificity")  # of a row, on the pipeline's run
PROMOTION = "promotion"  # tag of a pipeline's run: the decision about the registered model
RUN_IDS_TAG, IDS_PER_TAG = "runs.", 200  # tags of a pipeline's run that name the runs of its records


class Published(NamedTuple):
    """The runs of a workspace on the server."""

    replayed: list[str]  # names of the runs that it lacked
    runs: list[Run]  # one per record, in their order
    pipeline: str | None  # id of the pipeline's run, where it is there already
    differing: list[str]  # what runs of the server said otherwise than the records; they are retired
    promotion: str | None  # the decision about the registered model, where it was made already


@dataclass(frozen=True)
class Origin:
    """The commit and changes that a finished run was computed from, and its records."""

    run_id: str
    tags: dict[str, str]
    patch: Path | None  # of the workspace against tags["git.commit"]
    records: list[Record]  # one; of a pipeline's run all


@name_cure()
def publish(experiment: str, records: list[Record]) -> Published:
    """Make the server hold a finished run for every record that says what the record says.

    A run that says something else is retired, and its record replayed. A workspace that was published before costs two
    queries, however many records it has.
    """
    experiment_id = connect(experiment)
    differing: list[str] = []
    pipeline = _pipeline_run(experiment_id, records, differing)
    named = {run.data.tags.get("content", ""): run for run in runs_of_pipeline(pipeline)} if pipeline else {}
    known = _verified({content: [run] for content, run in named.items()}, records, differing)
    missing = [record for record in records if record.content() not in known]
    known |= _verified(find_by_record(experiment_id, missing), missing, differing)
    replayed = [record for record in missing if record.content() not in known]
    for record in replayed:
        known[record.content()] = _replay(experiment_id, record)
    known |= _settle_twins(experiment_id, replayed)
    runs = [known[record.content()] for record in records]
    if pipeline and missing:
        adopt(pipeline.info.run_id, runs)
    names = [record.name for record in replayed]
    if pipeline is None:
        return Published(names, runs, None, differing, None)
    return Published(names, runs, pipeline.info.run_id, differing, pipeline.data.tags.get(PROMOTION))


def _verified(candidates: dict[str, list[Run]], records: list[Record], differing: list[str]) -> dict[str, Run]:
    """Return by content the first run that says what its record says; retire those before it, and add why."""
    verified = {}
    for record in records:
        for run in candidates.get(record.content(), []):
            difference = describe_difference(run, record) or find_lost_artifact(run, record)
            if difference is None:
                verified[record.content()] = run
                break
            differing.append(f"run {run.info.run_id} ({record.name}): {difference}")
            retire(run, difference)
    return verified


@name_cure()
def log_pipeline(experiment: str, records: list[Record], runs: list[Run], artifacts: list[Path]) -> str:
    """Write the pipeline's own run: provenance, the rows' headline metrics, the run of each record; return its id.

    runs: as `publish` returned them; those without a parent become its children.
    """
    client = mlflow.MlflowClient()
    content = hash_records(records)
    tags = provenance.tags() | {
        "dvc.stage": PIPELINE,
        "mlflow.source.name": "dvc.yaml",
        "dvc.lock": provenance.lock_hash() or "none",
    }
    name = f"{PIPELINE} {os.environ.get('DVC_EXP_NAME') or content[:8]}"
    experiment_id = connect(experiment)
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=name).info.run_id)
    note = f"One finished workspace: {len(records)} runs, of which those that it was the first to need are below it."
    client.log_batch(run_id, metrics=to_metrics(_row_metrics(records), 0), tags=[RunTag(MLFLOW_RUN_NOTE, note)])
    adopt(run_id, runs)
    for path in artifacts:
        log_artifact(client, run_id, path)
    log_patch(client, run_id)
    client.set_tag(run_id, "content", content)
    client.set_terminated(run_id)
    return _settle_pipelines(experiment_id, run_id, content)


@name_cure()
def note_promotion(pipeline_id: str, decision: str) -> None:
    """Write the decision about the registered model to a pipeline's run; until then each publish makes it again."""
    mlflow.MlflowClient().set_tag(pipeline_id, PROMOTION, decision)


def find_origin(run_id: str) -> Origin:
    """Return what a finished run was computed from; InputError where there is no such run, or it did not finish."""
    use_store()
    client = mlflow.MlflowClient()
    try:
        run = client.get_run(run_id)
        files = {file.path for file in client.list_artifacts(run_id)}
    except FAILURES as error:
        raise InputError(f"run {run_id} cannot be read from {mlflow.get_tracking_uri()}: {error}") from error
    if "content" not in run.data.tags:
        raise InputError(
            f"run {run_id} ({run.info.run_name}, {run.info.status}) is no finished run of a stage or a pipeline; "
            "`make ui` lists those that are"
        )
    runs = [run]
    if run.data.tags["dvc.stage"] == PIPELINE:
        runs = list(runs_of_pipeline(run))
    # A clean run that another attempt began may hold that one's patch.
    changed = run.data.tags.get("git.dirty") != "false"
    patch = download_artifact(run_id, PATCH) if changed and PATCH in files else None
    return Origin(run_id, dict(run.data.tags), patch, [_read_record(each) for each in runs])


def _read_record(run: Run) -> Record:
    """Read a run's record from its artifacts; raises InputError where they are lost."""
    try:
        return parse_record(download_artifact(run.info.run_id, RECORD).read_text(encoding="utf-8"))
    except FAILURES as error:
        raise InputError(
            f"run {run.info.run_id} ({run.info.run_name}) is on {mlflow.get_tracking_uri()}, and its artifacts are not "
            f"({first_line(error)}); in the workspace that it is of (`git checkout` and `dvc checkout`) "
            "`dvc repro publish` notices and sends it again"
        ) from error


def table_of_runs(runs: list[Run], tags: list[str]) -> pd.DataFrame:
    """Return the comparison table of runs: the named tags, then every metric, in the order of the tag `order`."""
    return _table([(run.data.tags, run.data.metrics) for run in runs if run.data.tags["dvc.stage"] in ROW_STAGES], tags)


def table_of_records(records: list[Record], tags: list[str]) -> pd.DataFrame:
    """Return the comparison table of the workspace's records, which the server's runs repeat."""
    rows = [record for record in records if record.stage in ROW_STAGES]
    return _table([(record.tags | {"model": record.model or ""}, record.metrics) for record in rows], tags)


def _table(rows: list[tuple[dict[str, str], Mapping[str, float | None]]], tags: list[str]) -> pd.DataFrame:
    """rows: the tags and metrics of each run."""
    ordered = sorted(rows, key=lambda row: row[0]["order"])
    table = pd.DataFrame([{tag: run_tags[tag] for tag in tags} | dict(metrics) for run_tags, metrics in ordered])
    metric_names = sorted(set(table.columns) - set(tags))
    return table[tags + metric_names].astype(dict.fromkeys(metric_names, "float64"))


def _settle_twins(experiment_id: str, replayed: list[Record]) -> dict[str, Run]:
    """Return by content the run that stays of each record that was replayed just now; retire its twins.

    Another clone may have sent the same record at the same time. A run that was live stays before one that was
    replayed, then the one that ended first: whoever looks decides the same.
    """
    settled = {}
    for content, runs in find_by_record(experiment_id, replayed).items():
        twins = sorted(runs, key=lambda run: ("replayed" in run.data.tags, run.info.end_time, run.info.run_id))
        for twin in twins[1:]:
            if "replayed" in twin.data.tags:
                retire(twin, f"twin of run {twins[0].info.run_id}")
        settled[content] = twins[0]
    return settled


def _settle_pipelines(experiment_id: str, run_id: str, content: str) -> str:
    """Retire the younger twins of a pipeline's run, which another clone wrote at the same time; return who stays."""
    twins = search_finished(experiment_id, f"tags.content = '{content}'", N_TWINS)
    twins.sort(key=lambda run: (run.info.end_time, run.info.run_id))
    client, first = mlflow.MlflowClient(), twins[0]
    for twin in twins[1:]:
        retire(twin, f"twin of run {first.info.run_id}")
        children = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{twin.info.run_id}'"
        for child in client.search_runs([experiment_id], children):
            client.set_tag(child.info.run_id, MLFLOW_PARENT_RUN_ID, first.info.run_id)
    return str(first.info.run_id)


def _pipeline_run(experiment_id: str, records: list[Record], differing: list[str]) -> Run | None:
    """Return the finished run of the pipeline whose records these are; retire those that say something else."""
    expected = {name: value for name, value in _row_metrics(records).items() if value is not None}
    for run in search_finished(experiment_id, f"tags.content = '{hash_records(records)}'", N_TWINS):
        difference = next(metric_differences(run, expected), None)
        if difference is None:
            return run
        differing.append(f"run {run.info.run_id} ({PIPELINE}): {difference}")
        retire(run, difference)
    return None


def _row_metrics(records: list[Record]) -> dict[str, float | None]:
    """Return the headline metrics of the rows, as a pipeline's run has them."""
    rows = [record for record in records if record.stage in ROW_STAGES]
    return {f"{record.model}/{metric}": record.metrics.get(metric) for record in rows for metric in ROW_METRICS}


def adopt(pipeline_id: str, runs: list[Run]) -> None:
    """Let a pipeline's run name `runs` as those of its records; those without a parent become its children."""
    client = mlflow.MlflowClient()
    client.log_batch(pipeline_id, tags=_id_tags(runs))
    for run in runs:
        if MLFLOW_PARENT_RUN_ID not in run.data.tags:
            client.set_tag(run.info.run_id, MLFLOW_PARENT_RUN_ID, pipeline_id)


def named_runs(tags: Mapping[str, str]) -> list[str]:
    """Return the ids of the runs that a pipeline's run of these tags names."""
    parts = (value for tag, value in sorted(tags.items()) if tag.startswith(RUN_IDS_TAG))
    return [run_id for part in parts for run_id in part.split(",") if run_id]


def runs_of_pipeline(pipeline: Run) -> list[Run]:
    """Return the finished runs that a pipeline's run names."""
    ids = named_runs(pipeline.data.tags)
    listed = ", ".join(f"'{run_id}'" for run_id in ids)
    return search_finished(pipeline.info.experiment_id, f"attributes.run_id IN ({listed})", len(ids))


def _id_tags(runs: list[Run]) -> list[RunTag]:
    """Return tags with the ids of the runs, as many in each as a tag can hold."""
    ids = [run.info.run_id for run in runs]
    parts = [ids[start : start + IDS_PER_TAG] for start in range(0, len(ids), IDS_PER_TAG)]
    return [RunTag(f"{RUN_IDS_TAG}{number:02d}", ",".join(part)) for number, part in enumerate(parts)]


def _replay(experiment_id: str, record: Record) -> Run:
    check_artifacts(record)
    client = mlflow.MlflowClient()
    tags = run_tags(record.stage, record.model) | record.tags | {"replayed": "true"}
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=record.name).info.run_id)
    _send_history(client, run_id, record.history)
    for part in record.parts:
        part_tags = tags | {MLFLOW_PARENT_RUN_ID: run_id, "part": part.title}
        child_id = client.create_run(experiment_id, tags=part_tags, run_name=f"{record.name} {part.title}").info.run_id
        _send_history(client, child_id, part.history)
        finish_part(client, child_id, part)
    finish_run(client, run_id, record)
    return client.get_run(run_id)


def _send_history(client: mlflow.MlflowClient, run_id: str, history: list[dict[str, float | None]]) -> None:
    for values in history:
        metrics = {name: value for name, value in values.items() if name != "epoch"}
        client.log_batch(run_id, to_metrics(metrics, int(values["epoch"] or 0)))
