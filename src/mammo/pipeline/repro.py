"""What DVC does and says of this workspace."""

import json
import subprocess
import sys

from mammo.core.errors import InputError

ERROR_LINES = 15


def run(*words: str, show: bool = False) -> str:
    """What `dvc` with `words` prints; raises InputError with the end of what it said. show: on standard error."""
    command = [sys.executable, "-m", "dvc", *words]
    if show:
        done = subprocess.run(command, stdout=sys.stderr, text=True)
        said = ", see above"
    else:
        done = subprocess.run(command, capture_output=True, text=True)
        said = ":\n" + "\n".join((done.stdout + done.stderr).strip().splitlines()[-ERROR_LINES:])
    if done.returncode != 0:
        raise InputError(f"dvc {' '.join(words)} failed{said}")
    return done.stdout or ""


def stale(*stages: str) -> list[str]:
    """Those of `stages`, and of the stages that they rest on, that `dvc repro` would run again."""
    return list(json.loads(run("status", "--with-deps", "--json", *stages)))
