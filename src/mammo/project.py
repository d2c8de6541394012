"""Where the user's repository lies, also from inside a queued experiment's temporary copy."""

import os
from pathlib import Path


def root() -> Path:
    """The repository the user works in: DVC names it in DVC_ROOT, and a queued experiment's copy is not it."""
    return Path(os.environ.get("DVC_ROOT", Path.cwd())).resolve()


def resolve(path: str) -> Path:
    """A path from params.yaml: absolute, or relative to the user's repository."""
    return (root() / Path(path).expanduser()).resolve()
