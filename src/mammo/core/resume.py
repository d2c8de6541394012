"""Folders of unfinished work that the next run continues: .dvc/tmp/mammo/<kind>-<key>/ in the user's repository.

They lie there because DVC empties a stage's outputs before the stage starts, and deletes a queued experiment's copy of
the repository. The key is a hash of the data, parameters and code behind the work: after a change it starts again.
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

from mammo.core.paths import RESUME, project_root

STALE_DAYS = 14
log = logging.getLogger(__name__)


@contextmanager
def resumable_folder(kind: str, key: str) -> Iterator[Path]:
    """Yield the folder of this work, locked for one process, and delete it when the block succeeds.

    Folders of the same kind with other keys are deleted when they were not changed for STALE_DAYS.
    """
    folder = _work_folder(kind, key)
    lock = FileLock(folder.with_suffix(".lock"))  # the system releases it however the process ends
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
    """Return the folder of finished work that later runs reuse; it is deleted when stale."""
    folder = _work_folder(kind, key)
    folder.mkdir(exist_ok=True)
    return folder


def content_key(*texts: str) -> str:
    """Return a short hash of the texts."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()[:16]


def source_texts(*modules: ModuleType) -> list[str]:
    """Return the source of each module, and of all modules of each package, for a key."""
    return [path.read_text(encoding="utf-8") for module in modules for path in _source_files(module)]


def _source_files(module: ModuleType) -> list[Path]:
    path = Path(str(module.__file__))
    return sorted(path.parent.rglob("*.py")) if hasattr(module, "__path__") else [path]


def _work_folder(kind: str, key: str) -> Path:
    home = project_root() / RESUME
    home.mkdir(parents=True, exist_ok=True)
    folder = home / f"{kind}-{key}"
    _remove_stale(home, kind, folder)
    return folder


def _remove_stale(home: Path, kind: str, current: Path) -> None:
    oldest = time.time() - STALE_DAYS * 24 * 3600
    for path in home.glob(f"{kind}-*"):
        changed = max(file.stat().st_mtime for file in (path, *path.rglob("*")))
        if path.stem == current.name or changed >= oldest:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
