"""Everything that resamples or tests: intervals and comparisons that know which rows share a patient.

Rows of one patient are correlated, so the patient is the unit that is resampled and counted. What cannot be
estimated is nan (a class or patients missing, no variation to learn from); input that is wrong raises a
ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mammo.metrics import classification, discrimination
from mammo.metrics.discrimination import Floats, Mask, ratio

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


def resample_blocks(patient_id: ArrayLike, resamples: int, seed: int) -> Iterator[Weights]:
    """Yield the lines of `patient_resamples` in blocks (block, n) int32 of bounded size, for large n."""
    member, n_patients = _codes(patient_id, "patient_id")
    _check_resamples(resamples)
    if n_patients == 0:
        raise ValueError("patient_id is empty: there is no patient to draw")
    rng = np.random.default_rng(seed)
    size = max(MIN_BLOCK, BLOCK_WEIGHTS // member.size)
    return (_draw(rng, min(size, resamples - start), member, n_patients) for start in range(0, resamples, size))


def patient_resamples(patient_id: ArrayLike, resamples: int, seed: int) -> Weights:
    """Resample patients with replacement; return how often each row is drawn, (resamples, n) int32.

    patient_id: (n,) strings or integers. As many patients are drawn as there are (cluster bootstrap: Field &
    Welsh, J R Stat Soc B 2007). Takes 4 bytes x resamples x n: for large n see `resample_blocks`.
    ValueError for a missing patient, no row or no resample.
    """
    return np.concatenate(list(resample_blocks(patient_id, resamples, seed)))


def _draw(rng: np.random.Generator, block: int, member: Integers, n_patients: int) -> Weights:
    """Return weights (block, n), stored transposed so that reordering rows copies whole lines."""
    drawn = rng.integers(n_patients, size=(block, n_patients))
    cell = drawn * block + np.arange(block)[:, None]
    times = np.bincount(cell.ravel(), minlength=n_patients * block).astype(np.int32)
    return times.reshape(n_patients, block)[member].T


def _codes(names: ArrayLike, what: str) -> tuple[Integers, int]:
    """Number distinct names from 0; return each row's number (n,) and how many names there are."""
    array = np.asarray(names)
    if array.ndim != 1:
        raise ValueError(f"{what} has shape {array.shape}; expected one per row, shape (n,)")
    missing = array != array
    if array.dtype == object and array.size:
        kind = str if isinstance(array[0], str) else int | np.integer
        missing = np.array([not isinstance(name, kind) for name in array])
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"{what} is {array[row]!r} at row {row}; give each a string, or each an integer")
    distinct, code = np.unique(array, return_inverse=True)
    return code.astype(np.intp), distinct.size


def _members(patient_id: ArrayLike | None, n: int) -> tuple[Integers, int]:
    """Number the patients of n rows; without patient_id each row is its own patient."""
    member, n_patients = _codes(np.arange(n) if patient_id is None else patient_id, "patient_id")
    if member.size != n:
        raise ValueError(f"patient_id has {member.size} rows but there are {n} labels; give one patient per row")
    return member, n_patients


def _strata(group: ArrayLike | None, n: int) -> list[Integers]:
    """Return the rows of each group; all rows together when there is no group."""
    if group is None:
        return [np.arange(n)]
    code, n_groups = _codes(group, "group")
    if code.size != n:
        raise ValueError(f"group has {code.size} rows but there are {n} labels; give one group per row")
    return [np.flatnonzero(code == one) for one in range(max(1, n_groups))]


def _patient_strata(group: ArrayLike | None, member: Integers, n_patients: int) -> list[Integers]:
    """Return the rows of each group; ValueError where a patient has rows in two."""
    strata = _strata(group, member.size)
    if sum(np.unique(member[rows]).size for rows in strata) != n_patients:
        raise ValueError("a patient has rows in two groups; make the folds by patient, else their scores leak")
    return strata


class _Ranking(NamedTuple):
    """Rows from the highest score down; `last` is the place where each run of equal scores ends."""

    row: Integers
    positive: Mask
    last: Integers


def _rank(positive: Mask, score: Floats, rows: Integers) -> _Ranking:
    row = rows[np.argsort(-score[rows], kind="stable")]
    return _Ranking(row, positive[row], np.flatnonzero(np.diff(score[row], append=np.nan) != 0))


def _rankings(positive: Mask, score: Floats, group: ArrayLike | None) -> list[_Ranking]:
    return [_rank(positive, score, rows) for rows in _strata(group, positive.size)]


