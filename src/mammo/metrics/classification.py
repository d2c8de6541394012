"""Clinical metrics as plain functions of the four counts of a confusion matrix, or of label (n,) 0/1 and prob (n,).

A metric at a threshold is a function of the four counts and one entry of `AT_THRESHOLD`; nothing else changes when
one is added. What cannot be estimated is nan, without a warning; wrong input raises a ValueError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mammo.metrics.discrimination import Floats, binary, finite, ratio, roc_points, sensitivity, specificity

Metric = Callable[[Floats, Floats, Floats, Floats], Floats]

MIN_SPECIFICITY = 0.8


def accuracy(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the share of rows decided correctly."""
    return ratio(tp + tn, tp + fp + tn + fn)


def ppv(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the share of malignant rows among the predicted positive; nan when there are none.

    At the prevalence of the rows.
    """
    return ratio(tp, tp + fp)


def npv(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the share of benign rows among the predicted negative; nan when there are none.

    At the prevalence of the rows.
    """
    return ratio(tn, tn + fn)


def f1(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the harmonic mean of PPV and sensitivity; nan when no row is malignant or predicted positive."""
    return ratio(2 * tp, 2 * tp + fp + fn)


def balanced_accuracy(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the mean of sensitivity and specificity; nan when a class is missing."""
    return (sensitivity(tp, fp, tn, fn) + specificity(tp, fp, tn, fn)) / 2


def mcc(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return Matthews' correlation (Biochim Biophys Acta 1975); nan when a margin of the table is empty."""
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return ratio(tp * tn - fp * fn, np.sqrt(margins))


def likelihood_ratio_positive(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the factor by which a positive decision raises the odds of malignancy: sensitivity / (1 - specificity).

    nan when no benign row is predicted positive: the ratio has no upper bound then. Altman & Bland, BMJ 1994.
    """
    return ratio(sensitivity(tp, fp, tn, fn), ratio(fp, tn + fp))


def likelihood_ratio_negative(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the factor by which a negative decision lowers the odds of malignancy: (1 - sensitivity) / specificity.

    nan when every benign row is predicted positive. Altman & Bland, BMJ 1994.
    """
    return ratio(ratio(fn, tp + fn), specificity(tp, fp, tn, fn))


def diagnostic_odds(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
    """Return the odds of a positive decision in malignant over benign rows; nan without an error of either kind.

    Glas et al., J Clin Epidemiol 2003.
    """
    return ratio(tp * tn, fp * fn)


def ppv_at(prevalence: float) -> Metric:
    """Return the metric "PPV if this share (0-1, both excluded) of the rows were malignant", by Bayes' theorem.

    nan where a class is missing or no row is predicted positive. ValueError for another prevalence.
    """
    _check_prevalence(prevalence)

    def metric(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
        true_positive = prevalence * ratio(tp, tp + fn)
        return ratio(true_positive, true_positive + (1 - prevalence) * ratio(fp, tn + fp))

    return metric


def npv_at(prevalence: float) -> Metric:
    """Return the metric "NPV if this share (0-1, both excluded) of the rows were malignant", by Bayes' theorem.

    nan where a class is missing or every row is predicted positive. ValueError for another prevalence.
    """
    _check_prevalence(prevalence)

    def metric(tp: Floats, fp: Floats, tn: Floats, fn: Floats) -> Floats:
        true_negative = (1 - prevalence) * ratio(tn, tn + fp)
        return ratio(true_negative, true_negative + prevalence * ratio(fn, tp + fn))

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


def partial_auc(label: ArrayLike, prob: ArrayLike, min_specificity: float = MIN_SPECIFICITY) -> float:
    """Return the area under the ROC curve where specificity >= min_specificity, standardised: .5 is chance, 1 perfect.

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
    """Return the width of the ROC curve that a partial AUC covers; ValueError for a specificity outside 0 <= s < 1."""
    if not 0 <= min_specificity < 1:
        raise ValueError(f"min_specificity is {min_specificity}; it must be at least 0 and below 1, usually 0.8")
    return 1 - min_specificity


def standardised(area: Any, max_fpr: float) -> Floats:
    """Rescale a partial area (any shape) so that the diagonal gives .5 and a perfect curve 1 (McClish 1989)."""
    chance = max_fpr**2 / 2
    scaled: Floats = (1 + (np.asarray(area, np.float64) - chance) / (max_fpr - chance)) / 2
    return scaled


def average_precision(label: ArrayLike, prob: ArrayLike) -> float:
    """Return the area under the precision-recall curve; nan without a malignant row.

    The step sum of precision x gained recall does not interpolate, which would be too optimistic (Davis &
    Goadrich, ICML 2006).
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan) != 0)
    tp = np.cumsum(positive[order])[last]
    gained = np.diff(tp, prepend=0)
    return float(ratio(np.sum(gained * tp / (1 + last)), positive.sum()))


def brier(label: ArrayLike, prob: ArrayLike) -> float:
    """Return the mean squared distance of probability and label (Brier, Mon Weather Rev 1950); nan without rows.

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
