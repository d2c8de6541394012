"""Where a run came from: the commit and what was changed on it, dvc.lock, package versions, the machine, the backend.

All of it is for people and for `python -m mammo reproduce`; no result depends on it, and no record holds it.
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

from mammo.core.paths import project_root

PACKAGES = ("tensorflow", "keras", "jax", "torch", "numpy", "pandas", "scikit-learn", "opencv-python-headless", "dvc")
COMPUTED = ("dvc.lock", "metrics")  # tracked by git, and written by the pipeline itself
LARGEST_PATCH = 2_000_000  # bytes; more than that is no change of code and parameters


def tags() -> dict[str, str]:
    """Tags of every run of this process: git.commit, git.dirty, dvc.exp, python, packages, hardware, keras.backend."""
    change = patch()
    found = {
        "git.commit": commit(),
        "git.dirty": "unknown" if change is None else str(bool(change)).lower(),
        "python": platform.python_version(),
        "packages": json.dumps(packages()),
        "hardware": hardware(),
    }
    if "DVC_EXP_NAME" in os.environ:
        found["dvc.exp"] = os.environ["DVC_EXP_NAME"]
    if "keras" in sys.modules:
        found["keras.backend"] = sys.modules["keras"].backend.backend()
    return found


def commit() -> str:
    """The commit that the experiment started from: a queued one runs on a temporary commit that is then deleted."""
    if "DVC_EXP_BASELINE_REV" in os.environ:
        return os.environ["DVC_EXP_BASELINE_REV"]
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=project_root())
    return found.stdout.strip() if found.returncode == 0 else "none"


@cache
def patch() -> bytes | None:
    """What the workspace has that `commit()` has not, new files included, without what the pipeline computes.

    A binary patch for `git apply`, empty where nothing was changed; None where there is no git or no such commit, and
    where the patch is larger than LARGEST_PATCH. The user's index is left alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        done = b""
        for words in (
            ("read-tree", commit()),
            ("add", "--all", "."),
            ("diff", "--cached", "--binary", commit(), "--", ".", *(f":(exclude){path}" for path in COMPUTED)),
        ):
            git = subprocess.run(["git", *words], capture_output=True, env=environment)
            if git.returncode != 0:
                return None
            done = git.stdout
    return done if len(done) <= LARGEST_PATCH else None


def lock_hash() -> str | None:
    """SHA-256 of what dvc.lock says of every stage but `publish`, which writes while it is asked; None without one."""
    path = Path("dvc.lock")
    if not path.is_file():
        return None
    stages = yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]
    kept = {name: stage for name, stage in stages.items() if name != "publish"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def packages() -> dict[str, str]:
    """Versions of the installed ones among PACKAGES."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def hardware() -> str:
    """`Linux x86_64, 2 CPUs, 24 GB`."""
    gigabytes = psutil.virtual_memory().total / 1e9
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, {gigabytes:.0f} GB"
