"""A finished run of the server compared with the record of the workspace; a run that differs is retired.

A retired run keeps what it holds, as FAILED and without the tag `content`: no look-up and no table shows it again.
"""

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH, MAX_TAG_VAL_LENGTH

from mammo.core.records import Record
from mammo.tracking.run_contents import RECORD

CONTENT, RETIRED = "content", "retired"  # tags: the SHA-256 of the run's record; why a run is shown no more
SYSTEM_METRICS = "system/"  # of the machine; in no record
RELATIVE_TOLERANCE = 1e-12  # of a float that went through a database


def is_finished(run: Run) -> bool:
    """Return whether a run is whole and not retired: only then it keeps the tag CONTENT."""
    return run.info.status == "FINISHED" and CONTENT in run.data.tags


def describe_difference(run: Run, record: Record) -> str | None:
    """Return the first thing that a finished run says otherwise than its record; None where the two agree.

    Compared are the last value of each metric, the parameters and the record's tags; other tags are free.
    """
    tags = record.tags | ({} if record.model is None else {"model": record.model}) | {"dvc.stage": record.stage}
    parameters = {name: str(value)[:MAX_PARAM_VAL_LENGTH] for name, value in record.parameters.items()}
    differences = chain(
        metric_differences(run, final_metrics(record)),
        _text_differences("parameter", run.data.params, parameters),
        _text_differences(
            "tag",
            {name: run.data.tags[name] for name in tags.keys() & run.data.tags.keys()},
            {name: value[:MAX_TAG_VAL_LENGTH] for name, value in tags.items()},
        ),
    )
    return next(differences, None)


def _text_differences(kind: str, found: dict[str, str], expected: dict[str, str]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            yield f"{kind} {name} is {found.get(name)!r}, its record says {expected.get(name)!r}"


def metric_differences(run: Run, expected: dict[str, float]) -> Iterator[str]:
    """Yield what a run's metrics, but those of the machine, say otherwise than `expected`."""
    found = {name: value for name, value in run.data.metrics.items() if not name.startswith(SYSTEM_METRICS)}
    for name in sorted(expected.keys() | found.keys()):
        now, before = found.get(name, math.nan), expected.get(name, math.nan)
        if not math.isclose(now, before, rel_tol=RELATIVE_TOLERANCE):
            yield f"{name} is {now:g}, its record says {before:g}"


def final_metrics(record: Record) -> dict[str, float]:
    """Return the value that each metric ends with: the record's, else that of its last epoch."""
    rows = [{name: value for name, value in row.items() if name != "epoch"} for row in record.history]
    return {name: value for row in [*rows, record.metrics] for name, value in row.items() if value is not None}


def find_lost_artifact(run: Run, record: Record) -> str | None:
    """Return the first file or folder that a finished run should hold and does not; None where it holds all."""
    expected = {RECORD, *(Path(path).name for path in record.artifacts if path != record.model_file)}
    lost = sorted(expected - _list_artifacts(run))
    if not lost and record.model_file is not None and not _has_model(run):
        lost = [Path(record.model_file).name]
    return f"its artifact {lost[0]} is lost" if lost else None


def _list_artifacts(run: Run) -> set[str]:
    """Return the names of the files and folders of a run; a local folder is read without a question to the store."""
    uri = run.info.artifact_uri
    if is_local_uri(uri):
        folder = Path(local_file_uri_to_path(uri))
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return {Path(file.path).name for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}


def _has_model(run: Run) -> bool:
    if run.outputs is None or not run.outputs.model_outputs:
        return False
    return bool(mlflow.MlflowClient().list_logged_model_artifacts(run.outputs.model_outputs[0].model_id))


def retire(run: Run, reason: str) -> None:
    """Show a run no more; `reason` becomes its tag."""
    client, run_id = mlflow.MlflowClient(), run.info.run_id
    client.set_tag(run_id, RETIRED, reason)
    client.update_run(run_id, "FAILED", f"retired: {run.info.run_name}")
    try:
        client.delete_tag(run_id, CONTENT)
    except MlflowException as error:  # another clone was faster
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
