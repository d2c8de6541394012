"""Reproduce a finished run from its commit and changes in a temporary worktree, and list what differs.

The user's workspace is left alone. The worktree shares the DVC cache: inputs are restored where they are in it, and
computed where they are not. Its runs go to a tracking store of its own.
"""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mammo.core.errors import InputError
from mammo.core.records import Record, read_record, record_path
from mammo.tracking import provenance, publishing
from mammo.tracking.publishing import Origin

MACHINE = ("python", "packages", "hardware", "keras.backend")  # tags that may explain a difference
SHARED_STAGES = {"compare": "evaluate", "evaluate": "evaluate"}  # records that one stage writes many of


@dataclass(frozen=True)
class Difference:
    """One metric or artifact of a run that differs; `before`, `now`: the value of each attempt."""

    run: str
    what: str
    before: str
    now: str
    distance: float  # between two numbers; inf between other things


@dataclass(frozen=True)
class Reproduction:
    """A second attempt compared with a run."""

    compared: list[str]  # names of the runs whose records were compared
    differences: list[Difference]
    machine: dict[str, tuple[str, str]]  # tags of MACHINE that are not the same: then, now

    def largest(self) -> float:
        """Return the largest distance; 0 where all is the same."""
        return max((difference.distance for difference in self.differences), default=0.0)


def reproduce(run_id: str, root: Path, keep: bool = False) -> Reproduction:
    """Run the stage or pipeline of `run_id` again and compare; root: of the user's repository.

    keep: leave the worktree, and print where it is. Raises InputError where the run cannot be read, or where its commit
    or its changes are not known any more.
    """
    origin = publishing.find_origin(run_id)
    commit = origin.tags.get("git.commit", "none")
    if origin.tags.get("git.dirty") != "false" and origin.patch is None:
        kept = origin.tags.get("git.patch", "not known")
        raise InputError(f"run {run_id}: its workspace was not the commit {commit}, and its changes are {kept}")
    if _git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode != 0:
        raise InputError(f"run {run_id} was made from the commit {commit}, which is not here; `git fetch` it first")
    with _worktree(root, commit, keep) as folder:
        _prepare(folder, root, origin)
        _rerun(folder, origin)
        return compare(origin, folder)


def name_stage(record: Record) -> str:
    """Return the stage of dvc.yaml that writes the record."""
    if record.stage == "external":
        return f"external@{str(record.model).split('/')[0]}"
    return SHARED_STAGES.get(record.stage, record.name)


def compare(origin: Origin, folder: Path) -> Reproduction:
    """Compare the records of a run with those in the worktree."""
    again = {record.name: read_record(folder / record_path(record.stage, record.model)) for record in origin.records}
    differences = [difference for record in origin.records for difference in _differences(record, again[record.name])]
    now = provenance.tags()
    machine = {tag: (origin.tags.get(tag, "unknown"), now.get(tag, "unknown")) for tag in MACHINE}
    changed = {tag: pair for tag, pair in machine.items() if pair[0] != pair[1]}
    return Reproduction(list(again), differences, changed)


def _differences(before: Record, now: Record) -> Iterator[Difference]:
    """Yield the metrics, those of the parts too, and the artifacts that are not the same."""
    pairs = [("", before.metrics, now.metrics)]
    parts = {part.title: part.metrics for part in now.parts}
    pairs += [(f"{part.title} ", part.metrics, parts.get(part.title, {})) for part in before.parts]
    for title, old, new in pairs:
        for name in sorted(old.keys() | new.keys()):
            a, b = old.get(name), new.get(name)
            if a != b:
                distance = math.inf if a is None or b is None else abs(a - b)
                yield Difference(before.name, f"{title}{name}", str(a), str(b), distance)
    for path in sorted(before.artifacts.keys() | now.artifacts.keys()):
        hashes = [artifacts.get(path, "none") for artifacts in (before.artifacts, now.artifacts)]
        if hashes[0] != hashes[1]:
            yield Difference(before.name, path, hashes[0][:12], hashes[1][:12], 0.0)


@contextmanager
def _worktree(root: Path, commit: str, keep: bool) -> Iterator[Path]:
    """Check `commit` out beside the repository, where relative paths of params.yaml lead to the same places."""
    folder = Path(tempfile.mkdtemp(prefix=f".{root.name}-reproduce-", dir=root.parent))
    _must(_git(root, "worktree", "add", "--quiet", "--detach", str(folder), commit), f"a worktree of {commit}")
    try:
        yield folder
    finally:
        if keep:
            sys.stderr.write(f"{folder} is kept; `git worktree remove --force {folder}` removes it\n")
        else:
            _git(root, "worktree", "remove", "--force", str(folder))


def _prepare(folder: Path, root: Path, origin: Origin) -> None:
    """Apply the run's changes, and set the user's DVC cache, remotes and credentials."""
    if origin.patch is not None:
        _must(_git(folder, "apply", str(origin.patch.resolve())), f"the changes of run {origin.run_id}")
    local = root / ".dvc" / "config.local"
    if local.is_file():
        (folder / ".dvc" / "config.local").write_bytes(local.read_bytes())
    cache = _dvc(root, "cache", "dir").stdout.strip()
    _must(_dvc(folder, "cache", "dir", "--local", cache), "the DVC cache")


def _rerun(folder: Path, origin: Origin) -> None:
    """Run all of a pipeline; of a stage its missing inputs, and itself."""
    if _dvc(folder, "remote", "list").stdout.strip():
        _stream(folder, "pull", "--run-cache", "--allow-missing")
    if origin.tags["dvc.stage"] == publishing.PIPELINE:
        _must_run(folder, "repro", "--force")
        return
    stage = name_stage(origin.records[0])
    printed = _must_run(folder, "repro", stage)
    if f"Running stage '{stage}'" not in printed:
        _must_run(folder, "repro", "--force", "--single-item", stage)


def _must_run(folder: Path, *words: str) -> str:
    code, text = _stream(folder, *words)
    if code != 0:
        raise InputError(f"`dvc {' '.join(words)}` failed in the worktree (above); the run cannot be made again here")
    return text


def _stream(folder: Path, *words: str) -> tuple[int, str]:
    """Run dvc, showing its output; return its exit code and output."""
    lines = []
    with subprocess.Popen(
        ["dvc", *words],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            sys.stderr.write(line)
            lines.append(line)
    return process.returncode, "".join(lines)


def _environment() -> dict[str, str]:
    """Return this environment, less what points at the user's repository and server; this Python's programs first."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "GIT_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    return environment | {"PATH": path}


def _dvc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["dvc", *words], cwd=folder, env=_environment(), capture_output=True, text=True)


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *words], cwd=folder, env=_environment(), capture_output=True, text=True)


def _must(process: subprocess.CompletedProcess[str], what: str) -> None:
    if process.returncode != 0:
        raise InputError(f"{what} could not be set up: {(process.stderr or process.stdout).strip()}")
