"""The registered model of a data set on the server: its versions, and the aliases that people load it by.

`models:/<name>@champion` is what champion.py says is best; a version's tag `content` names the record that it rests on.
"""

from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from mammo.core.errors import InputError


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


def held_by(name: str, alias: str) -> Version | None:
    """The version of registered model `name` that has the alias; None where there is none."""
    try:
        found = mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # A missing alias is INVALID_PARAMETER_VALUE, a missing model RESOURCE_DOES_NOT_EXIST.
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return None
    model, content = (found.tags.get(tag, "") for tag in ("model", "content"))
    return Version(name, str(found.version), str(found.run_id), model, content)


def register(name: str, run: Run, model: str, alias: str, tags: dict[str, str], note: str) -> Version:
    """Give the model that `run` logged as `model` the alias, as the version it has or as a new one.

    tags, note: what the version then shows; `note` is its description.
    """
    client = mlflow.MlflowClient()
    run_id, content = run.info.run_id, run.data.tags["content"]
    known = client.search_model_versions(f"name = '{name}' AND run_id = '{run_id}'")
    found = known[0] if known else mlflow.register_model(_logged_model(run), name)
    number = str(found.version)
    for key, value in (tags | {"model": model, "content": content}).items():
        client.set_model_version_tag(name, number, key, value)
    client.update_model_version(name, number, note)
    client.set_registered_model_alias(name, alias, number)
    return Version(name, number, run_id, model, content)


def _logged_model(run: Run) -> str:
    if run.outputs is None or not run.outputs.model_outputs:
        raise InputError(
            f"run {run.info.run_id} ({run.info.run_name}) has no model on the server; delete the run in the MLflow UI, "
            "then `dvc repro publish` sends it again"
        )
    return f"models:/{run.outputs.model_outputs[0].model_id}"


def artifact(version: Version, file: str) -> Path:
    """A file of the version's run, fetched; InputError naming both where it cannot be had."""
    try:
        return Path(mlflow.artifacts.download_artifacts(run_id=version.run_id, artifact_path=file))
    except (MlflowException, OSError) as error:
        raise InputError(
            f"{file} of {version.name}, version {version.number} (run {version.run_id}), cannot be had: {error}; "
            "delete that version in the MLflow UI, or give its alias to another"
        ) from error
