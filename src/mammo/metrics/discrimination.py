"""The confusion matrix, sensitivity, specificity and AUC, which a training watches and every evaluation reports.

label (n,) 0/1, prob (n,), predicted_positive (n,) 0/1. What cannot be estimated is nan, without a warning; wrong
input raises a ValueError. Training depends on this module, and on no other metric.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

WATCH_THRESHOLD = 0.5  # to watch a training by; the operating point is chosen after it


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


def sensitivity(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the share of malignant rows predicted positive; nan without a malignant row."""
    return ratio(tp, tp + fn)


def specificity(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the share of benign rows predicted negative; nan without a benign row."""
    return ratio(tn, tn + fp)


def counts(label: ArrayLike, predicted_positive: ArrayLike, weights: ArrayLike | None = None) -> Counts:
    """Count the confusion matrix of 0/1 arrays (n,), as floats.

    weights: none for scalars, or (resamples, n) for arrays (resamples,). ValueError for a wrong value or
    shape.
    """
    positive, decision = binary(label), binary(predicted_positive, "predicted_positive")
    if decision.shape != positive.shape:
        raise ValueError(
            f"predicted_positive has {decision.size} rows but label has {positive.size}; give one decision per row"
        )
    cells = np.stack([positive & decision, ~positive & decision, ~positive & ~decision, positive & ~decision])
    if weights is None:
        return Counts(*cells.sum(axis=1).astype(np.float64))
    rows = np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != positive.size:
        raise ValueError(f"weights have shape {rows.shape}; expected (resamples, {positive.size})")
    return Counts(*(cells.astype(np.float64) @ rows.T))


def auc(label: ArrayLike, prob: ArrayLike) -> float:
    """Return the area under the ROC curve: P(malignant score > benign score), ties 1/2; nan when a class is missing.

    Mann & Whitney, Ann Math Stat 1947; Bamber, J Math Psychol 1975.
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    n_positive = int(positive.sum())
    n_negative = positive.size - n_positive
    rank_sum = float(rankdata(score)[positive].sum())
    return float(ratio(rank_sum - n_positive * (n_positive + 1) / 2, n_positive * n_negative))


def roc_points(label: ArrayLike, prob: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return (fpr, tpr, threshold), one point per distinct score, thresholds descending from inf.

    A point is the rates when prob >= threshold is predicted positive, at inf nothing; the rate of a missing class is
    nan throughout.
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan) != 0)
    tp = np.concatenate([[0], np.cumsum(positive[order])[last]])
    fp = np.concatenate([[0], 1 + last]) - tp
    threshold = np.concatenate([[np.inf], score[order][last]])
    return ratio(fp, np.sum(~positive)), ratio(tp, np.sum(positive)), threshold
