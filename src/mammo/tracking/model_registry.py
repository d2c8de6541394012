"""The registered model of a data set on the server: its versions, and the aliases that people load it by.

`models:/<name>@champion` is what evaluation/promotion_rule.py finds best; a version's tag `content` names the record
that it rests on.
"""

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Run as Run  # of the type of `register_version`
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from packaging.requirements import Requirement

from mammo.core.errors import InputError
from mammo.tracking import model_uri
from mammo.tracking.failures import FAILURES
from mammo.tracking.mlflow_client import download_artifact, upload_timeout

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Version:
    """One version of a registered model.

    model: its name in its workspace; content: that of its run's record; both empty where a person registered it.
    """

    name: str
    number: str
    run_id: str
    model: str
    content: str


@dataclass(frozen=True)
class ServedFiles:
    """A folder of files that becomes an MLflow model.

    loader: the module whose `_load_pyfunc` reads it; dtype: of the images (n, h, w, 1) that it takes; flags: parameters
    of its signature, false by default; metadata: kept with the model.
    """

    folder: Path
    loader: str
    dtype: str
    flags: tuple[str, ...]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class VersionSpec:
    """What a version is to show: the registered model's name, the model's own, its alias, tags and description.

    served: what is registered; by default the bare Keras model of the run.
    """

    name: str
    model: str
    alias: str
    tags: dict[str, str]
    note: str
    served: ServedFiles | None = None


def find_version(name: str, alias: str) -> Version | None:
    """Return the version of registered model `name` that has the alias; None where there is none."""
    try:
        version = mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # A missing alias is INVALID_PARAMETER_VALUE, a missing model RESOURCE_DOES_NOT_EXIST.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    model, content = (version.tags.get(tag, "") for tag in ("model", "content"))
    return Version(name, str(version.version), str(version.run_id), model, content)


def register_version(run: Run, spec: VersionSpec) -> Version:
    """Give the model that `run` logged an alias, as the version that its content has or as a new one."""
    client = mlflow.MlflowClient()
    name, content = spec.name, run.data.tags["content"]
    number, run_id = _known_version(name, run) or (_new_version(spec, run), run.info.run_id)
    for key, value in (spec.tags | {"model": spec.model, "content": content}).items():
        client.set_model_version_tag(name, number, key, value)
    client.update_model_version(name, number, spec.note)
    client.set_registered_model_alias(name, spec.alias, number)
    return Version(name, number, run_id, spec.model, content)


def is_whole(version: Version) -> bool:
    """Return whether the run of a version is still the finished run of its record."""
    try:
        run = mlflow.MlflowClient().get_run(version.run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return run.info.lifecycle_stage == "active" and run.data.tags.get("content") == version.content


def _known_version(name: str, run: Run) -> tuple[str, str] | None:
    """Return number and run of the newest version of the same content whose run is there; None where none is."""
    versions = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    for version in sorted(versions, key=lambda version: -int(version.version)):
        known = Version(name, str(version.version), str(version.run_id), "", run.data.tags["content"])
        same = version.run_id == run.info.run_id or version.tags.get("content") == known.content
        if same and is_whole(known):
            return known.number, known.run_id
    return None


def _new_version(spec: VersionSpec, run: Run) -> str:
    uri = _logged_model(run) if spec.served is None else _log_served(run, f"{spec.model}-served", spec.served)
    return str(mlflow.register_model(uri, spec.name).version)


def _log_served(run: Run, name: str, served: ServedFiles) -> str:
    """Log the files as a model of `run` that brings the code of this package along; return its URI."""
    image = TensorSpec(np.dtype(served.dtype), (-1, -1, -1, 1))  # named, it would come as a mapping
    parameters = [ParamSpec(flag, DataType.boolean, False) for flag in served.flags]
    with upload_timeout(), mlflow.start_run(run_id=run.info.run_id):
        logged = mlflow.pyfunc.log_model(
            name=name.replace("/", "-"),
            loader_module=served.loader,
            data_path=str(served.folder),
            code_paths=[str(PACKAGE)],
            signature=ModelSignature(inputs=Schema([image]), params=ParamSchema(parameters)),
            pip_requirements=_requirements(),
            metadata=served.metadata,
        )
    return f"{model_uri.MODELS}{logged.model_id}"


def _requirements() -> list[str]:
    """Return what this package needs, each in the version that is installed here."""
    try:
        names = [Requirement(text).name for text in importlib.metadata.requires("mammo") or []]
    except importlib.metadata.PackageNotFoundError:  # run from its folder, and not installed
        names = ["keras", "numpy"]
    return [f"{name}=={importlib.metadata.version(name)}" for name in names]


def _logged_model(run: Run) -> str:
    if run.outputs is None or not run.outputs.model_outputs:
        raise InputError(
            f"run {run.info.run_id} ({run.info.run_name}) has no model on the server; delete the run in the MLflow UI, "
            "then `dvc repro publish` sends it again"
        )
    return f"{model_uri.MODELS}{run.outputs.model_outputs[0].model_id}"


def download_version_artifact(version: Version, file: str) -> Path:
    """Return the local copy of a file of the version's run; raises InputError naming both."""
    try:
        return download_artifact(version.run_id, file)
    except FAILURES as error:
        raise InputError(
            f"{file} of {version.name}, version {version.number} (run {version.run_id}), cannot be downloaded: "
            f"{error}; delete that version in the MLflow UI, or give its alias to another"
        ) from error
