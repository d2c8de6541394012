"""Unfinished work that the next run goes on with, in .dvc/tmp/mammo/<kind>-<key>/ of the user's repository.

DVC empties a stage's outputs before the stage starts, and deletes a queued experiment's copy of the repository.
The key names all that the work rests on: other data, parameters or code start anew.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from filelock import FileLock, Timeout

from mammo.core.paths import project_root

HOME = Path(".dvc/tmp/mammo")
STALE_DAYS = 14
log = logging.getLogger(__name__)


@contextmanager
def resumable_folder(kind: str, key: str) -> Iterator[Path]:
    """The folder of that work, for one process at a time; it goes when the block ends well.

    What lies there of the same kind and other keys and was not touched for STALE_DAYS goes, too.
    """
    folder = _place(kind, key)
    lock = FileLock(folder.with_suffix(".lock"))  # the system takes it back however the process ends
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another run does the same work (%s); waiting for it", kind)
        lock.acquire()
    with lock:
        folder.mkdir(exist_ok=True)
        yield folder
        shutil.rmtree(folder)


def cache_folder(kind: str, key: str) -> Path:
    """The folder of finished work of that key that later runs use again; it goes when stale."""
    folder = _place(kind, key)
    folder.mkdir(exist_ok=True)
    return folder


def content_key(*foundations: str) -> str:
    """A short name for all the texts together."""
    digest = hashlib.sha256()
    for text in foundations:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:16]


def source_texts(*modules: ModuleType) -> list[str]:
    """Return the text of each module, and of all modules of each package, for a key."""
    return [path.read_text(encoding="utf-8") for module in modules for path in _source_files(module)]


def _source_files(module: ModuleType) -> list[Path]:
    path = Path(str(module.__file__))
    return sorted(path.parent.rglob("*.py")) if hasattr(module, "__path__") else [path]


def _place(kind: str, key: str) -> Path:
    home = project_root() / HOME
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"{kind}-{key}"
    _remove_stale(home, kind, folder)
    return folder


def _remove_stale(home: Path, kind: str, kept: Path) -> None:
    oldest = time.time() - STALE_DAYS * 24 * 3600
    for place in home.glob(f"{kind}-*"):
        touched = max(file.stat().st_mtime for file in (place, *place.rglob("*")))
        if place.stem == kept.name or touched >= oldest:
            continue
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)
