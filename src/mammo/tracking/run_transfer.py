"""Finished runs moved to another server with their identity, the tag `content`: out of one, through a file, into one.

A run gets a new id there, which MLflow gives; `publish` of the workspace that computed it finds it by its content.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import yaml
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    Metric,
    Param,
    Run,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME

from mammo.core.errors import InputError
from mammo.core.records import parse_record
from mammo.tracking.failures import name_cure
from mammo.tracking.mlflow_client import connect, exclusive_lock, list_runs, search_finished, upload_timeout
from mammo.tracking.publishing import PIPELINE, PROMOTION, RUN_IDS_TAG, adopt, named_runs
from mammo.tracking.run_archive import PackedInput, PackedModel, PackedRun, read_archive, to_plain, write_archive
from mammo.tracking.run_contents import RECORD
from mammo.tracking.verification import CONTENT, is_finished

PACKED_AS = "packed.run_id"  # tag: the id that an unpacked run had on the server that it comes from
MLMODEL = "MLmodel"  # a model's description by MLflow
N_METRICS, N_PARAMS = 1000, 100  # of one request


class Unpacked(NamedTuple):
    """Names of the runs that were sent, and of those that the server had already."""

    sent: list[str]
    known: list[str]


@name_cure()
def pack(experiment: str, path: Path, run_ids: Sequence[str] = ()) -> list[str]:
    """Write finished runs of the experiment with all that they hold to a file; return their names.

    run_ids: by default all finished runs; a pipeline brings the runs that it names. Raises InputError for a run that is
    not there or did not finish.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one a run
    runs = list_runs(experiment)
    chosen = _choose(runs, run_ids)
    if not chosen:
        raise InputError(f"MLflow at {mlflow.get_tracking_uri()} has no finished run of {experiment!r} to pack")
    below: dict[str, list[str]] = {}
    for run in runs.values():
        if CONTENT not in run.data.tags and MLFLOW_PARENT_RUN_ID in run.data.tags:
            below.setdefault(run.data.tags[MLFLOW_PARENT_RUN_ID], []).append(run.info.run_id)
    with tempfile.TemporaryDirectory() as scratch:
        packed = []
        for run in chosen:
            parts = [part for part in below.get(run.info.run_id, []) if runs[part].info.status == "FINISHED"]
            packed += [_describe(runs[part], [], Path(scratch)) for part in parts]
            packed.append(_describe(run, parts, Path(scratch)))
        write_archive(path, packed, Path(scratch))
    return [str(run.info.run_name) for run in chosen]


def _choose(runs: Mapping[str, Run], run_ids: Sequence[str]) -> list[Run]:
    """Return the finished runs among those, the stages' before the pipelines'."""
    finished = {key: run for key, run in runs.items() if is_finished(run)}
    if unknown := [run_id for run_id in run_ids if run_id not in finished]:
        raise InputError(
            f"run {unknown[0]} is no finished run of a stage or a pipeline; `make ui` lists those that are"
        )
    wanted = set(run_ids) or set(finished)
    wanted |= {named for run_id in run_ids for named in named_runs(finished[run_id].data.tags) if named in finished}
    chosen = [finished[run_id] for run_id in finished if run_id in wanted]
    return sorted(chosen, key=lambda run: (run.data.tags.get("dvc.stage") == PIPELINE, run.info.start_time))


def _describe(run: Run, parts: list[str], folder: Path) -> PackedRun:
    """Return a run, with its files in `folder`."""
    client, run_id = mlflow.MlflowClient(), run.info.run_id
    if client.list_artifacts(run_id):
        mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path="", dst_path=str(folder / "artifacts" / run_id)
        )
    outputs = client.get_run(run_id).outputs  # a search leaves them out
    history = (value for key in sorted(run.data.metrics) for value in client.get_metric_history(run_id, key))
    return PackedRun(
        run_id=run_id,
        name=str(run.info.run_name),
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        tags=to_plain(run.data.tags),
        params=to_plain(run.data.params),
        metrics=[(value.key, value.value, value.timestamp, value.step) for value in history],
        inputs=[_describe_input(data) for data in (run.inputs.dataset_inputs if run.inputs else [])],
        models=[_describe_model(output, folder) for output in (outputs.model_outputs if outputs else [])],
        parts=parts,
    )


def _describe_input(data: DatasetInput) -> PackedInput:
    dataset, tags = data.dataset, {tag.key: tag.value for tag in data.tags}
    return PackedInput(
        name=dataset.name, digest=dataset.digest, source_type=dataset.source_type, source=dataset.source, tags=tags
    )


def _describe_model(output: LoggedModelOutput, folder: Path) -> PackedModel:
    model = mlflow.MlflowClient().get_logged_model(output.model_id)
    target = folder / "models" / model.model_id
    mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{model.model_id}", dst_path=str(target))
    tags = {key: value for key, value in to_plain(model.tags).items() if not key.startswith("mlflow.")}
    return PackedModel(
        model_id=model.model_id,
        name=model.name,
        step=output.step,
        model_type=model.model_type,
        tags=tags,
        params=to_plain(model.params),
    )


@name_cure()
def unpack(experiment: str, path: Path) -> Unpacked:
    """Send the runs of a file that the server lacks; what it has by its content stays as it is.

    A run that was cut off counts as lacking. Raises InputError for a file that is not whole, before anything is sent.
    """
    with tempfile.TemporaryDirectory() as scratch:
        packed = {run.run_id: run for run in read_archive(path, Path(scratch))}
        _check_identity(packed, Path(scratch), path)
        experiment_id = connect(experiment)
        with exclusive_lock("publish"):
            return _Sender(experiment_id, packed, Path(scratch)).send_all()


