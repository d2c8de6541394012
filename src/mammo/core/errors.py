"""The base of all errors that a user can correct."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `mammo --help` starts without it
    from pydantic import ValidationError


class InputError(ValueError):
    """Parameters, files or tables are not usable; the message says what is wrong, where, and how to correct it.

    Stages and the command line show the message alone; any other exception is a defect and keeps its traceback.
    """


def list_issues(error: "ValidationError") -> list[str]:
    """Return what pydantic found wrong in a file: each issue with its dotted place."""
    return [f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors()]
