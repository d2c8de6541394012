"""The origin of a run: commit and changes on it, dvc.lock, package versions, machine, backend.

It is for people and for `python -m mammo reproduce`; no result depends on it, and no record holds it. Of files that git
does not track, the server gets code and parameters alone (CODE), and of all others their number: they may be films or
passwords.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import yaml

from mammo.core.paths import DVC_LOCK, project_root

PACKAGES = ("tensorflow", "keras", "jax", "torch", "numpy", "pandas", "scikit-learn", "opencv-python-headless", "dvc")
# Tracked by git, and no input of a stage: what the pipeline writes, pages, notebooks with their outputs (which can show
# films), and DVC's settings (which can hold passwords).
LEFT_OUT = ("dvc.lock", "metrics", "docs", "notebooks", ".dvc")
# What a run is reproduced from also where git does not track it yet (git's glob pathspecs).
CODE = (
    *(f"{folder}/**/*.{suffix}" for folder in ("src", "stages") for suffix in ("py", "j2")),
    *("params.yaml", "dvc.yaml", "profiles/*.yaml", "pyproject.toml", "requirements.txt", "requirements/*"),
)
OPTIONAL_TAGS = {"git.patch", "git.untracked", "dvc.exp"}  # not of every process
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where it was compiled
LARGEST_PATCH = 2_000_000  # bytes; more than that is no change of code and parameters
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Changes:
    """What a workspace has beside its commit.

    patch: for `git apply`, empty where nothing was changed; None where it is too large. size: its bytes.
    untracked: the number of files and folders that git neither tracks nor ignores, less those of CODE.
    """

    patch: bytes | None
    size: int
    untracked: int


def tags() -> dict[str, str]:
    """Return the tags of every run of this process.

    git.commit, git.dirty, git.patch, git.untracked, dvc.exp, python, packages, hardware and keras.backend.
    """
    tags = {
        "git.commit": commit(),
        **_change_tags(),
        "python": platform.python_version(),
        "packages": json.dumps(packages()),
        "hardware": hardware(),
    }
    if "DVC_EXP_NAME" in os.environ:
        tags["dvc.exp"] = os.environ["DVC_EXP_NAME"]
    if "keras" in sys.modules:
        tags["keras.backend"] = sys.modules["keras"].backend.backend()
    return tags


def _change_tags() -> dict[str, str]:
    change = changes()
    if change is None:
        return {"git.dirty": "unknown"}
    kind = (
        "none" if change.size == 0 else "attached" if change.patch is not None else f"too large ({change.size} bytes)"
    )
    return {"git.dirty": str(change.size > 0).lower(), "git.patch": kind, "git.untracked": str(change.untracked)}


def commit() -> str:
    """Return the commit that the experiment started from: a queued one runs on a temporary one that is then deleted."""
    if "DVC_EXP_BASELINE_REV" in os.environ:
        return os.environ["DVC_EXP_BASELINE_REV"]
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=project_root())
    return git.stdout.strip() if git.returncode == 0 else "none"


def describe_code() -> str:
    """Return the last commit that changed code or parameters, its day, and whether they were changed since.

    It is the same at every later commit of documents or results, so that equal inputs give equal pages.
    """
    patterns = [f":(glob){pattern}" for pattern in CODE]
    # A queued experiment's own commit is deleted with its folder.
    start = os.environ.get("DVC_EXP_BASELINE_REV", "HEAD")
    logged = _git(["log", "-1", "--format=%h of %cs", "--abbrev=10", start, "--", *patterns])
    if not logged:
        return "a folder without a commit"
    changed = _git(["status", "--porcelain", "--", *patterns])
    return f"commit {logged.decode().strip()}{', changed since' if changed else ''}"


@cache
def changes() -> Changes | None:
    """Return the changes of the workspace since `commit()`; None where there is no git or no such commit.

    They are those of tracked files, less LEFT_OUT, and the new files of CODE. Git stores nothing for it, and the user's
    index is left alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = _copy_index(Path(folder))
        if environment is None or _git(["cat-file", "-e", f"{commit()}^{{commit}}"]) is None:
            return None
        others = ["ls-files", "--others", "--exclude-standard", "-z"]
        code = _paths(_git([*others, "--", *(f":(glob){pattern}" for pattern in CODE)], environment))
        untracked = _paths(_git([*others, "--directory"], environment))
        if code:
            _git(["add", "--intent-to-add", "--", *(f":(literal){path}" for path in code)], environment)
        excluded = [f":(exclude){path}" for path in LEFT_OUT]
        patch = _git(["diff", "--binary", "--no-ext-diff", commit(), "--", ".", *excluded], environment)
    return None if patch is None else _limited(patch, _count_others(untracked, code))


def _copy_index(folder: Path) -> dict[str, str] | None:
    """Return the environment in which git writes to `folder` alone; None where there is no git repository."""
    answer = _git(["rev-parse", "--git-path", "index", "--git-path", "objects"])
    if answer is None:
        return None
    index, objects = (Path(os.fsdecode(path)).resolve() for path in answer.splitlines())
    if index.is_file():
        shutil.copyfile(index, folder / "index")  # with its times, by which git knows the files that did not change
    return os.environ | {
        "GIT_INDEX_FILE": str(folder / "index"),
        "GIT_OBJECT_DIRECTORY": str(folder),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        "GIT_OPTIONAL_LOCKS": "0",
    }


def _git(words: Iterable[str], environment: dict[str, str] | None = None) -> bytes | None:
    """Return what git prints; None where it fails."""
    git = subprocess.run(["git", *words], capture_output=True, env=environment)
    return git.stdout if git.returncode == 0 else None


def _paths(listing: bytes | None) -> list[str]:
    return [os.fsdecode(path) for path in (listing or b"").split(b"\0") if path]


def _count_others(untracked: list[str], code: list[str]) -> int:
    """Return how many untracked files and folders hold something else than code."""
    return sum(path not in code and not any(file.startswith(path) for file in code) for path in untracked)


def _limited(patch: bytes, untracked: int) -> Changes:
    if len(patch) <= LARGEST_PATCH:
        return Changes(patch, len(patch), untracked)
    log.warning(
        "The changes to files that git tracks are a patch of %.1f MB, which is too large to be kept with the run: "
        "`python -m mammo reproduce` will refuse it. Commit them first.",
        len(patch) / 1e6,
    )
    return Changes(None, len(patch), untracked)


def lock_hash() -> str | None:
    """Return the SHA-256 of dvc.lock's stages but `publish`, during which this is called; None without a dvc.lock."""
    return hash_lock(DVC_LOCK.read_text(encoding="utf-8")) if DVC_LOCK.is_file() else None


def hash_lock(text: str) -> str:
    """Return the SHA-256 of the stages but `publish` of a dvc.lock."""
    stages = dict(yaml.load(text, YAML_LOADER).get("stages") or {})
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
