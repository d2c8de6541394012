"""The DVC project around the current folder, opened in this process; its errors as the user can correct them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.logger import set_loggers_level
from dvc.repo import Repo, lock_repo

from mammo.core.errors import InputError


def find_root() -> str:
    """Return the root of the DVC project; raise InputError outside of one."""
    try:
        return str(Repo.find_root())
    except NotDvcRepoError as error:
        raise InputError(f"{Path.cwd()} is in no DVC project; go to the folder of dvc.yaml") from error


@contextmanager
def open_project(log_level: int = logging.WARNING, locked: bool = True) -> Iterator[Any]:
    """Open the project, by default locked against other DVC processes; DVC logs from `log_level` on.

    Raise InputError outside of a project, while another process holds the lock, and for any error of DVC in the block.
    """
    root = find_root()
    try:
        with set_loggers_level(log_level), Repo(root) as repo, lock_repo(repo) if locked else nullcontext():
            yield repo
    except LockError as error:
        raise InputError(f"another DVC process works here; wait for it to end ({error})") from error
    except DvcException as error:
        raise InputError(str(error)) from error
