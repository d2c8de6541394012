"""Labelled rows that share patients, and resamples of the patients.

Rows of one patient are correlated, so the patient is the unit that is resampled and counted. Wrong input raises an
InputError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mammo.core.config import EvaluateConfig
from mammo.core.errors import InputError
from mammo.metrics import discrimination
from mammo.metrics.discrimination import Floats, Mask

Integers = NDArray[np.intp]
Weights = NDArray[Any]

# A block of this many weights stays in a core's cache, where cumulative sums run about twice as fast.
BLOCK_WEIGHTS = 2**17
# Eight sums fill a cache line: narrower blocks waste it, wider ones leave the cache at 100,000 rows.
MIN_BLOCK = 8
MAX_UNDEFINED = 0.05
# Spread below this is rounding error: there was nothing to learn a variance from.
NO_SPREAD = 1e-12


@dataclass(frozen=True)
class Interval:
    """A value with its confidence limits and the rows and patients behind it; nan where not estimable."""

    value: float
    low: float
    high: float
    n: int
    n_patients: int


@dataclass(frozen=True)
class Resampling:
    """The number of resamples, their seed, and the confidence (0-1) of the limits taken from them."""

    resamples: int
    seed: int
    confidence: float = 0.95

    def __post_init__(self) -> None:
        check_resamples(self.resamples)
        check_confidence(self.confidence)

    @classmethod
    def from_config(cls, config: EvaluateConfig, seed: int) -> Resampling:
        """Return the resampling of the evaluation's own intervals."""
        return cls(config.resamples, seed, config.confidence)


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows with their labels, patients and groups; each is checked when it is first used.

    label: (n,) 0/1. patient_id: (n,) strings or integers; None takes each row as a patient. group: (n,), for example
    folds, or None; a patient lies in one group. Over groups an AUC is the average of the groups' AUCs, weighted by
    their rows, because the scores of two models share no scale.
    """

    label: ArrayLike
    patient_id: ArrayLike | None
    group: ArrayLike | None = None

    @classmethod
    def from_table(cls, rows: pd.DataFrame) -> LabelledRows:
        """Return the label and patient_id of a table's rows, grouped by `fold` where there is such a column."""
        folds = rows["fold"].to_numpy(np.int64) if "fold" in rows else None
        return cls(rows["label"].to_numpy(), rows["patient_id"].to_numpy(str), folds)

    @cached_property
    def positive(self) -> Mask:
        """The labels as booleans (n,)."""
        return discrimination.binary(self.label)

    @property
    def n(self) -> int:
        """The number of rows."""
        return self.positive.size

    @cached_property
    def patient(self) -> Integers:
        """The patients' numbers (n,), from 0 without a gap."""
        patient_id = np.arange(self.n) if self.patient_id is None else self.patient_id
        patient, _ = _number(patient_id, "patient_id")
        if patient.size != self.n:
            raise InputError(
                f"patient_id has {patient.size} rows but there are {self.n} labels; give one patient per row"
            )
        return patient

    @cached_property
    def n_patients(self) -> int:
        """The number of patients."""
        return int(self.patient.max(initial=-1)) + 1

    @cached_property
    def strata(self) -> list[Integers]:
        """The row numbers of each group; all rows together without groups."""
        if self.group is None:
            return [np.arange(self.n)]
        code, n_groups = _number(self.group, "group")
        if code.size != self.n:
            raise InputError(f"group has {code.size} rows but there are {self.n} labels; give one group per row")
        strata = [np.flatnonzero(code == number) for number in range(max(1, n_groups))]
        if sum(np.unique(self.patient[rows]).size for rows in strata) != self.n_patients:
            raise InputError("a patient has rows in two groups; make the folds by patient, else their scores leak")
        return strata


def resample_blocks(patient_id: ArrayLike, resamples: int, seed: int) -> Iterator[Weights]:
    """Resample patients with replacement; yield how often each row is drawn, in blocks (block, n) int32.

    patient_id: (n,) strings or integers. As many patients are drawn as there are (cluster bootstrap: Field & Welsh,
    J R Stat Soc B 2007). The blocks hold `resamples` lines together and bound the memory at large n. InputError for
    a missing patient, no row or no resample.
    """
    patient, n_patients = _number(patient_id, "patient_id")
    check_resamples(resamples)
    if n_patients == 0:
        raise InputError("patient_id is empty: there is no patient to draw")
    rng = np.random.default_rng(seed)
    size = max(MIN_BLOCK, BLOCK_WEIGHTS // patient.size)
    return (_draw(rng, min(size, resamples - start), patient, n_patients) for start in range(0, resamples, size))


def bootstrap_values(
    values: Callable[[Weights], dict[str, Floats]], rows: LabelledRows, resampling: Resampling
) -> dict[str, Floats]:
    """Apply `values` to resamples of the patients and return its results by name, each (resamples,).

    values: maps weights (block, n) to results (block,). nan throughout with fewer than two patients to draw from.
    """
    if rows.n_patients < 2:
        return {name: np.full(resampling.resamples, np.nan) for name in values(np.ones((1, rows.n)))}
    blocks = [values(weights) for weights in resample_blocks(rows.patient, resampling.resamples, resampling.seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def percentile_limits(draws: Floats, confidence: float) -> tuple[float, float]:
    """Return the central percentiles of the defined draws (resamples,).

    nan where more than 5 % of the draws are undefined, and where all agree: a bootstrap would claim certainty.
    """
    if not mostly_defined(draws):
        return np.nan, np.nan
    low, high = np.nanquantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return (float(low), float(high)) if high - low > NO_SPREAD else (np.nan, np.nan)


def mostly_defined(draws: Floats) -> bool:
    """Say whether at most 5 % of the draws (resamples,) are nan."""
    return bool(np.mean(np.isnan(draws)) <= MAX_UNDEFINED)


def check_resamples(resamples: int) -> None:
    """Raise InputError for fewer than one resample."""
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; at least 1 is needed, and 1000 or more for an interval")


def check_confidence(confidence: float) -> None:
    """Raise InputError for a confidence outside 0-1."""
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; it must lie between 0 and 1, usually 0.95")


def _draw(rng: np.random.Generator, block: int, patient: Integers, n_patients: int) -> Weights:
    """Return weights (block, n), stored transposed so that reordering rows copies whole lines."""
    choice = rng.integers(n_patients, size=(block, n_patients))
    cell = choice * block + np.arange(block)[:, None]
    times = np.bincount(cell.ravel(), minlength=n_patients * block).astype(np.int32)
    return times.reshape(n_patients, block)[patient].T


def _number(names: ArrayLike, parameter: str) -> tuple[Integers, int]:
    """Number distinct names from 0; return each row's number (n,) and how many names there are."""
    array = np.asarray(names)
    if array.ndim != 1:
        raise InputError(f"{parameter} has shape {array.shape}; expected one per row, shape (n,)")
    missing = array != array
    if array.dtype == object and array.size:
        kind = str if isinstance(array[0], str) else int | np.integer
        missing = np.array([not isinstance(name, kind) for name in array])
    if missing.any():
        row = int(np.argmax(missing))
        raise InputError(f"{parameter} is {array[row]!r} at row {row}; give each a string, or each an integer")
    distinct, code = np.unique(array, return_inverse=True)
    return code.astype(np.intp), distinct.size
