"""Free what no kept run needs: DVC's cache, experiments and the files of MLflow runs, together.

Kept are always the workspace, HEAD, every branch and the baselines of queued experiments; then what `Keep` names. A
finished workspace that no commit holds is kept by DVC's run cache: its entries name the records of the runs.
"""

import json
import logging
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from dvc.repo.experiments.utils import exp_refs, remove_exp_refs

from mammo.core.config import PARAMS_FILE, load_config
from mammo.core.errors import InputError
from mammo.core.files import sha256
from mammo.core.paths import DVC_LOCK, DVC_YAML, RECORDS
from mammo.evaluation import promotion_rule
from mammo.pipeline.code_history import md5
from mammo.pipeline.dvc_project import open_project
from mammo.pipeline.promotion import registered_name
from mammo.tracking import model_registry, provenance, stored_runs
from mammo.tracking.failures import name_cure
from mammo.tracking.mlflow_client import exclusive_lock
from mammo.tracking.stored_runs import Run, Store

CHAMPION, TAGGED, LAST = promotion_rule.CHAMPION, "tagged", "last:"


@dataclass(frozen=True)
class Keep:
    """What is kept beside the workspace and the branches: the champion, git's tags, the last finished workspaces."""

    champion: bool
    tagged: bool
    last: int


@dataclass(frozen=True)
class Cleaning:
    """What is kept, as lines, and what can be freed. n_bytes: files that all of it together frees, links once."""

    kept: list[str]
    cache_files: list[Path]
    experiments: list[str]
    runs: list[Run]
    n_bytes: int
    notes: list[str]


