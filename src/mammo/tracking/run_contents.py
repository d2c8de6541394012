"""What a finished MLflow run holds of its record: metrics, parameters, tags, input data, artifacts, model and note."""

import importlib.metadata
import json
import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_RUN_NOTE

from mammo.core import schemas
from mammo.core.files import sha256
from mammo.core.paths import PIXELS
from mammo.core.records import Part, Record
from mammo.tracking import provenance
from mammo.tracking.failures import DATABASE_ERRORS
from mammo.tracking.mlflow_client import upload_timeout

ROW_STAGES = ("evaluate", "external")  # each of their runs is a row of the comparison table
DIGEST_LENGTH = 8  # characters of the data's digest in the table of runs; the tag `data` has all of it
RECORD = "record.json"
PATCH = "workspace.patch"  # what the workspace had beside its commit, for `git apply`
EXAMPLE_GREY = 128.0  # the even image of a model's input example: no patient's film


def finish_run(client: mlflow.MlflowClient, run_id: str, record: Record) -> None:
    """Log what the record holds beside its history and parts, and mark the run as the record's."""
    client.log_batch(
        run_id,
        metrics=to_metrics(record.metrics, len(record.history)),
        params=to_params(record.parameters),
        tags=[RunTag(key, value) for key, value in (record.tags | {MLFLOW_RUN_NOTE: _note(record)}).items()],
    )
    if "data" in record.tags:
        _log_input(client, run_id, _input(record))
    for path in record.artifacts:
        if path != record.model_file:
            log_artifact(client, run_id, Path(path))
    if record.model_file is not None:
        _log_model(run_id, Path(record.model_file), record)
    log_patch(client, run_id)
    client.log_text(run_id, record.text(), RECORD)
    client.set_tag(run_id, "content", record.content())
    client.set_terminated(run_id)


def finish_part(client: mlflow.MlflowClient, run_id: str, part: Part) -> None:
    """Log the final values of a child run and end it."""
    client.log_batch(run_id, to_metrics(part.metrics, len(part.history)), to_params(part.parameters))
    client.set_terminated(run_id)


def check_artifacts(record: Record) -> None:
    """Raise TableError where an artifact of the record is not what the record says."""
    for path, digest in record.artifacts.items():
        if not Path(path).exists() or sha256(Path(path)) != digest:
            raise schemas.TableError(
                f"{path} is not what its record says; "
                "restore it with `dvc checkout`, or rerun its stage with `dvc repro`"
            )


def log_artifact(client: mlflow.MlflowClient, run_id: str, path: Path) -> None:
    """Log a file, or a folder under its name."""
    with upload_timeout():
        if path.is_dir():
            client.log_artifacts(run_id, str(path), path.name)
        else:
            client.log_artifact(run_id, str(path))


def log_patch(client: mlflow.MlflowClient, run_id: str) -> None:
    """Log what the workspace had beside its commit, so that the run can be reproduced."""
    changes = provenance.changes()
    if changes is not None and changes.patch:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PATCH
            path.write_bytes(changes.patch)
            client.log_artifact(run_id, str(path))


def to_metrics(values: Mapping[str, float | None], step: int) -> list[Metric]:
    """Return MLflow metrics of those values that are not None, the AUC first: its pages begin with the first."""
    now = time.time_ns() // 1_000_000
    ordered = sorted(values.items(), key=lambda named: named[0] != "auc")
    return [Metric(key, value, now, step) for key, value in ordered if value is not None]


def to_params(values: Mapping[str, Any]) -> list[Param]:
    """Return MLflow parameters."""
    return [Param(key, str(value)) for key, value in values.items()]


def plain_numbers(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return Python floats; what is not estimable becomes None, which JSON can hold."""
    return {key: float(value) if value is not None and math.isfinite(value) else None for key, value in values.items()}


def run_tags(stage: str, model: str | None) -> dict[str, str]:
    """Return the tags of a stage's run."""
    tags = provenance.tags() | {"dvc.stage": stage, "mlflow.source.name": f"dvc.yaml:{stage}"}
    return tags if model is None else tags | {"model": model}


def _note(record: Record) -> str:
    """Return the run's description in the UI."""
    data = f" on the data `{record.tags['data'][:12]}`" if "data" in record.tags else ""
    lines = [f"`dvc repro {record.name}`{data}"]
    if record.parts:
        lines.append(f"In parts, each a run below this one: {', '.join(part.title for part in record.parts)}.")
    headline = [name for name in ("auc", "val_auc") if record.metrics.get(name) is not None]
    lines += [f"{name} {record.metrics[name]:.3f}" for name in headline]
    return "\n\n".join(lines)


def _input(record: Record) -> DatasetInput:
    """Return the pixel store as MLflow's input data set; its digest is the start of the tag `data`."""
    digest = record.tags["data"][:DIGEST_LENGTH]
    source = json.dumps({"uri": PIXELS.as_posix()})
    context = InputTag(MLFLOW_DATASET_CONTEXT, "evaluation" if record.stage in ROW_STAGES else "training")
    return DatasetInput(Dataset(PIXELS.name, digest, "local", source), [context])


def _log_input(client: mlflow.MlflowClient, run_id: str, data: DatasetInput) -> None:
    """Log a run's input data, again where another clone has just entered the same: MLflow looks, then inserts."""
    try:
        client.log_inputs(run_id, [data])
    except (MlflowException, *DATABASE_ERRORS) as error:
        if "unique constraint" not in str(error).lower():
            raise
        client.log_inputs(run_id, [data])


def _log_model(run_id: str, path: Path, record: Record) -> None:
    """Log the .keras file as an MLflow model with signature and example; it predicts the same when loaded back."""
    import keras  # heavy, and needed here only
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    model = keras.models.load_model(path, compile=False)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *model.input_shape[1:]), "image")]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1), "prob")]),
    )
    backend = keras.backend.backend()
    versions = {"keras": keras.__version__, "numpy": np.__version__, backend: importlib.metadata.version(backend)}
    with upload_timeout(), mlflow.start_run(run_id=run_id):
        Model.log(
            None,
            flavor=_KerasFlavor,
            model=model,
            name=record.model or record.stage,
            signature=signature,
            pip_requirements=[f"{package}=={version}" for package, version in versions.items()],
            input_example=np.full((1, *model.input_shape[1:]), EXAMPLE_GREY, np.float32),
        )


class _KerasFlavor:
    """`mlflow.keras`, which as of 3.17 writes the input example before it makes the folder that this goes to."""

    __name__ = "mlflow.keras"

    @staticmethod
    def save_model(path: str, **options: Any) -> None:
        Path(path).mkdir(parents=True)
        mlflow.keras.save_model(path=path, **options)
