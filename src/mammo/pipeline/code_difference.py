"""The code of two finished runs compared: their commits with the changes that the workspaces had beside them.

Git writes to a temporary folder: workspace, index and repository are left alone.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mammo.core.errors import InputError
from mammo.tracking import provenance, publishing

RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Code:
    """A state of the repository: a commit, and a patch on it."""

    name: str
    commit: str
    patch: Path | None


def compare_code(a: str, b: str, root: Path) -> str:
    """Return the unified diff from the code of `a` to that of `b`, empty where they are the same.

    a, b: ids of finished MLflow runs, or commits, branches, tags, experiments. root: of the repository. Left out is
    what no run keeps: results, pages, notebooks, DVC's settings. Raises InputError where a run, its commit or its
    changes are not known here.
    """
    codes = [_find_code(name, root) for name in (a, b)]
    with tempfile.TemporaryDirectory() as scratch:
        environment = _scratch_repository(root, Path(scratch))
        trees = [_write_tree(code, root, environment) for code in codes]
        excluded = [f":(exclude){path}" for path in provenance.LEFT_OUT]
        return _git(root, ["diff", "--no-ext-diff", *trees, "--", ".", *excluded], environment)


def _find_code(name: str, root: Path) -> Code:
    if not RUN_ID.fullmatch(name):
        return Code(name, _resolve(name, root), None)
    origin = publishing.find_origin(name)
    commit = origin.tags.get("git.commit", "none")
    if origin.tags.get("git.dirty") != "false" and origin.patch is None:
        kept = origin.tags.get("git.patch", "not known")
        raise InputError(f"run {name}: its workspace was not the commit {commit}, and its changes are {kept}")
    return Code(name, _resolve(commit, root, f"run {name} was made from the commit {commit}, which"), origin.patch)


def _resolve(revision: str, root: Path, subject: str | None = None) -> str:
    """Return the commit of a revision of git, or of an experiment of DVC."""
    names = [revision, *_git(root, ["for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{revision}"]).split()]
    for name in names:
        done = _run(root, ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"])
        if done.returncode == 0:
            return done.stdout.decode().strip()
    if subject is not None:
        raise InputError(f"{subject} is not here; `git fetch` it first")
    raise InputError(f"{revision} is no run (32 hexadecimal digits, `make ui` shows them), commit or experiment")


def _scratch_repository(root: Path, folder: Path) -> dict[str, str]:
    """Return the environment in which git reads this repository, and writes to `folder` alone."""
    objects = Path(_git(root, ["rev-parse", "--git-path", "objects"]).strip())
    return os.environ | {
        "GIT_INDEX_FILE": str(folder / "index"),
        "GIT_OBJECT_DIRECTORY": str(folder),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str((root / objects).resolve()),
    }


def _write_tree(code: Code, root: Path, environment: dict[str, str]) -> str:
    """Return the name of the git tree of a code."""
    _git(root, ["read-tree", code.commit], environment)
    if code.patch is not None:
        done = _run(root, ["apply", "--cached", str(code.patch.resolve())], environment)
        if done.returncode != 0:
            reason = done.stderr.decode(errors="replace").strip()
            raise InputError(f"the changes of {code.name} do not fit its commit {code.commit}: {reason}")
    return _git(root, ["write-tree"], environment).strip()


def _git(root: Path, words: Iterable[str], environment: dict[str, str] | None = None) -> str:
    """Return what git prints; raise InputError where it fails."""
    done = _run(root, words, environment)
    if done.returncode != 0:
        raise InputError(f"git failed in {root}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode(errors="backslashreplace")


def _run(
    root: Path, words: Iterable[str], environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *words], cwd=root, env=environment, capture_output=True)
