"""How a tracking store fails, and the cure that the user reads; which failures a `dvc repro` has met already."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import psutil
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from mammo.core.errors import InputError
from mammo.core.files import write_text
from mammo.core.paths import SCRATCH, project_root

OUTAGE = "mlflow_outage.json"  # in SCRATCH: the store that failed, and the process of DVC under which it did
SQLITE = "sqlite:///"
DATABASE_ERRORS = (SQLAlchemyError, sqlite3.Error)
DAMAGED = ("not a database", "malformed", "disk image", "no such table", "no such column")


class DeletedExperimentError(InputError):
    """The experiment was deleted in the MLflow UI, and its name cannot be given to a new one."""


# Artifacts that a server does not take end in an error of `requests`, which is an OSError.
FAILURES = (MlflowException, OSError, DeletedExperimentError, *DATABASE_ERRORS)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def find_cure(error: Exception, subject: str = "the experiment") -> str | None:
    """Return what is wrong with the store, and what the user can do; None where only a programmer can tell.

    subject: what is being written, which a permission concerns.
    """
    if isinstance(error, DATABASE_ERRORS) or _names_database(error):
        return _database_cure(str(error))
    status = error.get_http_status_code() if isinstance(error, MlflowException) else 500
    if status == 401:
        return "does not know us; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == 403:
        return f"says that we may not write; its administrator can grant EDIT on {subject}"
    return "does not answer as it should; see that it runs" if status >= 500 else None


def _names_database(error: Exception) -> bool:
    return any(name in str(error) for name in ("sqlite3.", "psycopg2.", "database schema"))


def _database_cure(reason: str) -> str:
    address = mlflow.get_tracking_uri()
    if not address.startswith(SQLITE):
        return "cannot reach its database; see that it runs"
    path = address.removeprefix(SQLITE).split("?")[0]
    if "locked" in reason:
        return "is locked by another process (a copy, a backup or another program that has it open); end that"
    if "schema" in reason:
        return f"was written by another version of MLflow; make a copy of it, then run `mlflow db upgrade {address}`"
    if any(sign in reason for sign in DAMAGED):
        return f"is damaged; put a backup in its place or move it away (`mv {path} {path}.damaged`)"
    return "cannot be read or written; see that its folder exists and the disk is not full"


@contextmanager
def name_cure(subject: str = "the experiment") -> Iterator[None]:
    """Turn the failure of a store that is away, damaged, or that refuses us, into an InputError with the cure."""
    try:
        yield
    except DeletedExperimentError:
        raise
    except FAILURES as error:
        cure = find_cure(error, subject)
        if cure is None:
            raise
        raise InputError(
            f"MLflow at {mlflow.get_tracking_uri()} {cure}, then run `dvc repro publish`. All records are kept. "
            f"({first_line(error)})"
        ) from error


def remember_outage() -> None:
    """Remember that the current store failed, for the later stages of this `dvc repro`; elsewhere do nothing."""
    if (process := _dvc_process()) is not None:
        write_text(project_root() / SCRATCH / OUTAGE, json.dumps([mlflow.get_tracking_uri(), *process]))


def is_outage_known() -> bool:
    """Return whether an earlier stage of this `dvc repro` has found the current store away, and has said so."""
    path = project_root() / SCRATCH / OUTAGE
    process = _dvc_process() if path.is_file() else None
    return process is not None and json.loads(path.read_text(encoding="utf-8")) == [mlflow.get_tracking_uri(), *process]


def _dvc_process() -> tuple[int, float] | None:
    """Return id and start of the DVC process that runs this stage; None where none does."""
    if "DVC_STAGE" not in os.environ:
        return None
    try:
        for process in psutil.Process().parents():
            if any(Path(word).name == "dvc" for word in process.cmdline()):
                return process.pid, process.create_time()
    except psutil.Error:
        pass
    return None
