"""Artifacts of a local store as hard links to DVC's cache, which holds the same bytes.

The cache's files are read-only, MLflow and DVC replace or unlink files and write into none: neither can change the
other's. Where store and cache are on different disks nothing is linked.
"""

import configparser
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from mammo.core.paths import project_root

SMALLEST = 64 * 1024  # bytes; of smaller files the look-up costs more than the space
SETTINGS = ("config", "config.local")  # of DVC, the later one counts


def link_artifacts(runs: Iterable[Run]) -> int:
    """Replace the artifacts and models of `runs` that DVC's cache holds by links to it; return the bytes freed."""
    cache = cache_folder() / "files" / "md5"
    if not cache.is_dir():
        return 0
    files = {file for run in runs for folder in _folders(run) for file in folder.rglob("*") if file.is_file()}
    return sum(_link(file, cache) for file in sorted(files))


def cache_folder() -> Path:
    """Return the folder of DVC's cache that the repository's own settings name."""
    home = project_root() / ".dvc"
    settings = configparser.ConfigParser(interpolation=None, strict=False)
    settings.read([home / name for name in SETTINGS], encoding="utf-8")
    return home / settings.get("cache", "dir", fallback="cache")


def _folders(run: Run) -> Iterator[Path]:
    """Yield the local folders of a run's artifacts and of its models; none of a server's."""
    if not is_local_uri(run.info.artifact_uri):
        return
    yield Path(local_file_uri_to_path(run.info.artifact_uri))
    if run.outputs is None or not run.outputs.model_outputs:
        return
    client = mlflow.MlflowClient()
    outputs = client.get_run(run.info.run_id).outputs  # a version may have been added
    for output in outputs.model_outputs if outputs else []:
        yield Path(local_file_uri_to_path(client.get_logged_model(output.model_id).artifact_location))


def _link(file: Path, cache: Path) -> int:
    """Make `file` a link to the cache's copy of it; return the bytes freed."""
    state = file.stat()
    if state.st_nlink > 1 or state.st_size < SMALLEST:
        return 0
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    cached = cache / digest[:2] / digest[2:]
    if not cached.is_file() or cached.stat().st_dev != state.st_dev:
        return 0
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.unfinished")
    try:
        os.link(cached, unfinished)
    except OSError:  # a file system without links, or with no more of them
        return 0
    unfinished.replace(file)
    return state.st_size
