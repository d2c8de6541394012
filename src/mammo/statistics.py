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
from scipy.stats import norm, rankdata, t

from mammo import metrics
from mammo.metrics import Floats, Mask, ratio

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
class PairedTest:
    """Difference b - a of two AUCs whose rows or patients overlap, its limits and two-sided p; nan where not
    estimable."""

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    n_patients: int


# --- resampling ---------------------------------------------------------------------------------------------


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


# --- metrics of all resamples at once -----------------------------------------------------------------------


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
    return metrics.standardised(ratio(area, np.float64(1) * n_positive * n_negative), max_fpr)


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
    positive = metrics.binary(label)
    score = metrics.finite(prob, positive.size)
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
    positive = metrics.binary(label)
    score = metrics.finite(prob, positive.size)
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


# --- intervals ----------------------------------------------------------------------------------------------

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
    positive, call = metrics.binary(label), metrics.binary(called, "called")
    score = metrics.finite(prob, positive.size)
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
    min_specificity: float = metrics.MIN_SPECIFICITY,
) -> dict[str, Interval]:
    """Return what needs no threshold, auc, partial_auc, average_precision and brier, as `clustered_intervals` does.

    min_specificity: where the partial AUC starts, see `metrics.partial_auc`; over groups it is averaged too.
    """
    positive = metrics.binary(label)
    score = metrics.finite(prob, positive.size)
    limit = metrics.max_false_positive_rate(min_specificity)
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
    positive, call = metrics.binary(label), metrics.binary(called, "called")
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
    wanted = dict(metrics.AT_THRESHOLD)
    if prevalence is not None:
        wanted |= {"ppv_at_prevalence": metrics.ppv_at(prevalence), "npv_at_prevalence": metrics.npv_at(prevalence)}
    table = metrics.counts(positive, call, weights)
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


# --- DeLong -------------------------------------------------------------------------------------------------


def delong(label: ArrayLike, probs: ArrayLike) -> tuple[Floats, Floats]:
    """Return AUCs (models,) and their covariance (models, models), taking each row as independent.

    label: (n,) 0/1; probs: (models, n) finite. nan without both classes; the covariance also with one row of
    a class. DeLong et al., Biometrics 1988, by midranks in O(n log n): Sun & Xu, IEEE Signal Process Lett
    2014.
    """
    positive = metrics.binary(label)
    return _delong(positive, _score_table(probs, positive.size), _members(None, positive.size)[0])


def clustered_delong(label: ArrayLike, probs: ArrayLike, patient_id: ArrayLike) -> tuple[Floats, Floats]:
    """Return what `delong` returns, with rows of one patient correlated; equal to it at one row per patient.

    patient_id: (n,). The covariance needs both classes, each from two patients, else nan. Obuchowski,
    Biometrics 1997.
    """
    positive = metrics.binary(label)
    return _delong(positive, _score_table(probs, positive.size), _members(patient_id, positive.size)[0])


def delong_interval(
    label: ArrayLike,
    prob: ArrayLike,
    patient_id: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    group: ArrayLike | None = None,
) -> Interval:
    """Return the AUC with limits from its DeLong variance on the logit scale, which keeps them within 0-1.

    Clustered when patient_id (n,) is given, else each row counts as a patient. group: (n,) folds, as in
    `clustered_intervals`; a patient lies in one group. The limits are nan where the variance is 0 or cannot be
    had, so for an AUC of 0 or 1. ValueError for wrong input.
    Pepe, The Statistical Evaluation of Medical Tests for Classification and Prediction, 2003.
    """
    positive = metrics.binary(label)
    _check_confidence(confidence)
    probs = _score_table([prob], positive.size)
    member, n_patients = _members(patient_id, positive.size)
    value = variance = 0.0
    for rows in _patient_strata(group, member, n_patients):
        share = rows.size / max(1, positive.size)
        (auc,), ((spread,),) = _delong(positive[rows], probs[:, rows], member[rows])
        value += share * float(auc)
        variance += share**2 * float(spread)
    low = high = np.nan
    if variance > NO_SPREAD**2 and 0 < value < 1:
        centre = np.log(value / (1 - value))
        margin = norm.ppf((1 + confidence) / 2) * np.sqrt(variance) / (value * (1 - value))
        low, high = (float(1 / (1 + np.exp(-limit))) for limit in (centre - margin, centre + margin))
    return Interval(value, low, high, positive.size, n_patients)


