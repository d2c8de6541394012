"""The trials of a search: Optuna proposes them, prunes bad ones, and keeps all of them across restarts.

A study has a folder of its own, and several processes of one machine may share it. A running trial is locked; the
operating system frees the lock however its process ends, and the next process resumes the trial. A proposal depends on
the seed and on earlier trials only, so that a killed search repeats an uninterrupted one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import pandas as pd
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from mammo.core.files import write_text
from mammo.metrics import auc_tests
from mammo.metrics.auc_tests import PairedTest
from mammo.metrics.resampling import Interval, LabelledRows, Resampling
from mammo.pipeline.search_space import Space

MAX_KILLS = 3  # a trial whose process was killed that many times is given up
PRUNING_STARTUP_TRIALS = 5  # before a median counts
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
RESAMPLES = 1000


class Pruned(Exception):  # noqa: N818 -- an outcome, not an error
    """A trial that is worse than the median of the others at the same step."""

    def __str__(self) -> str:
        return "worse than the median of the others at this point"


@dataclass(frozen=True)
class Trial:
    """A trial that this process has locked. number: from 0; the same when another process resumes it."""

    number: int
    parameters: dict[str, Any]
    baseline: bool
    optuna_trial: optuna.Trial

    def report(self, step: int, auc: float) -> None:
        """Report an intermediate AUC; raise Pruned where the trial should stop."""
        self.optuna_trial.report(auc, step)
        if self.optuna_trial.should_prune():
            raise Pruned


@dataclass(frozen=True)
class Finished:
    """A finished trial. predictions: of the rows that its AUC is measured on, with label, prob and patient_id."""

    number: int
    parameters: dict[str, Any]
    auc: float
    baseline: bool
    predictions: pd.DataFrame


@dataclass(frozen=True)
class Verdict:
    """The result of a search: the finished trials, best first, and the AUC of the best with its uncertainty.

    corrected: the AUC of the best, corrected for having been chosen. gain: over the baseline; None without one.
    """

    finished: list[Finished]
    pruned: int
    interval: Interval
    corrected: float
    gain: PairedTest | None

    @property
    def best(self) -> Finished:
        """Return the trial of the highest AUC."""
        return self.finished[0]


class Search:
    """A study in a folder, created where there is none.

    baseline: the values of params.yaml, which become trial 0 where the spaces hold them. warmup: steps before a trial
    may be pruned.
    """

    def __init__(self, folder: Path, spaces: Sequence[Space], baseline: Mapping[str, Any], seed: int, warmup: int):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.spaces, self.seed = folder, spaces, seed
        self.lock = FileLock(folder / "study.lock")
        with self.lock:
            self.study = optuna.create_study(
                storage=RDBStorage(f"sqlite:///{folder / 'study.db'}", {"connect_args": {"timeout": 60}}),
                study_name="search",
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(PRUNING_STARTUP_TRIALS, warmup),
            )
            first = {space.key: space.to_optuna(baseline[space.key]) for space in spaces}
            if not self.study.get_trials(deepcopy=False) and None not in first.values():
                self.study.enqueue_trial(first, {"number": 0, "baseline": True})

    @contextmanager
    def next_trial(self, count: int) -> Iterator[Trial | None]:
        """Yield the next trial, locked while the block runs; None where `count` have ended or are running."""
        with self.lock:
            self._requeue_killed()
            existing = self.study.get_trials(deepcopy=False)
            proposal = sum(trial.state in COUNTED for trial in existing) < count and self._propose(existing)
        if not proposal:
            yield None
            return
        trial, lock = proposal
        with lock:
            yield trial

    def tell(self, trial: Trial, predictions: pd.DataFrame) -> float:
        """Finish a trial; return the AUC of its predictions (see measure_auc)."""
        auc = measure_auc(predictions)
        write_text(self._predictions_path(trial.number), predictions.to_csv(index=False, lineterminator="\n"))
        self.study.tell(trial.optuna_trial, auc)
        return auc

    def tell_pruned(self, trial: Trial) -> None:
        """End a trial early."""
        self.study.tell(trial.optuna_trial, state=TrialState.PRUNED)

    def find_finished(self, parameters: Mapping[str, Any]) -> Finished | None:
        """Return a finished trial with the same parameters; None where there is none."""
        return next((trial for trial in self.finished_trials() if trial.parameters == parameters), None)

    def finished_trials(self) -> list[Finished]:
        """Return the finished trials, best first, ties by number."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        finished = [
            Finished(
                _number(trial),
                self._parameters(trial.params),
                cast(float, trial.value),
                "baseline" in trial.user_attrs,
                pd.read_csv(self._predictions_path(_number(trial))),
            )
            for trial in complete
        ]
        return sorted(finished, key=lambda trial: (-trial.auc, trial.number))

    def count_ended(self) -> int:
        """Return the number of trials that finished or were pruned."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def count_running(self) -> int:
        """Return the number of trials that were started and have not ended."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def verdict(self) -> Verdict | None:
        """Return the result of the search so far; None while no trial has finished."""
        finished = self.finished_trials()
        if not finished:
            return None
        rows = finished[0].predictions
        probs = np.stack([trial.predictions["prob"].to_numpy() for trial in finished])
        labelled, resampling = LabelledRows.from_table(rows), Resampling(RESAMPLES, self.seed)
        baseline = [row for row, trial in zip(probs, finished, strict=True) if trial.baseline]
        return Verdict(
            finished,
            len(self.study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))),
            auc_tests.delong_interval(labelled, probs[0]),
            auc_tests.chosen_auc(labelled, probs, resampling),
            auc_tests.paired_auc_test(labelled, baseline[0], probs[0], resampling) if baseline else None,
        )

    def _propose(self, existing: list[FrozenTrial]) -> tuple[Trial, FileLock]:
        number = 1 + max((_number(trial) for trial in existing if "number" in trial.user_attrs), default=-1)
        sampler_seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(seed=sampler_seed)
        proposed = self.study.ask({space.key: space.distribution() for space in self.spaces})
        if "number" not in proposed.user_attrs:
            proposed.set_user_attr("number", number)
        lock = self._trial_lock(proposed.number)
        lock.acquire()
        attributes, parameters = proposed.user_attrs, self._parameters(proposed.params)
        return Trial(attributes["number"], parameters, "baseline" in attributes, proposed), lock

    def _requeue_killed(self) -> None:
        """Queue the running trials whose process has ended; give up those that were killed too often."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            lock = self._trial_lock(trial.number)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            with lock:
                killed = trial.user_attrs.get("killed", 0) + 1
                self.study.tell(trial.number, state=TrialState.FAIL)
                if killed < MAX_KILLS:
                    self.study.enqueue_trial(trial.params, trial.user_attrs | {"killed": killed})

    def _trial_lock(self, optuna_number: int) -> FileLock:
        return FileLock(self.folder / f"trial-{optuna_number}.lock")

    def _predictions_path(self, number: int) -> Path:
        return self.folder / f"trial-{number}.csv"

    def _parameters(self, sampled: Mapping[str, Any]) -> dict[str, Any]:
        return {space.key: space.from_optuna(sampled[space.key]) for space in self.spaces}


def measure_auc(predictions: pd.DataFrame) -> float:
    """Return the AUC of rows with label and prob; with a column `fold`, the mean over folds, weighted by rows."""
    folds = predictions["fold"].to_numpy() if "fold" in predictions else None
    rows = LabelledRows(predictions["label"].to_numpy(), None, folds)
    return auc_tests.delong_interval(rows, predictions["prob"].to_numpy()).value


def _number(trial: FrozenTrial) -> int:
    return int(trial.user_attrs["number"])