def _roc_counts(ranking: _Ranking, weights: Weights) -> tuple[Weights, Weights]:
    """Return true and false positives (distinct scores, resamples) as the threshold falls past each score."""
    ordered = weights.T[ranking.row]
    exact = np.result_type(ordered, np.int64)
    tp = np.cumsum(ordered * ranking.positive[:, None], axis=0, dtype=exact)[ranking.last]
    called = np.cumsum(ordered, axis=0, dtype=exact)[ranking.last]
    return tp, called - tp


def _auc_of_counts(tp: Weights, fp: Weights) -> Floats:
    """Trapezoids under (fp, tp), so that ties count 1/2; (resamples,)."""
    gained = np.diff(fp, axis=0, prepend=0)
    twice = np.einsum("ir,ir->r", tp, gained) + np.einsum("ir,ir->r", tp[:-1], gained[1:])
    return ratio(twice, 2.0 * tp[-1:].sum(axis=0) * fp[-1:].sum(axis=0))


def _partial_auc_of_counts(tp: Weights, fp: Weights, max_fpr: float) -> Floats:
    """Trapezoids under (fp, tp) up to a false positive rate, standardised; (resamples,)."""
    n_positive, n_negative = (counts[-1:].sum(axis=0) for counts in (tp, fp))
    rise, width = (np.diff(counts, axis=0, prepend=0) for counts in (tp, fp))
    inside = np.clip(max_fpr * n_negative - (fp - width), 0, width)
    slope = np.divide(rise, width, out=np.zeros(tp.shape), where=width > 0)
    area = np.einsum("ir,ir->r", inside, tp - rise + slope * inside / 2)
    return classification.standardised(ratio(area, np.float64(1) * n_positive * n_negative), max_fpr)


def _average_precision_of_counts(tp: Weights, fp: Weights) -> Floats:
    """Step sum of precision x gained recall; (resamples,)."""
    gained = np.diff(tp, axis=0, prepend=0)
    called = tp + fp
    precision = np.divide(tp, called, out=np.zeros(tp.shape), where=called > 0)
    return ratio(np.einsum("ir,ir->r", gained, precision), tp[-1:].sum(axis=0))


def roc_band(
    label: ArrayLike,
    prob: ArrayLike,
    patient_id: ArrayLike,
    false_positive_rate: ArrayLike,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
) -> tuple[Floats, Floats]:
    """Return pointwise limits (points,) of the sensitivity at given false positive rates (points,), by patient.

    Vertical averaging (Fawcett, Pattern Recognition Letters 2006): each resample's curve is read at the same false
    positive rates. Resamples without both classes are left out; nan where they are more than 5 %.
    """
    positive = discrimination.binary(label)
    score = discrimination.finite(prob, positive.size)
    member, n_patients = _members(patient_id, positive.size)
    grid = np.asarray(false_positive_rate, np.float64)
    ranking = _rank(positive, score, np.arange(positive.size))

    def values(weights: Weights) -> dict[str, Floats]:
        tp, fp = (np.vstack([np.zeros((1, len(weights))), counts]) for counts in _roc_counts(ranking, weights))
        rates = [
            np.interp(grid, fp_one / fp_one[-1], tp_one / tp_one[-1])
            if fp_one[-1] and tp_one[-1]
            else np.full(grid.size, np.nan)
            for tp_one, fp_one in zip(tp.T, fp.T, strict=True)
        ]
        return {str(point): column for point, column in enumerate(np.transpose(rates))}

    draws = _bootstrap(values, member, n_patients, resamples, seed)
    limits = [_percentiles(draws[str(point)], confidence) for point in range(grid.size)]
    low, high = np.transpose(limits)
    return low, high


def weighted_auc(label: ArrayLike, prob: ArrayLike, weights: ArrayLike) -> Floats:
    """Return the AUC (resamples,) under each line of weights (resamples, n) >= 0.

    label: (n,) 0/1; prob: (n,) finite. An integer weight repeats its row; nan where a class has no weight.
    One sort, then linear in n per resample. ValueError for wrong input.
    """
    positive = discrimination.binary(label)
    score = discrimination.finite(prob, positive.size)
    rows = np.asarray(weights)
    if rows.ndim != 2 or rows.shape[1] != positive.size:
        raise ValueError(f"weights have shape {rows.shape}; expected (resamples, {positive.size})")
    if not np.all(rows >= 0):
        raise ValueError("weights hold a negative value or NaN; give how often each row counts, 0 or more")
    return _auc_of_counts(*_roc_counts(_rank(positive, score, np.arange(positive.size)), rows))


