"""Clinical metrics as plain functions on arrays: label (n,) 0/1, prob (n,), called (n,) 0/1.

A metric at a threshold is a function of the four counts and one entry of `AT_THRESHOLD`; nothing else changes
when one is added. What cannot be estimated is nan, without a warning; input that is wrong raises a
ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


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


AT_THRESHOLD: dict[str, Callable[[Floats, Floats, Floats, Floats], Floats]] = {
    "accuracy": accuracy,
    "sensitivity": sensitivity,
    "specificity": specificity,
    "ppv": ppv,
    "npv": npv,
    "f1": f1,
    "balanced_accuracy": balanced_accuracy,
    "mcc": mcc,
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


def threshold_youden(label: ArrayLike, prob: ArrayLike) -> float:
    """Return the threshold of largest sensitivity + specificity - 1 (Youden, Cancer 1950); of equals the
    highest.

    label, prob: validation rows, never test rows. ValueError when a class is missing.
    """
    positive = binary(label)
    if positive.all() or not positive.any():
        raise ValueError(
            f"{positive.sum()} of {positive.size} rows are positive; J needs both classes: check the split"
        )
    fpr, tpr, threshold = roc_points(label, prob)
    # The first point calls nothing; its infinite threshold would be no operating point.
    return float(threshold[1:][np.argmax((tpr - fpr)[1:])])
