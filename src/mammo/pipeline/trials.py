"""A search over parameters: Optuna proposes trials, stops bad ones early, and knows all of them after a restart.

A study lies in a folder of its own; several processes of one machine may work on it at once. A trial is held by a lock
that the system releases however its process ends, so that the next process goes on with it. A proposal depends on the
seed and on the earlier trials alone: a search that was killed repeats an unbroken one.
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

KILLED_OFTEN = 3  # a trial that ends its process that many times is given up
BEFORE_PRUNING = 5  # trials that a median needs
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
RESAMPLES = 1000


class Pruned(Exception):  # noqa: N818 -- an outcome, not an error
    """The trial is worse than the median of the others at the same point."""

    def __str__(self) -> str:
        return "worse than the median of the others at this point"


@dataclass(frozen=True)
class Trial:
    """A trial that this process holds. number: from 0, kept when another process goes on with it."""

    number: int
    parameters: dict[str, Any]
    baseline: bool
    optuna_trial: optuna.Trial

    def report(self, step: int, auc: float) -> None:
        """Report the AUC of a step; raises Pruned where the trial should stop."""
        self.optuna_trial.report(auc, step)
        if self.optuna_trial.should_prune():
            raise Pruned


@dataclass(frozen=True)
class Finished:
    """A trial that ran to its end. predictions: of the rows that judge it, with label, prob and patient_id."""

    number: int
    parameters: dict[str, Any]
    auc: float
    baseline: bool
    predictions: pd.DataFrame


@dataclass(frozen=True)
class Verdict:
    """The finished trials, best first, and what the best can be expected to reach.

    corrected: the AUC to expect of it, given that it was chosen. gain: over the baseline; None without one.
    """

    finished: list[Finished]
    pruned: int
    interval: Interval
    corrected: float
    gain: PairedTest | None

    @property
    def best(self) -> Finished:
        """The trial with the highest AUC."""
        return self.finished[0]


class Search:
    """The study in `folder`, made where there is none.

    baseline: the values of params.yaml, which are trial 0 where the spaces hold them. warmup: steps before a trial may
    be pruned.
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
                pruner=optuna.pruners.MedianPruner(BEFORE_PRUNING, warmup),
            )
            values = {space.key: space.to_optuna(baseline[space.key]) for space in spaces}
            if not self.study.get_trials(deepcopy=False) and None not in values.values():
                self.study.enqueue_trial(values, {"number": 0, "baseline": True})

    @contextmanager
    def trial(self, count: int) -> Iterator[Trial | None]:
        """Hold the next trial while the block runs; None where `count` are done or begun."""
        with self.lock:
            self._requeue_killed()
            known = self.study.get_trials(deepcopy=False)
            proposal = sum(trial.state in COUNTED for trial in known) < count and self._propose(known)
        if not proposal:
            yield None
            return
        trial, lock = proposal
        with lock:
            yield trial

    def tell(self, trial: Trial, predictions: pd.DataFrame) -> float:
        """Finish the trial; return its AUC on `predictions`, over their folds where they have some."""
        auc = area(predictions)
        write_text(self._predictions(trial.number), predictions.to_csv(index=False, lineterminator="\n"))
        self.study.tell(trial.optuna_trial, auc)
        return auc

    def tell_pruned(self, trial: Trial) -> None:
        """End the trial early."""
        self.study.tell(trial.optuna_trial, state=TrialState.PRUNED)

    def known(self, values: Mapping[str, Any]) -> Finished | None:
        """Return a finished trial with these very values."""
        return next((trial for trial in self.finished() if trial.parameters == values), None)

    def finished(self) -> list[Finished]:
        """Return the finished trials, best first; the earlier first where two are equal."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        finished = [
            Finished(
                _number(trial),
                self._values(trial.params),
                cast(float, trial.value),
                "baseline" in trial.user_attrs,
                pd.read_csv(self._predictions(_number(trial))),
            )
            for trial in done
        ]
        return sorted(finished, key=lambda trial: (-trial.auc, trial.number))

    def ended(self) -> int:
        """Return how many trials finished or were pruned."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def running(self) -> int:
        """Return how many trials a process has begun and not ended."""
        return len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def verdict(self) -> Verdict | None:
        """Return the verdict; None while no trial has finished."""
        finished = self.finished()
        if not finished:
            return None
        rows = finished[0].predictions
        probs = np.stack([trial.predictions["prob"].to_numpy() for trial in finished])
        labelled, resampling = LabelledRows.from_table(rows), Resampling(RESAMPLES, self.seed)
        baseline = [number for number, trial in enumerate(finished) if trial.baseline]
        return Verdict(
            finished,
            len(self.study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))),
            auc_tests.delong_interval(labelled, probs[0]),
            auc_tests.chosen_auc(labelled, probs, resampling),
            auc_tests.paired_auc_test(labelled, probs[baseline[0]], probs[0], resampling) if baseline else None,
        )

    def _propose(self, known: list[FrozenTrial]) -> tuple[Trial, FileLock]:
        number = 1 + max((_number(trial) for trial in known if "number" in trial.user_attrs), default=-1)
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        self.study.sampler = optuna.samplers.TPESampler(seed=seed)
        proposed = self.study.ask({space.key: space.distribution() for space in self.spaces})
        if "number" not in proposed.user_attrs:
            proposed.set_user_attr("number", number)
        lock = self._trial_lock(proposed.number)
        lock.acquire()
        attributes = proposed.user_attrs
        return Trial(attributes["number"], self._values(proposed.params), "baseline" in attributes, proposed), lock

    def _requeue_killed(self) -> None:
        """Queue the trials whose process is gone again; give up those that ended it too often."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            lock = self._trial_lock(trial.number)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            with lock:
                killed = trial.user_attrs.get("killed", 0) + 1
                self.study.tell(trial.number, state=TrialState.FAIL)
                if killed < KILLED_OFTEN:
                    self.study.enqueue_trial(trial.params, trial.user_attrs | {"killed": killed})

    def _trial_lock(self, number: int) -> FileLock:
        return FileLock(self.folder / f"trial-{number}.lock")

    def _predictions(self, number: int) -> Path:
        return self.folder / f"trial-{number}.csv"

    def _values(self, proposed: Mapping[str, Any]) -> dict[str, Any]:
        return {space.key: space.from_optuna(proposed[space.key]) for space in self.spaces}


def area(predictions: pd.DataFrame) -> float:
    """AUC on rows with label and prob; averaged over the folds, weighted by rows, where there is a column `fold`."""
    folds = predictions["fold"].to_numpy() if "fold" in predictions else None
    rows = LabelledRows(predictions["label"].to_numpy(), None, folds)
    return auc_tests.delong_interval(rows, predictions["prob"].to_numpy()).value


def _number(trial: FrozenTrial) -> int:
    return int(trial.user_attrs["number"])