def _over_groups(metric: Callable[[Weights, Weights], Floats], curves: list[tuple[Weights, Weights]]) -> Floats:
    """Average a metric of the groups' (tp, fp), weighted by the rows drawn from each group; (resamples,)."""
    size = np.stack([(tp[-1:] + fp[-1:]).sum(axis=0) for tp, fp in curves])
    value = np.stack([metric(tp, fp) for tp, fp in curves])
    return ratio(np.sum(value * size, axis=0), size.sum(axis=0))


def _brier_of_weights(positive: Mask, score: Floats, weights: Weights) -> Floats:
    if np.any((score < 0) | (score > 1)):
        return np.full(weights.shape[0], np.nan)
    return ratio(weights @ (score - positive) ** 2, weights.sum(axis=1))


# The rows that a proportion is a proportion of; a metric that is no proportion of rows has no entry.
_PROPORTION_OF: dict[str, Callable[[Mask, Mask], Mask]] = {
    "accuracy": lambda positive, called: np.ones_like(positive),
    "sensitivity": lambda positive, called: positive,
    "specificity": lambda positive, called: ~positive,
    "ppv": lambda positive, called: called,
    "npv": lambda positive, called: ~called,
}
# Where these are undefined they are infinite (or a class is missing, which may hide anything).
_UNBOUNDED = {"likelihood_ratio_positive", "likelihood_ratio_negative", "diagnostic_odds"}


def clustered_intervals(
    label: ArrayLike,
    prob: ArrayLike,
    called: ArrayLike,
    patient_id: ArrayLike,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    group: ArrayLike | None = None,
) -> dict[str, Interval]:
    """Return auc, average_precision, brier and each `metrics.AT_THRESHOLD` metric with limits by patient.

    label, called: (n,) 0/1; the caller applies the threshold, in cross-validation that of each fold. prob:
    (n,) finite; where it leaves 0-1 (a reader's score), brier is nan. patient_id: (n,). group: (n,), for
    example folds: auc and average_precision become averages of the values within the groups, weighted by
    their rows, because the scores of two models share no scale. ValueError for wrong input.

    The limits are percentiles over resampled patients; resamples where a metric is undefined are left out.
    They are nan when these are more than 5 %, when
    there are fewer than two patients, and when all resamples agree (an AUC of 1, constant scores): a
    bootstrap would claim certainty. A proportion of exactly 0 or 1 gets exact binomial limits instead, its
    patients being the trials. An undefined likelihood ratio or diagnostic odds counts as infinite; where that
    reaches a limit, both are nan.
    """
    positive, call = discrimination.binary(label), discrimination.binary(called, "called")
    score = discrimination.finite(prob, positive.size)
    of_curve = partial(_curve_values, positive, score, _rankings(positive, score, group), None)
    of_calls = partial(_call_values, positive, call, None)
    return _intervals(
        lambda weights: of_curve(weights) | of_calls(weights),
        *_members(patient_id, positive.size),
        rows_of={name: rows(positive, call) for name, rows in _PROPORTION_OF.items()},
        resamples=resamples,
        seed=seed,
        confidence=confidence,
    )


def curve_intervals(
    label: ArrayLike,
    prob: ArrayLike,
    patient_id: ArrayLike,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    group: ArrayLike | None = None,
    min_specificity: float = classification.MIN_SPECIFICITY,
) -> dict[str, Interval]:
    """Return what needs no threshold, auc, partial_auc, average_precision and brier, as `clustered_intervals` does.

    min_specificity: where the partial AUC starts, see `metrics.partial_auc`; over groups it is averaged too.
    """
    positive = discrimination.binary(label)
    score = discrimination.finite(prob, positive.size)
    limit = classification.max_false_positive_rate(min_specificity)
    return _intervals(
        partial(_curve_values, positive, score, _rankings(positive, score, group), limit),
        *_members(patient_id, positive.size),
        rows_of={},
        resamples=resamples,
        seed=seed,
        confidence=confidence,
    )


def call_intervals(
    label: ArrayLike,
    called: ArrayLike,
    patient_id: ArrayLike,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    prevalence: float | None = None,
) -> dict[str, Interval]:
    """Return each `metrics.AT_THRESHOLD` metric as `clustered_intervals` does.

    prevalence: adds ppv_at_prevalence and npv_at_prevalence, see `metrics.ppv_at`.
    """
    positive, call = discrimination.binary(label), discrimination.binary(called, "called")
    return _intervals(
        partial(_call_values, positive, call, prevalence),
        *_members(patient_id, positive.size),
        rows_of={name: rows(positive, call) for name, rows in _PROPORTION_OF.items()},
        resamples=resamples,
        seed=seed,
        confidence=confidence,
    )


