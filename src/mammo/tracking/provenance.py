"""The origin of a run: commit and changes on it, dvc.lock, package versions, machine, backend.

It is for people and for `python -m mammo reproduce`; no result depends on it, and no record holds it.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import psutil
import yaml

from mammo.core.paths import DVC_LOCK, project_root

PACKAGES = ("tensorflow", "keras", "jax", "torch", "numpy", "pandas", "scikit-learn", "opencv-python-headless", "dvc")
COMPUTED = ("dvc.lock", "metrics")  # tracked by git, and written by the pipeline itself
LARGEST_PATCH = 2_000_000  # bytes; more than that is no change of code and parameters


def tags() -> dict[str, str]:
    """Return the tags of every run of this process.

    git.commit, git.dirty, dvc.exp, python, packages, hardware and keras.backend.
    """
    change = patch()
    tags = {
        "git.commit": commit(),
        "git.dirty": "unknown" if change is None else str(bool(change)).lower(),
        "python": platform.python_version(),
        "packages": json.dumps(packages()),
        "hardware": hardware(),
    }
    if "DVC_EXP_NAME" in os.environ:
        tags["dvc.exp"] = os.environ["DVC_EXP_NAME"]
    if "keras" in sys.modules:
        tags["keras.backend"] = sys.modules["keras"].backend.backend()
    return tags


def commit() -> str:
    """Return the commit that the experiment started from: a queued one runs on a temporary one that is then deleted."""
    if "DVC_EXP_BASELINE_REV" in os.environ:
        return os.environ["DVC_EXP_BASELINE_REV"]
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=project_root())
    return git.stdout.strip() if git.returncode == 0 else "none"


@cache
def patch() -> bytes | None:
    """Return the changes of the workspace since `commit()`, new files included, without what the pipeline computes.

    A binary patch for `git apply`, empty where nothing was changed; None where there is no git or no such commit, and
    where the patch is larger than LARGEST_PATCH. The user's index is left alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        difference = b""
        for arguments in (
            ("read-tree", commit()),
            ("add", "--all", "."),
            ("diff", "--cached", "--binary", commit(), "--", ".", *(f":(exclude){path}" for path in COMPUTED)),
        ):
            git = subprocess.run(["git", *arguments], capture_output=True, env=environment)
            if git.returncode != 0:
                return None
            difference = git.stdout
    return difference if len(difference) <= LARGEST_PATCH else None


def lock_hash() -> str | None:
    """Return the SHA-256 of dvc.lock's stages but `publish`, during which this is called; None without a dvc.lock."""
    if not DVC_LOCK.is_file():
        return None
    stages = yaml.safe_load(DVC_LOCK.read_text(encoding="utf-8"))["stages"]
    stages.pop("publish", None)
    return hashlib.sha256(json.dumps(stages, sort_keys=True).encode()).hexdigest()


def packages() -> dict[str, str]:
    """Return the versions of those PACKAGES that are installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def hardware() -> str:
    """Return the machine as text: `Linux x86_64, 2 CPUs, 24 GB`."""
    gigabytes = psutil.virtual_memory().total / 1e9
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, {gigabytes:.0f} GB"
