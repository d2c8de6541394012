"""DVC on this workspace, as its command line offers it."""

import json
import subprocess
import sys

from mammo.core.errors import InputError

ERROR_LINES = 15


def run_dvc(*words: str, show: bool = False) -> str:
    """Return what `dvc` with `words` prints; raises InputError with the end of it where it fails.

    show: print it on standard error as it comes, and return nothing of it.
    """
    command = [sys.executable, "-m", "dvc", *words]
    if show:
        process = subprocess.run(command, stdout=sys.stderr, text=True)
        reason = ", see above"
    else:
        process = subprocess.run(command, capture_output=True, text=True)
        lines = (process.stdout + process.stderr).strip().splitlines()
        reason = ":\n" + "\n".join(lines[-ERROR_LINES:])
    if process.returncode != 0:
        raise InputError(f"dvc {' '.join(words)} failed{reason}")
    return process.stdout or ""


def stale_stages(*stages: str) -> list[str]:
    """Return those of `stages`, and of the stages that they rest on, that `dvc repro` would run again."""
    return list(json.loads(run_dvc("status", "--with-deps", "--json", *stages)))