def _curve_values(
    positive: Mask, score: Floats, rankings: list[_Ranking], max_fpr: float | None, weights: Weights
) -> dict[str, Floats]:
    """Metrics of the score under weights (resamples, n), each (resamples,); partial_auc where max_fpr is given."""
    curves = [_roc_counts(ranking, weights) for ranking in rankings]
    values = {"auc": _over_groups(_auc_of_counts, curves)}
    if max_fpr is not None:
        values["partial_auc"] = _over_groups(partial(_partial_auc_of_counts, max_fpr=max_fpr), curves)
    values["average_precision"] = _over_groups(_average_precision_of_counts, curves)
    return values | {"brier": _brier_of_weights(positive, score, weights)}


def _call_values(positive: Mask, call: Mask, prevalence: float | None, weights: Weights) -> dict[str, Floats]:
    """Metrics of the calls under weights (resamples, n), each (resamples,)."""
    wanted = dict(classification.AT_THRESHOLD)
    if prevalence is not None:
        wanted |= {
            "ppv_at_prevalence": classification.ppv_at(prevalence),
            "npv_at_prevalence": classification.npv_at(prevalence),
        }
    table = discrimination.counts(positive, call, weights)
    return {name: metric(*table) for name, metric in wanted.items()}


def _intervals(
    values: Callable[[Weights], dict[str, Floats]],
    member: Integers,
    n_patients: int,
    *,
    rows_of: Mapping[str, Mask],
    resamples: int,
    seed: int,
    confidence: float,
) -> dict[str, Interval]:
    """Bootstrap `values` by patient; rows_of: the rows (n,) of which a metric is a proportion, for exact limits."""
    _check_resamples(resamples)
    _check_confidence(confidence)
    draws = _bootstrap(values, member, n_patients, resamples, seed)

    def limits(name: str, value: float) -> tuple[float, float]:
        if value in (0, 1) and name in rows_of and _mostly_defined(draws[name]):
            return _exact_limits(value, np.unique(member[rows_of[name]]).size, confidence)
        return (_open_percentiles if name in _UNBOUNDED else _percentiles)(draws[name], confidence)

    point = values(np.ones((1, member.size)))
    return {
        name: Interval(float(value), *limits(name, value), member.size, n_patients) for name, (value,) in point.items()
    }


def _check_resamples(resamples: int) -> None:
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is needed, and 1000 or more for an interval")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1, usually 0.95")


def _bootstrap(
    values: Callable[[Weights], dict[str, Floats]],
    member: Integers,
    n_patients: int,
    resamples: int,
    seed: int,
) -> dict[str, Floats]:
    """Apply `values` to each block of resamples; nan throughout with fewer than two patients to draw from."""
    if n_patients < 2:
        return {name: np.full(resamples, np.nan) for name in values(np.ones((1, member.size)))}
    blocks = [values(weights) for weights in resample_blocks(member, resamples, seed)]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _mostly_defined(draws: Floats) -> bool:
    return bool(np.mean(np.isnan(draws)) <= MAX_UNDEFINED)


def _percentiles(draws: Floats, confidence: float) -> tuple[float, float]:
    """Return the central percentiles of the defined draws (resamples,); nan where these say nothing."""
    if not _mostly_defined(draws):
        return np.nan, np.nan
    low, high = np.nanquantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return (float(low), float(high)) if high - low > NO_SPREAD else (np.nan, np.nan)


def _open_percentiles(draws: Floats, confidence: float) -> tuple[float, float]:
    """Like `_percentiles`, but undefined draws count as infinite: without them the upper limit would be too low."""
    with np.errstate(invalid="ignore"):
        limits = _percentiles(np.where(np.isnan(draws), np.inf, draws), confidence)
    return limits if np.isfinite(limits).all() else (np.nan, np.nan)


def _exact_limits(value: float, trials: int, confidence: float) -> tuple[float, float]:
    """Limits of a proportion of 0 or 1 in independent trials (Clopper & Pearson, Biometrika 1934)."""
    margin = float(((1 - confidence) / 2) ** (1 / trials))
    return (margin, 1.0) if value == 1 else (0.0, 1 - margin)