def _check_identity(packed: Mapping[str, PackedRun], folder: Path, path: Path) -> None:
    """Raise InputError for a run whose record is not what its tag `content` says, whose parts are not there, or whose
    models MLflow cannot read."""
    for run in packed.values():
        for model in run.models:
            _check_model(model, folder / "models" / model.model_id, path)
        if missing := [part for part in run.parts if part not in packed or packed[part].tags.get(CONTENT)]:
            raise InputError(f"{path}: run {run.name} has a part {missing[0]}, which is no part in the file")
        if CONTENT not in run.tags or run.tags.get("dvc.stage") == PIPELINE:
            continue
        record = folder / "artifacts" / run.run_id / RECORD
        try:
            content = parse_record(record.read_text(encoding="utf-8")).content()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: run {run.name} has no readable {RECORD} ({error})") from error
        if content != run.tags[CONTENT]:
            raise InputError(f"{path}: the record of run {run.name} is not that of its tag `{CONTENT}`; it was changed")


def _check_model(model: PackedModel, folder: Path, path: Path) -> None:
    """Raise InputError for a model without files, or whose description is none of MLflow's."""
    if not folder.is_dir():
        raise InputError(f"{path} has no files of the model {model.name}; pack it again")
    if (folder / MLMODEL).is_file():
        try:
            Model.load(str(folder))
        except (MlflowException, yaml.YAMLError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{path}: {MLMODEL} of the model {model.name} cannot be read ({error})") from error


class _Sender:
    """The runs of a file on their way into an experiment; new_ids: by their id in the file."""

    def __init__(self, experiment_id: str, packed: Mapping[str, PackedRun], folder: Path) -> None:
        self._client = mlflow.MlflowClient()
        self._experiment_id, self._packed, self._folder = experiment_id, packed, folder
        self._new_ids: dict[str, str] = {}

    def send_all(self) -> Unpacked:
        """Send the stages' runs with their parts, then the pipelines' runs, which name them."""
        unpacked = Unpacked([], [])
        whole = [run for run in self._packed.values() if CONTENT in run.tags]
        for run in sorted(whole, key=lambda run: (run.tags.get("dvc.stage") == PIPELINE, run.start_time)):
            known = search_finished(self._experiment_id, f"tags.content = '{_quotable(run.tags[CONTENT])}'", 1)
            if known:
                self._new_ids[run.run_id] = known[0].info.run_id
            else:
                self._new_ids[run.run_id] = self._send(run, None)
            (unpacked.known if known else unpacked.sent).append(run.name)
        return unpacked

    def _send(self, run: PackedRun, parent: str | None) -> str:
        """Send a run, its content last: until then nothing finds it."""
        run_id = self._client.create_run(
            self._experiment_id, run.start_time, _tags(run, parent), run_name=run.name
        ).info.run_id
        for part in run.parts:
            self._send(self._packed[part], run_id)
        self._send_values(run_id, run)
        artifacts = self._folder / "artifacts" / run.run_id
        if artifacts.is_dir():
            with upload_timeout():
                self._client.log_artifacts(run_id, str(artifacts))
        for model in run.models:
            self._send_model(run_id, model)
        if run.tags.get("dvc.stage") == PIPELINE:
            known = [self._new_ids[old] for old in named_runs(run.tags) if old in self._new_ids]
            adopt(run_id, [self._client.get_run(new) for new in known])
        if CONTENT in run.tags:
            self._client.set_tag(run_id, CONTENT, run.tags[CONTENT])
        self._client.set_terminated(run_id, "FINISHED", run.end_time)
        return str(run_id)

    def _send_values(self, run_id: str, run: PackedRun) -> None:
        metrics = [Metric(*value) for value in run.metrics]
        params = [Param(key, value) for key, value in run.params.items()]
        for batch in _batches(metrics, N_METRICS):
            self._client.log_batch(run_id, metrics=batch)
        for batch in _batches(params, N_PARAMS):
            self._client.log_batch(run_id, params=batch)
        if run.inputs:
            self._client.log_inputs(run_id, [_to_input(data) for data in run.inputs])

    def _send_model(self, run_id: str, packed: PackedModel) -> None:
        """Send a logged model whose own description names its new run and id."""
        folder = self._folder / "models" / packed.model_id
        model = self._client.create_logged_model(
            self._experiment_id, packed.name, run_id, packed.tags, packed.params, packed.model_type
        )
        if (folder / MLMODEL).is_file():
            description = Model.load(str(folder))
            description.run_id, description.model_id = run_id, model.model_id
            description.artifact_path = model.artifact_location
            description.save(str(folder / MLMODEL))
        with upload_timeout():
            self._client.log_model_artifacts(model.model_id, str(folder))
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, packed.step)])


def _tags(run: PackedRun, parent: str | None) -> dict[str, str]:
    """Return the tags of a run but its content, its place among runs, and the decision about the registered model."""
    left_out = {CONTENT, PROMOTION, MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME}
    tags = {key: value for key, value in run.tags.items() if key not in left_out and not key.startswith(RUN_IDS_TAG)}
    return tags | {PACKED_AS: run.run_id} | ({} if parent is None else {MLFLOW_PARENT_RUN_ID: parent})


def _to_input(data: PackedInput) -> DatasetInput:
    tags = [InputTag(key, value) for key, value in data.tags.items()]
    return DatasetInput(Dataset(data.name, data.digest, data.source_type, data.source), tags)


def _batches(values: list[Any], size: int) -> Iterator[list[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _quotable(content: str) -> str:
    if not content.isalnum():
        raise InputError(f"{content!r} is no SHA-256 of a record")
    return content