def delong_test(
    label: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    patient_id: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> PairedTest:
    """Compare the AUCs of scores a and b (n,) on the same rows: z-test and normal limits for b - a.

    Clustered when patient_id (n,) is given, else each row counts as a patient. p is 1 for no difference, nan
    for a difference without variance; ValueError for wrong input.
    """
    positive = metrics.binary(label)
    _check_confidence(confidence)
    member, n_patients = _members(patient_id, positive.size)
    probs = _score_table([a, b], positive.size)
    difference, variance = _auc_difference(positive, probs, member, _strata(None, positive.size))
    margin = norm.ppf((1 + confidence) / 2) * np.sqrt(variance) if variance > NO_SPREAD**2 else np.nan
    p_value = _two_sided(difference, variance)
    return PairedTest(difference, difference - margin, difference + margin, p_value, positive.size, n_patients)


def _score_table(probs: Any, n: int) -> Floats:
    return np.stack([metrics.finite(prob, n, f"probs[{model}]") for model, prob in enumerate(probs)])


def _delong(positive: Mask, probs: Floats, member: Integers) -> tuple[Floats, Floats]:
    aucs, deviation = _placements(positive, probs)
    return aucs, _covariance(positive, deviation, member)


def _placements(positive: Mask, probs: Floats) -> tuple[Floats, Floats]:
    """Return AUCs (models,) and each row's placement in the other class, less the AUC (models, n)."""
    if positive.all() or not positive.any():
        return np.full(len(probs), np.nan), np.full(probs.shape, np.nan)
    place = rankdata(probs, axis=1)
    for rows in (positive, ~positive):
        place[:, rows] -= rankdata(probs[:, rows], axis=1)
    place /= np.where(positive, np.sum(~positive), np.sum(positive))
    place[:, ~positive] = 1 - place[:, ~positive]
    aucs = place[:, positive].mean(axis=1)
    return aucs, place - aucs[:, None]


def _covariance(positive: Mask, deviation: Floats, member: Integers) -> Floats:
    """Return the covariance (models, models) from placements summed per patient (Obuchowski 1997)."""
    models, n_patients = len(deviation), int(member.max(initial=-1)) + 1
    malignant, benign = (np.zeros((n_patients, models)) for _ in range(2))
    for sums, rows in ((malignant, positive), (benign, ~positive)):
        np.add.at(sums, member[rows], deviation[:, rows].T)
        sums /= max(1, rows.sum())
    patients = [np.unique(member[rows]).size for rows in (positive, ~positive, positive | ~positive)]
    if min(patients) < 2:
        return np.full((models, models), np.nan)
    of_malignant, of_benign, of_all = (count / (count - 1) for count in patients)
    cross = malignant.T @ benign
    covariance: Floats = (
        of_malignant * malignant.T @ malignant + of_benign * benign.T @ benign + of_all * (cross + cross.T)
    )
    return covariance


def _auc_difference(positive: Mask, probs: Floats, member: Integers, strata: list[Integers]) -> tuple[float, float]:
    """Return the AUC of probs[1] less that of probs[0], averaged over strata by rows, and its variance.

    The variance is that of the difference of placements: exactly 0 for equal rankings, unlike a sum of
    covariances.
    """
    difference = variance = 0.0
    for rows in strata:
        share = rows.size / max(1, positive.size)
        aucs, deviation = _placements(positive[rows], probs[:, rows])
        difference += share * float(aucs[1] - aucs[0])
        variance += share**2 * float(_covariance(positive[rows], np.diff(deviation, axis=0), member[rows])[0, 0])
    return difference, variance


def _two_sided(difference: float, variance: float) -> float:
    if variance > NO_SPREAD**2:
        return float(2 * norm.sf(abs(difference) / np.sqrt(variance)))
    return 1.0 if abs(difference) < NO_SPREAD and not np.isnan(variance) else np.nan


# --- comparison ---------------------------------------------------------------------------------------------


def paired_auc_test(
    label: ArrayLike,
    prob_a: ArrayLike,
    prob_b: ArrayLike,
    patient_id: ArrayLike,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    group: ArrayLike | None = None,
) -> PairedTest:
    """Compare two models' AUCs on the same rows: b - a, bootstrap limits by patient, DeLong p-value.

    label (n,) 0/1; prob_a, prob_b (n,) finite; patient_id (n,). group: (n,) folds, as in
    `clustered_intervals`; a patient lies in one group. The limits are percentiles of the difference when
    patients, with both models' scores, are resampled. The p-value is that of the z-test with Obuchowski's
    variance: it has no floor at 1/resamples and no Monte Carlo noise, so that it survives `holm`. Near
    significance the two may disagree by a hair. nan where not estimable; p is 1 for no difference at all.
    ValueError for wrong input.
    """
    positive = metrics.binary(label)
    probs = _score_table([prob_a, prob_b], positive.size)
    member, n_patients = _members(patient_id, positive.size)
    _check_resamples(resamples)
    _check_confidence(confidence)
    strata = _patient_strata(group, member, n_patients)
    rankings_a, rankings_b = ([_rank(positive, score, rows) for rows in strata] for score in probs)

    def values(weights: Weights) -> dict[str, Floats]:
        a, b = (
            _over_groups(_auc_of_counts, [_roc_counts(ranking, weights) for ranking in rankings])
            for rankings in (rankings_a, rankings_b)
        )
        return {"difference": b - a}

    draws = _bootstrap(values, member, n_patients, resamples, seed)
    low, high = _percentiles(draws["difference"], confidence)
    difference, variance = _auc_difference(positive, probs, member, strata)
    return PairedTest(difference, low, high, _two_sided(difference, variance), positive.size, n_patients)


def chosen_auc(
    label: ArrayLike,
    probs: ArrayLike,
    patient_id: ArrayLike,
    *,
    resamples: int,
    seed: int,
    group: ArrayLike | None = None,
) -> float:
    """Return the AUC to expect of the best of several models, when it was chosen on these very rows.

    probs: (models, n). The highest of many AUCs is partly the luckiest. So the best is chosen on each resample of
    the patients, and scored on the patients who were not drawn. Returned is the mean over the resamples that have
    both classes on both sides; nan where fewer than half have. group: (n,) folds, as in `clustered_intervals`.
    ValueError for wrong input.
    Tsamardinos, Greasidou & Borboudakis, Machine Learning 107, 1895-1922, 2018 (BBC-CV).
    """
    positive = metrics.binary(label)
    scores = _score_table(probs, positive.size)
    member, n_patients = _members(patient_id, positive.size)
    strata = _patient_strata(group, member, n_patients)
    rankings = [[_rank(positive, score, rows) for rows in strata] for score in scores]

    def aucs(weights: Weights) -> Floats:
        return np.stack(
            [_over_groups(_auc_of_counts, [_roc_counts(ranking, weights) for ranking in one]) for one in rankings]
        )

    def values(weights: Weights) -> dict[str, Floats]:
        drawn, others = aucs(weights), aucs((weights == 0).astype(np.int32))
        defined = np.isfinite(drawn).all(axis=0)
        best = np.argmax(np.where(defined, drawn, 0), axis=0)
        return {"auc": np.where(defined, others[best, np.arange(best.size)], np.nan)}

    draws = _bootstrap(values, member, n_patients, resamples, seed)["auc"]
    return float(np.nanmean(draws)) if np.isfinite(draws).mean() >= 0.5 else np.nan


def subset_auc_test(
    label: ArrayLike,
    prob: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    patient_id: ArrayLike,
    *,
    confidence: float = 0.95,
    group: ArrayLike | None = None,
) -> PairedTest:
    """Compare the AUCs of one score in two sets of rows that may share patients, even rows: b - a.

    label, a, b: (n,) 0/1, a and b saying which rows are in the set; prob: (n,) finite; patient_id: (n,). group:
    (n,) folds, as in `clustered_intervals`. The sets are not independent: the variance is Obuchowski's
    (Biometrics 1997) of each set less twice their covariance, in which a patient's rows in either set are
    summed first. Limits and p are of Student's t with the fewest patients of a class in a set, less one, as
    degrees of freedom: a variance learnt from few patients is itself uncertain. nan where a set lacks a class,
    has one from fewer than two patients (also in one of the groups that are used), or ranks all pairs alike.
    ValueError for wrong input.
    """
    positive = metrics.binary(label)
    sets = np.stack([metrics.binary(a, "a"), metrics.binary(b, "b")])
    if sets.shape[1] != positive.size:
        raise ValueError(f"a and b have {sets.shape[1]} rows but there are {positive.size} labels; give one per row")
    score = metrics.finite(prob, positive.size)
    _check_confidence(confidence)
    member, n_patients = _members(patient_id, positive.size)
    either = np.flatnonzero(sets.any(axis=0))
    # An empty set has no AUC, which a sum over no group would miss.
    aucs = np.where(sets.any(axis=1), 0.0, np.nan)
    covariance, freedom = np.zeros((2, 2)), np.zeros((2, 2))
    for used in (np.intersect1d(rows, either) for rows in _patient_strata(group, member, n_patients)):
        if not used.size:
            continue
        share = ratio(sets[:, used].sum(axis=1), sets.sum(axis=1))
        values, spread = _subset_delong(positive[used], score[used], sets[:, used], member[used])
        aucs += share * values
        covariance += np.outer(share, share) * spread
        freedom += _class_patients(positive[used], sets[:, used], member[used]) - 1
    if not np.all(np.diag(covariance) > NO_SPREAD**2):
        covariance = np.full((2, 2), np.nan)
    return PairedTest(
        *_student(float(aucs[1] - aucs[0]), covariance, float(freedom.min()), confidence),
        either.size,
        np.unique(member[either]).size,
    )


def _subset_delong(positive: Mask, score: Floats, sets: Mask, member: Integers) -> tuple[Floats, Floats]:
    """Return AUCs (sets,) and their covariance (sets, sets); sets: (sets, n)."""
    aucs, variances = np.full(len(sets), np.nan), np.full(len(sets), np.nan)
    deviation = np.zeros(sets.shape)
    for one, inside in enumerate(sets):
        aucs[one : one + 1], own = _placements(positive[inside], score[np.newaxis, inside])
        variances[one] = _covariance(positive[inside], own, member[inside])[0, 0]
        deviation[one, inside] = own[0]
        for rows in (positive, ~positive):
            # `_covariance` averages over all rows of a class; this set has only some of them.
            deviation[one, rows] *= rows.sum() / max(1, np.sum(rows & inside))
    covariance = _covariance(positive, deviation, member)
    # Of each set alone: its own, smaller number of patients corrects its variance.
    np.fill_diagonal(covariance, variances)
    return aucs, covariance


def _class_patients(positive: Mask, sets: Mask, member: Integers) -> Floats:
    """Return how many patients each class (column) of each set (row) comes from, (sets, 2)."""
    return np.array(
        [[np.unique(member[rows & inside]).size for rows in (positive, ~positive)] for inside in sets], np.float64
    )


def _student(
    difference: float, covariance: Floats, freedom: float, confidence: float
) -> tuple[float, float, float, float]:
    """Return difference, its limits and two-sided p; nan where the variance is 0 or unknown."""
    variance = float(covariance.trace() - covariance[0, 1] - covariance[1, 0])
    if not (variance > NO_SPREAD**2 and freedom >= 1):
        return difference, np.nan, np.nan, np.nan
    error = np.sqrt(variance)
    margin = float(t.ppf((1 + confidence) / 2, freedom) * error)
    p_value = float(2 * t.sf(abs(difference) / error, freedom))
    return difference, difference - margin, difference + margin, p_value


def holm(p_values: ArrayLike) -> Floats:
    """Return p-values (tests,) adjusted for the number of tests, so that the family-wise error holds.

    A test that was not estimable (nan) stays nan and does not count. ValueError for a p outside 0-1.
    Holm, Scand J Stat 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or np.any((p < 0) | (p > 1)):
        raise ValueError(f"p_values are {p_values!r}; expected one dimension of values from 0 to 1, or nan")
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.sum(~np.isnan(p))]
    stepped = p[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted
