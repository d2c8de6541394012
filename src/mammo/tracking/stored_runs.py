"""The runs of the embedded store: what a pipeline's run needs, and the files of the others, to be freed.

The artifacts of a server are other people's too: nothing of them is freed here.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import Run as Run  # of what is freed
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from mlflow.utils.uri import is_local_uri

from mammo.core.errors import InputError
from mammo.core.paths import project_root
from mammo.tracking.failures import FAILURES, SQLITE, name_cure
from mammo.tracking.mlflow_client import download_artifact, is_missing, list_runs, use_store
from mammo.tracking.publishing import PIPELINE, named_runs
from mammo.tracking.run_contents import RECORD
from mammo.tracking.verification import CONTENT, RETIRED, is_finished

FREED = "artifacts_freed"  # tag of a run whose files were freed: its metrics stay, and no look-up shows it
LOCK = "dvc.lock"  # tag of a pipeline's run


@dataclass(frozen=True)
class Store:
    """The runs of an experiment by id, and the ids of those that versions of registered models are made of.

    is_embedded: whether the store lies in a file here; a server has the runs of other clones too."""

    runs: Mapping[str, Run]
    registered: frozenset[str]
    is_embedded: bool

    def pipelines(self) -> list[Run]:
        """Return the finished runs of pipelines, the newest first."""
        found = [run for run in self.runs.values() if is_finished(run) and run.data.tags["dvc.stage"] == PIPELINE]
        return sorted(found, key=lambda run: (-run.info.end_time, run.info.run_id))

    def named(self, pipelines: Iterable[Run]) -> set[str]:
        """Return the ids of pipelines' runs and of the runs that they name."""
        return {
            name for run in pipelines for name in (run.info.run_id, *named_runs(run.data.tags)) if name in self.runs
        }

    def of_contents(self, contents: Iterable[str]) -> set[str]:
        """Return the ids of the finished runs of these records."""
        wanted = set(contents)
        return {key for key, run in self.runs.items() if is_finished(run) and run.data.tags[CONTENT] in wanted}

    def freeable(self, kept: set[str]) -> list[Run]:
        """Return the finished and retired runs that are not among `kept` and registered, with their parts."""
        kept = kept | self.registered
        whole = {
            key: run
            for key, run in self.runs.items()
            if key not in kept and (is_finished(run) or RETIRED in run.data.tags)
        }
        parts = {key: run for key, run in self.runs.items() if run.data.tags.get(MLFLOW_PARENT_RUN_ID) in whole}
        plain = {
            key: run for key, run in parts.items() if CONTENT not in run.data.tags and run.info.status != "RUNNING"
        }
        return list((whole | plain).values())


@name_cure()
def read_store(experiment: str) -> Store:
    """Read the runs of the experiment; none where there is no store yet."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one a run
    address = use_store()
    if is_missing(address):
        return Store({}, frozenset(), True)
    versions = mlflow.MlflowClient().search_model_versions()
    registered = frozenset(str(version.run_id) for version in versions)
    return Store(list_runs(experiment), registered, address.startswith(SQLITE))


def read_record_text(run: Run) -> str:
    """Return the record of a run from its artifacts; raise InputError where it is lost."""
    try:
        return download_artifact(run.info.run_id, RECORD).read_text(encoding="utf-8")
    except FAILURES as error:
        cure = "`dvc repro publish` in its workspace sends it again"
        raise InputError(f"run {run.info.run_id} ({run.info.run_name}) has lost its {RECORD}; {cure}") from error


def artifact_folders(run: Run) -> list[Path]:
    """Return the folders of a run's artifacts and models that lie in this repository."""
    outputs = mlflow.MlflowClient().get_run(run.info.run_id).outputs
    ids = [output.model_id for output in outputs.model_outputs] if outputs else []
    uris = [run.info.artifact_uri, *(mlflow.MlflowClient().get_logged_model(name).artifact_location for name in ids)]
    folders = [_artifact_folder(uri) for uri in uris]
    return [folder for folder in folders if folder is not None and folder.is_dir()]


def _artifact_folder(uri: str) -> Path | None:
    """Return the folder of a local address within this repository; None for any other."""
    if not is_local_uri(uri):
        return None
    folder = Path(local_file_uri_to_path(uri)).resolve()
    return folder if project_root() in folder.parents else None


@name_cure()
def free_artifacts(runs: Iterable[Run]) -> None:
    """Delete the files of runs; what they logged stays, and `publish` takes them for finished no more."""
    client = mlflow.MlflowClient()
    for run in runs:
        folders = artifact_folders(run)
        client.set_tag(run.info.run_id, FREED, "true")
        if CONTENT in run.data.tags:
            client.delete_tag(run.info.run_id, CONTENT)
        for folder in folders:
            shutil.rmtree(folder)
