"""Clinical metrics as plain functions on arrays: label (n,) 0/1, prob (n,), called (n,) 0/1.

A metric at a threshold is a function of the four counts and one entry of `AT_THRESHOLD`; a rule that chooses a
threshold is one entry of `THRESHOLD_RULES`; nothing else changes when one is added. What cannot be estimated is
nan, without a warning; input that is wrong raises a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Metric = Callable[[Floats, Floats, Floats, Floats], Floats]
Rule = Callable[[ArrayLike, ArrayLike, float], float]

MIN_SPECIFICITY = 0.8


class Counts(NamedTuple):
    """The confusion matrix; scalars, or arrays (resamples,)."""

    tp: Floats
    fp: Floats
    tn: Floats
    fn: Floats


def binary(values: ArrayLike, name: str = "label") -> Mask:
    """Return 0/1 values (n,) as booleans; ValueError for another shape or another value."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; expected one value per row, shape (n,)")
    valid = np.isin(array, (0, 1))
    if not valid.all():
        row = int(np.argmin(valid))
        raise ValueError(
            f"{name} holds {array[row]!r} at row {row}; only 0 and 1 are valid, so map classes to them first"
        )
    return array.astype(bool)


def finite(values: ArrayLike, n: int, name: str = "prob") -> Floats:
    """Return n finite scores as floats; ValueError for another length, NaN or infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n,):
        raise ValueError(f"{name} has shape {array.shape} but there are {n} labels; give one score per row")
    valid = np.isfinite(array)
    if not valid.all():
        raise ValueError(
            f"{name} is not finite in {np.sum(~valid)} of {n} rows (first: row {np.argmin(valid)}); "
            "predict these rows again or exclude them, with a reason, before evaluating"
        )
    return array


def ratio(numerator: Any, denominator: Any) -> Floats:
    """Divide with broadcasting; nan, without a warning, where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    result: Floats = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)[()]
    return result


