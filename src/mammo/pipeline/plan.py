"""The stages that `dvc repro` will run, why, and how long each took last time; nothing is run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dvc.dependency.base import DependencyDoesNotExistError
from dvc.dependency.param import ParamsDependency
from dvc.repo.reproduce import get_active_graph, plan_repro
from dvc.scm import Git
from dvc.stage.cache import RunCacheNotFoundError
from dvc_data.hashfile.hash_info import HashInfo

from mammo.core.config import flatten, load_config
from mammo.core.durations import read_duration
from mammo.pipeline.code_history import History
from mammo.pipeline.dvc_project import open_project
from mammo.pipeline.stage_changes import list_changes, path_below_root, read_files

ALWAYS, COMMAND, NEVER_RUN = "always runs", "its command in dvc.yaml changed", "it has not run yet (not in dvc.lock)"
TRAININGS = ("train", "continue_training", "seeds", "cross_validate", "retrained_maps")  # their runs last as they do
FILES_SHOWN = 3  # of those that changed in a folder


@dataclass(frozen=True)
class Step:
    """A stage that `dvc repro` will run, or restore from the run cache, which holds its outputs for these inputs.

    after: stages of the plan whose outputs it reads; seconds: of its last run here, None where there was none.
    """

    stage: str
    reasons: tuple[str, ...]
    after: tuple[str, ...]
    restored: bool
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """The stages that will run or be restored, in DVC's order, of n_stages."""

    steps: tuple[Step, ...]
    n_stages: int

    def seconds(self) -> float:
        """Return how long the stages that will run took last time, together; an unknown time counts nothing."""
        return sum(step.seconds or 0.0 for step in self.steps if not step.restored)


def make_plan(names: Sequence[str] = ()) -> Plan:
    """Return what `dvc repro` of these stages, by default of all, will do.

    A stage that reads an output of a planned one is planned too; DVC leaves it out where that output comes out the
    same. Raise InputError outside of a DVC project, for an unknown stage, or while another DVC process works here.
    """
    with open_project() as repo:
        targets = [stage for name in names for stage in repo.stage.collect(name)]
        stages = plan_repro(get_active_graph(repo.index.graph), targets or None)
        steps = _Workspace(repo).plan(stages)
    return Plan(tuple(steps), len(stages))


def time_trainings(plan: Plan) -> Plan:
    """Return the plan with the times of trainings that have not run here, where the tracking server knows them."""
    unknown = [step.stage for step in plan.steps if step.seconds is None and step.stage.split("@")[0] in TRAININGS]
    if not unknown:
        return plan
    from mammo.tracking.run_times import read_run_times  # MLflow takes seconds

    times = read_run_times(load_config().tracking.experiment, unknown)
    steps = (replace(step, seconds=times.get(step.stage, step.seconds)) for step in plan.steps)
    return replace(plan, steps=tuple(steps))


class _Workspace:
    """The locked DVC project; files of changed folders are compared with git's once for all stages."""

    def __init__(self, repo: Any) -> None:
        self._repo = repo
        self._changed_files: dict[tuple[str, str], str] = {}

    def plan(self, stages: Sequence[Any]) -> list[Step]:
        """Return the steps among `stages`, which are in the order in which DVC runs them."""
        steps: list[Step] = []
        planned: dict[Any, set[Any]] = {}  # by stage all planned stages above it
        for stage in stages:
            above = {other for other in self._repo.index.graph.successors(stage) if other in planned}
            farther = {other for nearer in above for other in planned[nearer]}
            after = tuple(sorted(other.addressing for other in above - farther))
            reasons = tuple(self._reasons(stage, [out.fs_path for other in above for out in other.outs]))
            if reasons or after:
                planned[stage] = above | farther
                restored = not after and ALWAYS not in reasons and self._is_restored(stage)
                steps.append(Step(stage.addressing, reasons, after, restored, read_duration(stage.addressing)))
        return steps

    def _reasons(self, stage: Any, written: Sequence[str]) -> Iterator[str]:
        """Yield why a stage runs; of inputs that planned stages write nothing is known yet."""
        if not any(item.hash_info for item in (*stage.deps, *stage.outs)):
            yield NEVER_RUN
            return
        items = {str(item): item for item in (*stage.deps, *stage.outs)}
        for kind, name, state in list_changes(stage):
            if kind == "always changed":
                yield ALWAYS
            elif kind == "changed command":
                yield COMMAND
            elif isinstance(items[name], ParamsDependency):
                yield from _changed_parameters(items[name], state)
            elif not any(_overlap(items[name].fs_path, path) for path in written):
                yield self._changed_item(kind, items[name], str(state))

    def _changed_item(self, kind: str, item: Any, state: str) -> str:
        path = path_below_root(self._repo, item)
        if kind == "changed outs":
            return f"{path} is missing" if state == "deleted" else f"{path} is not what was computed ({state})"
        if state != "modified":
            return f"{path} is {'missing' if state == 'deleted' else state}"
        if not Path(item.fs_path).is_dir() or not isinstance(self._repo.scm, Git):
            return f"{path} changed"
        return f"{path} changed{self._name_files(path, item)}"

    def _name_files(self, path: str, folder: Any) -> str:
        """Return which files of a folder changed, where a commit holds the version that dvc.lock names."""
        key = path, folder.hash_info.value
        if key not in self._changed_files:
            self._changed_files[key] = self._compare(path, folder)
        return self._changed_files[key]

    def _compare(self, path: str, folder: Any) -> str:
        root = Path(self._repo.root_dir)
        with History(root, lambda name: bool(self._repo.dvcignore.is_ignored_file(str(root / name)))) as history:
            version = history.find(path, folder.hash_info.value)
        if version is None:
            return ""
        now = read_files(self._repo, folder)
        names = sorted(name for name in version.files.keys() | now if version.files.get(name) != now.get(name))
        more = f" and {len(names) - FILES_SHOWN} more" if len(names) > FILES_SHOWN else ""
        return f": {', '.join(names[:FILES_SHOWN])}{more}"

    def _is_restored(self, stage: Any) -> bool:
        """Return whether DVC's cache has the stage's outputs for its present inputs, which `stage` then names."""
        try:
            if stage.changed_deps() or stage.changed_stage():  # then the run cache alone can know them
                stage.save_deps()
                for out in stage.outs:
                    out.hash_info = HashInfo()
            self._repo.stage_cache.restore(stage, dry=True)
        except (RunCacheNotFoundError, DependencyDoesNotExistError):
            return False
        return True


def _overlap(path: str, other: str) -> bool:
    """Return whether two paths are the same, or one lies within the other."""
    return Path(path) == Path(other) or Path(path) in Path(other).parents or Path(other) in Path(path).parents


def _changed_parameters(dependency: Any, states: Mapping[str, str]) -> Iterator[str]:
    """Yield `key: old -> new` of each changed value; of a section those of its values that changed."""
    before, now = dependency.hash_info.value or {}, dependency.read_params()
    for name in states:
        old, new = (flatten({name: values[name]}) if name in values else {} for values in (before, now))
        for key in dict.fromkeys([*old, *new]):
            if old.get(key) != new.get(key) or (key in old) != (key in new):
                yield f"{key}: {_value(old, key)} -> {_value(new, key)}"


def _value(values: Mapping[str, Any], key: str) -> str:
    return str(values[key]) if key in values else "none"
