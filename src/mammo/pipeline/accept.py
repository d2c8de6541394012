"""Commit stages without a rerun where their code changed only in comments, docstrings, formatting or annotations.

A stage is accepted when all that differs from dvc.lock is code, and git holds the version of that code which dvc.lock
names, and both versions are the same program (mammo.pipeline.syntax). Anything else is refused with its reason.
Stages that run in every `dvc repro` (always_changed) are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from dvc.stage import PipelineStage

from mammo.core.errors import InputError
from mammo.pipeline import stage_changes
from mammo.pipeline.code_history import Files, History, hash_like_dvc, md5
from mammo.pipeline.dvc_project import find_root, open_project
from mammo.pipeline.syntax import Difference, Introspection, first_difference, introspection

CODE_FOLDERS = ("src", "stages")


@dataclass(frozen=True)
class Reason:
    """Why a stage is refused; line: the first one that differs, where the reason is Python code."""

    path: str
    message: str
    line: int | None = None


@dataclass(frozen=True)
class Verdict:
    """A stage that differs from dvc.lock: accepted where there are no reasons against it."""

    stage: str
    dependencies: tuple[str, ...]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Result:
    """What became of the stages; up_to_date: the number of those that do not differ from dvc.lock."""

    accepted: tuple[Verdict, ...]
    refused: tuple[Verdict, ...]
    up_to_date: int


def accept(names: Sequence[str] = (), dry_run: bool = False) -> Result:
    """Commit the stages whose code is the same program as when they ran; write nothing for a dry run.

    names: stages or groups of stages, as `dvc status` writes them; all where there is none.
    Raise InputError without git, DVC, dvc.lock, such a stage, or while another DVC process works here.
    """
    _check_project(Path(find_root()))
    with open_project() as repo:
        ignored = repo.dvcignore.is_ignored_file
        with History(Path(repo.root_dir), lambda path: bool(ignored(str(Path(repo.root_dir, path))))) as history:
            workspace = _Workspace(repo, history)
            stages = _collect(repo, names)
            judged = [(stage, workspace.judge(stage)) for stage in stages]
            changed = [(stage, verdict) for stage, verdict in judged if verdict is not None]
            if not dry_run:
                workspace.commit([(stage, verdict) for stage, verdict in changed if not verdict.reasons])
    accepted, refused = (
        tuple(verdict for _, verdict in changed if bool(verdict.reasons) == is_refused) for is_refused in (False, True)
    )
    return Result(accepted, refused, len(judged) - len(changed))


def _check_project(root: Path) -> None:
    """Raise InputError for a project without git, or in which nothing has run."""
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        raise InputError(f"{root} is in no git repository, so the code that dvc.lock names is lost; run `dvc repro`")
    if not (root / "dvc.lock").is_file():
        raise InputError(f"{root} has no dvc.lock: nothing has run that could be accepted; run `dvc repro`")


def _collect(repo: Any, names: Sequence[str]) -> list[Any]:
    """Return the named pipeline stages once each, in the order of dvc.yaml, without those that always run."""
    targets = names or (None,)
    stages = [stage for name in targets for stage in repo.stage.collect(name)]
    return [stage for stage in dict.fromkeys(stages) if isinstance(stage, PipelineStage) and not stage.always_changed]


class _Workspace:
    """The locked DVC project beside its git history; folders and lock entries are read once for all stages."""

    def __init__(self, repo: Any, history: History) -> None:
        self._repo = repo
        self._history = history
        self._folders: dict[str, Files] = {}
        self._lock_entries: dict[str, dict[str, Any]] = {}

    def judge(self, stage: Any) -> Verdict | None:
        """Return what to do with a stage; None where it is up to date."""
        entry = self._lock_entry(stage)
        if entry is None:
            reason = Reason("dvc.lock", f"holds no run of this stage; run `dvc repro {stage.addressing}`")
            return Verdict(stage.addressing, (), (reason,))
        changes = list(stage_changes.list_changes(stage))
        if not changes:
            return None
        items = {str(item): item for item in (*stage.deps, *stage.outs)}
        paths, reasons = [], [*_changed_definition(stage, entry)]
        for kind, name, state in changes:
            path = self._path(items[name]) if name in items else name
            if kind == "changed deps" and state == "modified" and self._is_code(items[name]):
                paths.append(path)
                reasons.extend(self._changed_program(stage, items[name]))
            else:
                reasons.append(_refusal(kind, path, state))
        return Verdict(stage.addressing, tuple(paths), tuple(reasons))

    def commit(self, accepted: Sequence[tuple[Any, Verdict]]) -> None:
        """Write the present hashes of the changed code into dvc.lock and the run cache, and nothing else."""
        for stage, verdict in accepted:
            for dependency in stage.deps:
                if self._path(dependency) in verdict.dependencies:
                    self._save(dependency)
        for _, stages in groupby((stage for stage, _ in accepted), key=lambda stage: stage.path):
            ran = list(stages)
            ran[0].dvcfile.dump_stages(ran, update_pipeline=False)
            for stage in ran:
                if all(out.use_cache or out.metric or out.plot for out in stage.outs):  # as DVC does after a run
                    self._repo.stage_cache.save(stage)

    def _save(self, dependency: Any) -> None:
        """Take the hash of a dependency; raise InputError where it is no longer what was compared."""
        path = self._path(dependency)
        compared = hash_like_dvc({name: md5(content) for name, content in self._files(dependency).items()})
        dependency.save()
        if dependency.hash_info.value != compared:
            raise InputError(f"{path} changed while it was compared, nothing is accepted; run the command again")

    def _changed_program(self, stage: Any, dependency: Any) -> Iterator[Reason]:
        """Yield the files of a code dependency that are another program than in dvc.lock."""
        path = self._path(dependency)
        if not dependency.hash_info:
            yield Reason(path, f"dvc.lock does not name it; run `dvc repro {stage.addressing}`")
            return
        version = self._history.find(path, dependency.hash_info.value)
        if version is None:
            shallow = "; this clone is shallow: try `git fetch --unshallow`" if self._history.is_shallow else ""
            cure = f"run `dvc repro {stage.addressing}`"
            yield Reason(path, f"no commit holds the version that dvc.lock names{shallow}; {cure}")
            return
        reads = self._introspection(stage)
        before, after = version.files, self._files(dependency)
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                file = f"{path}/{name}" if name else path
                yield from _changed_file(file, before.get(name), after.get(name), reads)

    def _introspection(self, stage: Any) -> Introspection:
        """Return what the code of a stage reads of its own code."""
        reads = Introspection.NONE
        for dependency in filter(self._is_code, stage.deps):
            for name, content in self._files(dependency).items():
                if (name or self._path(dependency)).endswith(".py"):
                    reads |= introspection(content)
        return reads

    def _files(self, dependency: Any) -> Files:
        """Return the files that DVC hashes of a dependency."""
        top = dependency.fs_path
        if top not in self._folders:
            self._folders[top] = stage_changes.read_files(self._repo, dependency)
        return self._folders[top]

    def _is_code(self, dependency: Any) -> bool:
        return self._path(dependency).split("/")[0] in CODE_FOLDERS

    def _path(self, item: Any) -> str:
        return stage_changes.path_below_root(self._repo, item)

    def _lock_entry(self, stage: Any) -> Mapping[str, Any] | None:
        """Return what dvc.lock holds of a stage."""
        if stage.path not in self._lock_entries:
            self._lock_entries[stage.path] = stage.dvcfile.lockfile_contents.get("stages", {})
        return self._lock_entries[stage.path].get(stage.name)


def _refusal(kind: str, path: str, state: Any) -> Reason:
    """Return why a change that is not one of code is refused."""
    if isinstance(state, Mapping):
        return Reason(path, ", ".join(f"parameter {key} is {how}" for key, how in state.items()))
    if kind == "changed deps":
        return Reason(path, f"input is {state}")
    return Reason(path, f"output is {state}" if kind == "changed outs" else kind)


def _changed_definition(stage: Any, entry: Mapping[str, Any]) -> Iterator[Reason]:
    """Yield what dvc.lock names and dvc.yaml no longer does: DVC itself takes no notice of it."""
    declared = {
        "deps": {dependency.def_path for dependency in stage.deps},
        "outs": {out.def_path for out in stage.outs},
    }
    for kind, paths in declared.items():
        for locked in entry.get(kind, []):
            if locked["path"] not in paths:
                yield Reason(locked["path"], f"dvc.lock names it among {kind}, dvc.yaml no longer does")


def _changed_file(path: str, before: bytes | None, after: bytes | None, reads: Introspection) -> Iterator[Reason]:
    """Yield why two versions of a file are not the same program; None stands for a file that is not there."""
    what = "was added" if before is None else "was removed" if after is None else "changed"
    if not path.endswith(".py"):
        yield Reason(path, f"{what}, and is not Python")
        return
    try:
        difference = first_difference(before or b"", after or b"", reads)
    except SyntaxError as error:
        yield Reason(path, f"is not valid Python: {error.msg}", error.lineno)
        return
    if difference is not None:
        message = _describe(difference) if before is not None and after is not None else f"{what}, and is not blank"
        yield Reason(path, message, difference.line_after)


def _describe(difference: Difference) -> str:
    if difference.line_after is None:
        return f"`{difference.text_before}` (line {difference.line_before} then) is gone"
    if difference.line_before is None:
        return f"`{difference.text_after}` is new"
    return f"`{difference.text_after}`, was `{difference.text_before}`"