def accuracy(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Share of rows called rightly."""
    return ratio(tp + tn, tp + fp + tn + fn)


def sensitivity(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Share of malignant rows that are called; nan without a malignant row."""
    return ratio(tp, tp + fn)


def specificity(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Share of benign rows that are not called; nan without a benign row."""
    return ratio(tn, tn + fp)


def ppv(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Share of called rows that are malignant, at the prevalence of the rows; nan when none is called."""
    return ratio(tp, tp + fp)


def npv(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Share of rows not called that are benign, at the prevalence of the rows; nan when all are called."""
    return ratio(tn, tn + fn)


def f1(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Harmonic mean of PPV and sensitivity; nan when no row is malignant and none is called."""
    return ratio(2 * tp, 2 * tp + fp + fn)


def balanced_accuracy(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Mean of sensitivity and specificity; nan when a class is missing."""
    return (sensitivity(tp, fp, tn, fn) + specificity(tp, fp, tn, fn)) / 2


def mcc(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Matthews correlation (Matthews, Biochim Biophys Acta 1975); nan when a margin of the table is empty."""
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return ratio(tp * tn - fp * fn, np.sqrt(margins))


def likelihood_ratio_positive(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Factor by which a call raises the odds of malignancy, sensitivity / (1 - specificity).

    nan when no benign row is called: the ratio has no upper bound then. Altman & Bland, BMJ 1994.
    """
    return ratio(sensitivity(tp, fp, tn, fn), ratio(fp, tn + fp))


def likelihood_ratio_negative(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Factor by which no call lowers the odds of malignancy, (1 - sensitivity) / specificity.

    nan when every benign row is called. Altman & Bland, BMJ 1994.
    """
    return ratio(ratio(fn, tp + fn), specificity(tp, fp, tn, fn))


def diagnostic_odds(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Odds of a call in malignant rows over those in benign rows; nan without a false call of either kind.

    Glas et al., J Clin Epidemiol 2003.
    """
    return ratio(tp * tn, fp * fn)


def ppv_at(prevalence: float) -> Metric:
    """Return the metric "PPV if this share (0-1, both excluded) of the rows were malignant", by Bayes' theorem.

    nan where a class is missing or no row is called. ValueError for another prevalence.
    """
    _check_prevalence(prevalence)

    def metric(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
        found = prevalence * ratio(tp, tp + fn)
        return ratio(found, found + (1 - prevalence) * ratio(fp, tn + fp))

    return metric


def npv_at(prevalence: float) -> Metric:
    """Return the metric "NPV if this share (0-1, both excluded) of the rows were malignant", by Bayes' theorem.

    nan where a class is missing or every row is called. ValueError for another prevalence.
    """
    _check_prevalence(prevalence)

    def metric(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
        cleared = (1 - prevalence) * ratio(tn, tn + fp)
        return ratio(cleared, cleared + prevalence * ratio(fn, tp + fn))

    return metric


def _check_prevalence(prevalence: float) -> None:
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence is {prevalence}; it must lie between 0 and 1, for example 0.006 in screening")


AT_THRESHOLD: dict[str, Metric] = {
    "accuracy": accuracy,
    "sensitivity": sensitivity,
    "specificity": specificity,
    "ppv": ppv,
    "npv": npv,
    "f1": f1,
    "balanced_accuracy": balanced_accuracy,
    "mcc": mcc,
    "likelihood_ratio_positive": likelihood_ratio_positive,
    "likelihood_ratio_negative": likelihood_ratio_negative,
    "diagnostic_odds": diagnostic_odds,
}


def counts(label: ArrayLike, called: ArrayLike, weights: ArrayLike | None = None) -> Counts:
    """Count the confusion matrix of 0/1 arrays (n,), as floats.

    weights: none for scalars, or (resamples, n) for arrays (resamples,). ValueError for a wrong value or
    shape.
    """
    positive, call = binary(label), binary(called, "called")
    if call.shape != positive.shape:
        raise ValueError(f"called has {call.size} rows but label has {positive.size}; give one call per row")
    cells = np.stack([positive & call, ~positive & call, ~positive & ~call, positive & ~call]).astype(np.float64)
    if weights is None:
        return Counts(*cells.sum(axis=1))
    rows = np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != positive.size:
        raise ValueError(f"weights have shape {rows.shape}; expected (resamples, {positive.size})")
    return Counts(*(cells @ rows.T))


def auc(label: ArrayLike, prob: ArrayLike) -> float:
    """Area under the ROC curve: P(malignant score > benign score), ties 1/2; nan when a class is missing.

    Mann & Whitney, Ann Math Stat 1947; Bamber, J Math Psychol 1975.
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    n_positive = int(positive.sum())
    n_negative = positive.size - n_positive
    rank_sum = float(rankdata(score)[positive].sum())
    return float(ratio(rank_sum - n_positive * (n_positive + 1) / 2, n_positive * n_negative))


def roc_points(label: ArrayLike, prob: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return (fpr, tpr, threshold), one point per distinct score, thresholds descending from inf (nothing is
    called).

    A point is the rates when prob >= threshold is called; the rate of a missing class is nan throughout.
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan) != 0)
    tp = np.concatenate([[0], np.cumsum(positive[order])[last]])
    fp = np.concatenate([[0], 1 + last]) - tp
    threshold = np.concatenate([[np.inf], score[order][last]])
    return ratio(fp, np.sum(~positive)), ratio(tp, np.sum(positive)), threshold


def partial_auc(label: ArrayLike, prob: ArrayLike, min_specificity: float = MIN_SPECIFICITY) -> float:
    """Area under the ROC curve where specificity >= min_specificity, standardised: .5 is chance, 1 perfect.

    nan when a class is missing; ValueError for a specificity outside 0 <= s < 1. McClish, Med Decis Making 1989.
    """
    limit = max_false_positive_rate(min_specificity)
    fpr, tpr, _ = roc_points(label, prob)
    if np.isnan(fpr).any() or np.isnan(tpr).any():
        return float("nan")
    inside = fpr <= limit
    rates = np.append(tpr[inside], np.interp(limit, fpr, tpr))
    return float(standardised(np.trapezoid(rates, np.append(fpr[inside], limit)), limit))


def max_false_positive_rate(min_specificity: float) -> float:
    """The width of the ROC curve that a partial AUC covers; ValueError for a specificity outside 0 <= s < 1."""
    if not 0 <= min_specificity < 1:
        raise ValueError(f"min_specificity is {min_specificity}; it must be at least 0 and below 1, usually 0.8")
    return 1 - min_specificity


def standardised(area: Any, max_fpr: float) -> Floats:
    """Rescale a partial area (any shape) so that the diagonal gives .5 and a perfect curve 1 (McClish 1989)."""
    chance = max_fpr**2 / 2
    scaled: Floats = (1 + (np.asarray(area, np.float64) - chance) / (max_fpr - chance)) / 2
    return scaled


def average_precision(label: ArrayLike, prob: ArrayLike) -> float:
    """Area under the precision-recall curve as the step sum of precision x gained recall; nan without a
    malignant row.

    The step sum does not interpolate, which would be too optimistic (Davis & Goadrich, ICML 2006).
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan) != 0)
    tp = np.cumsum(positive[order])[last]
    gained = np.diff(tp, prepend=0)
    return float(ratio(np.sum(gained * tp / (1 + last)), positive.sum()))


def brier(label: ArrayLike, prob: ArrayLike) -> float:
    """Mean squared distance of probability and label (Brier, Mon Weather Rev 1950); nan without rows.

    ValueError for a prob outside 0-1: such a score ranks, but is no probability.
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    outside = (score < 0) | (score > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"prob is {score[row]} at row {row}; the Brier score needs probabilities, 0-1: calibrate first"
        )
    return float(ratio(np.sum((score - positive) ** 2), positive.size))


def threshold_for_sensitivity(label: ArrayLike, prob: ArrayLike, target: float) -> float:
    """Return the highest threshold t at which calling prob >= t finds at least the target share (0-1] of
    malignant rows.

    label, prob: validation rows, never test rows. ValueError without a malignant row or for another target.
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    if not 0 < target <= 1:
        raise ValueError(f"target sensitivity is {target}; it must be above 0 and at most 1")
    n_positive = int(positive.sum())
    if n_positive == 0:
        raise ValueError(f"none of the {positive.size} rows is positive: sensitivity is undefined; check the split")
    # Compared as found/all, not as ceil(target * all): .07 * 100 is above 7 in floating point.
    reached = np.arange(1, n_positive + 1) / n_positive >= target
    return float(np.sort(score[positive])[::-1][np.argmax(reached)])


def threshold_for_specificity(label: ArrayLike, prob: ArrayLike, target: float) -> float:
    """Return the lowest threshold t at which calling prob >= t spares at least the target share (0-1] of benign
    rows.

    It lies just above a benign score, for the highest of 1.0 just above 1. label, prob: validation rows, never
    test rows. ValueError without a benign row or for another target.
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    if not 0 < target <= 1:
        raise ValueError(f"target specificity is {target}; it must be above 0 and at most 1")
    n_negative = int(np.sum(~positive))
    if n_negative == 0:
        raise ValueError(f"all {positive.size} rows are positive: specificity is undefined; check the split")
    reached = np.arange(1, n_negative + 1) / n_negative >= target
    return float(np.nextafter(np.sort(score[~positive])[np.argmax(reached)], np.inf))


def threshold_youden(label: ArrayLike, prob: ArrayLike) -> float:
    """Return the threshold of largest sensitivity + specificity - 1 (Youden, Cancer 1950); of equals the
    highest.

    label, prob: validation rows, never test rows. ValueError when a class is missing.
    """
    tp, fp, threshold = _finite_points(label, prob)
    # J times both class sizes, in whole numbers: rounding would decide between equal J.
    return float(threshold[np.argmax(tp * fp[-1] - fp * tp[-1])])


def threshold_for_cost(label: ArrayLike, prob: ArrayLike, cost_ratio: float) -> float:
    """Return the threshold of least cost when a missed malignant row costs cost_ratio (> 0) false calls.

    The cost is that of the rows as they are, so at their prevalence; of equals the highest threshold. label,
    prob: validation rows, never test rows. ValueError when a class is missing or for another ratio.
    Metz, Semin Nucl Med 1978.
    """
    if not 0 < cost_ratio < np.inf:
        raise ValueError(f"cost ratio is {cost_ratio}; it must be above 0: the cost of a miss in false calls")
    tp, fp, threshold = _finite_points(label, prob)
    return float(threshold[np.argmin(cost_ratio * (tp[-1] - tp) + fp)])


def _finite_points(label: ArrayLike, prob: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return true positives, false positives, threshold of `roc_points`, without the first, which calls nothing: its
    infinite threshold would be no operating point. ValueError when a class is missing."""
    positive = binary(label)
    if positive.all() or not positive.any():
        raise ValueError(
            f"{positive.sum()} of {positive.size} rows are positive; the rule needs both classes: check the split"
        )
    fpr, tpr, threshold = roc_points(label, prob)
    return np.rint(tpr * positive.sum())[1:], np.rint(fpr * np.sum(~positive))[1:], threshold[1:]


# value: the target share, or the cost of a miss in false calls; youden has none and ignores it.
THRESHOLD_RULES: dict[str, Rule] = {
    "target_sensitivity": threshold_for_sensitivity,
    "target_specificity": threshold_for_specificity,
    "youden": lambda label, prob, value: threshold_youden(label, prob),
    "cost_ratio": threshold_for_cost,
}