def parse_keep(text: str) -> Keep:
    """Parse `champion,tagged,last:5`; raise InputError for anything else."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    counts = [word.removeprefix(LAST) for word in words if word.startswith(LAST)]
    unknown = [word for word in words if word not in (CHAMPION, TAGGED) and not word.startswith(LAST)]
    if not words or unknown or len(counts) > 1 or not all(count.isdecimal() for count in counts):
        raise InputError(f"--keep {text}: name some of champion, tagged and last:N, such as champion,tagged,last:5")
    return Keep(CHAMPION in words, TAGGED in words, int(counts[0]) if counts else 0)


@name_cure("the registered model")
def clean(keep: Keep, remove: bool) -> Cleaning:
    """Return what can be freed beside what is kept, and free it where `remove` is true.

    Raise InputError outside of a DVC project in git, while another DVC process or an experiment runs, and where what a
    kept run needs is not known.
    """
    with open_project(logging.ERROR) as repo:
        if any(True for _ in repo.experiments.celery_queue.iter_active()):
            raise InputError("experiments are running; wait for them (`dvc queue status`) or stop them")
        with exclusive_lock("publish"):
            return _clean(repo, keep, remove)


def _clean(repo: Any, keep: Keep, remove: bool) -> Cleaning:
    store = stored_runs.read_store(load_config().tracking.experiment)
    project = _Project(repo, store, keep)
    cleaning = project.find()
    if remove:
        stored_runs.free_artifacts(cleaning.runs)
        project.remove_experiments(cleaning.experiments)
        for file in cleaning.cache_files:
            file.unlink(missing_ok=True)
    return cleaning


class _Project:
    """The locked DVC project and its embedded MLflow store."""

    def __init__(self, repo: Any, store: Store, keep: Keep) -> None:
        self._repo, self._store, self._keep = repo, store, keep
        self._locks: dict[str, str] = {}

    def find(self) -> Cleaning:
        """Return what can be freed."""
        revisions, chosen = self._revisions(), self._chosen_pipelines()
        locks = {self._lock_of(commit) for commit in revisions.values()} | {provenance.lock_hash()}
        pipelines = [run for run in self._store.pipelines() if _lock_tag(run) in locks]
        uncommitted = [run for run, _ in chosen if _lock_tag(run) not in locks]
        notes: list[str] = []
        entries = self._run_cache_entries(uncommitted, notes)
        files = self._unused_files(self._distinct(revisions.values()), entries, notes)
        kept_locks = locks | {_lock_tag(run) for run in uncommitted}
        experiments = [str(ref) for ref in exp_refs(self._repo.scm) if self._lock_of(str(ref)) not in kept_locks]
        kept = self._store.named([*pipelines, *uncommitted]) | self._store.of_contents(_workspace_contents())
        folders = {run.info.run_id: stored_runs.artifact_folders(run) for run in self._store.freeable(kept)}
        runs = [self._store.runs[run_id] for run_id in folders if folders[run_id]]
        artifacts = [file for found in folders.values() for folder in found for file in folder.rglob("*")]
        names = [f"{name} ({commit[:7]})" for name, commit in revisions.items()]
        names += [f"{run.info.run_name} ({reason})" for run, reason in chosen]
        if self._keep.champion and CHAMPION not in (reason for _, reason in chosen):
            notes.append("no champion is registered here, so that none is kept")
        freed = _freed_bytes([*files, *artifacts])
        return Cleaning(["the workspace", *names], files, sorted(experiments), runs, freed, notes)

    def remove_experiments(self, names: Iterable[str]) -> None:
        """Remove the experiments of these refs."""
        remove_exp_refs(self._repo.scm, [ref for ref in exp_refs(self._repo.scm) if str(ref) in set(names)])

    def _revisions(self) -> dict[str, str]:
        """Return the commits that are kept, by name."""
        patterns = ["refs/heads", "refs/remotes", "refs/stash", *(["refs/tags"] if self._keep.tagged else [])]
        listed = self._git("for-each-ref", "--format=%(refname:short) %(objectname) %(*objectname)", *patterns)
        found = {"HEAD": self._git("rev-parse", "HEAD").strip()}
        for line in listed.splitlines():
            name, *objects = line.split()
            found[name] = objects[-1]  # of an annotated tag its commit
        for entry in self._repo.experiments.celery_queue.iter_queued():
            found[f"baseline of {entry.name or 'a queued experiment'}"] = entry.baseline_rev
        return found

    def _chosen_pipelines(self) -> list[tuple[Run, str]]:
        """Return the pipelines' runs that `Keep` names, and why; raise InputError where MLflow knows none."""
        newest = self._store.pipelines()
        if not newest and (self._keep.last or self._keep.champion):
            raise InputError(
                "MLflow knows no finished workspace, so that neither the champion nor the last ones can be kept; "
                "`dvc repro publish` sends this one, `--keep tagged` keeps the commits with a tag alone"
            )
        chosen = [(run, f"{LAST}{self._keep.last}") for run in newest[: self._keep.last]]
        version = None
        if self._keep.champion:
            version = model_registry.find_version(registered_name(load_config()), CHAMPION)
        if version is not None:
            named = [run for run in newest if version.run_id in self._store.named([run])]
            chosen += [(run, CHAMPION) for run in named[-1:]]  # the first one that needed it registered it
        return chosen

    def _lock_of(self, revision: str) -> str | None:
        """Return the hash of a revision's dvc.lock as a pipeline's run has it; None where it has none."""
        blob = self._git("rev-parse", "--verify", "--quiet", f"{revision}:./{DVC_LOCK}", check=False).strip()
        if not blob:
            return None
        if blob not in self._locks:
            self._locks[blob] = provenance.hash_lock(self._git("cat-file", "blob", blob))
        return self._locks[blob]

    def _distinct(self, commits: Iterable[str]) -> set[str]:
        """Return one commit of each pipeline and dvc.lock: DVC takes half a second to read one."""
        files = [f":./{path}" for path in (DVC_LOCK, DVC_YAML, PARAMS_FILE)]
        pipelines = {}
        for commit in sorted(commits):
            objects = [self._git("rev-parse", "--quiet", "--verify", f"{commit}{file}", check=False) for file in files]
            pipelines[tuple(objects)] = commit
        return set(pipelines.values())

    def _unused_files(self, commits: set[str], entries: list[tuple[str, str]], notes: list[str]) -> list[Path]:
        """Return the files of DVC's cache that neither the workspace, nor commits, nor run cache entries need."""
        cache = Path(self._repo.cache.local.path)
        if Path(self._repo.root_dir) not in cache.parents:
            notes.append(f"{cache} lies outside of this repository and may be others' too: nothing of it is freed")
            return []
        used = self._repo.used_objs(revs=sorted(commits), used_run_cache=entries, force=True)
        names = {item.value for items in used.values() for item in items if item.value}
        names |= set(self._uncached_outputs(commits))
        files = (file for file in cache.glob("??/*") if file.is_file())
        return sorted(file for file in files if f"{file.parent.name}{file.name}" not in names)

    def _uncached_outputs(self, commits: set[str]) -> Iterator[str]:
        """Yield the hashes of outputs that git holds: the run cache has them too, to restore a stage."""
        for _ in self._repo.brancher(revs=sorted(commits)):
            for out in self._repo.index.outs:
                if not out.use_cache and out.hash_info:
                    yield str(out.hash_info.value)

    def _run_cache_entries(self, pipelines: Iterable[Run], notes: list[str]) -> list[tuple[str, str]]:
        """Return (key, value) of the run cache's entries that wrote the records of pipelines' runs.

        Of a server a pipeline may have been computed elsewhere; then nothing of it is here.
        """
        entries: set[tuple[str, str]] = set()
        for pipeline in pipelines:
            runs = [self._store.runs[name] for name in self._store.named([pipeline]) - {pipeline.info.run_id}]
            matched = {str(run.info.run_name): self._entries_of(run) for run in runs}
            missing = [name for name, found in matched.items() if not found]
            if missing and (self._store.is_embedded or len(missing) < len(matched)):
                raise InputError(
                    f"{pipeline.info.run_name} is to be kept, and neither a branch, nor a tag, nor DVC's run cache "
                    f"says what {missing[0]} of it needs; commit its workspace, or keep less"
                )
            if missing:
                notes.append(f"{pipeline.info.run_name} was computed elsewhere: DVC's cache here has nothing of it")
            entries |= {entry for found in matched.values() for entry in found}
        return sorted(entries)

    def _entries_of(self, run: Run) -> set[tuple[str, str]]:
        """Return the entries of the run cache that name the record of a run, or a folder that holds it."""
        record = md5(stored_runs.read_record_text(run).encode())
        names = {record, *(folder for folder, listing in self._folder_listings.items() if record in listing)}
        return {entry for entry, hashes in self._run_cache.items() if names & hashes}

    @cached_property
    def _folder_listings(self) -> dict[str, set[str]]:
        """The hashes of the files of each folder in DVC's cache, by the folder's hash."""
        files = Path(self._repo.cache.local.path).glob("??/*.dir")
        return {
            f"{file.parent.name}{file.name}": {item["md5"] for item in json.loads(file.read_bytes())} for file in files
        }

    @cached_property
    def _run_cache(self) -> dict[tuple[str, str], set[str]]:
        """The hashes of the outputs of each entry of the run cache, by key and value."""
        stages = self._repo.stage_cache
        found = {}
        for file in Path(stages.cache_dir).glob("??/*/*"):
            entry = yaml.load(file.read_text(encoding="utf-8"), provenance.YAML_LOADER) or {}
            found[file.parent.name, file.name] = {str(out.get("md5")) for out in entry.get("outs", [])}
        return found

    def _git(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(["git", *words], cwd=self._repo.root_dir, capture_output=True, text=True)
        if check and done.returncode != 0:
            raise InputError(f"git failed in {self._repo.root_dir}: {done.stderr.strip()}")
        return done.stdout


def _lock_tag(run: Run) -> str:
    """Return the hash of the dvc.lock of a pipeline's run."""
    return str(run.data.tags.get(stored_runs.LOCK, "none"))


def _workspace_contents() -> set[str]:
    """Return the contents of the records of the workspace, published or not."""
    return {sha256(path) for path in RECORDS.rglob("*.json")}


def _freed_bytes(paths: Iterable[Path]) -> int:
    """Return the size of the files whose last link is among `paths`."""
    states = [path.stat() for path in set(paths) if path.is_file() and not path.is_symlink()]
    links = Counter((state.st_dev, state.st_ino) for state in states)
    freed = {
        (state.st_dev, state.st_ino): state.st_size
        for state in states
        if links[state.st_dev, state.st_ino] >= state.st_nlink
    }
    return sum(freed.values())
