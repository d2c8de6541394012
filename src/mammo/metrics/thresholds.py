"""Rules that choose an operating point from labels (n,) and probabilities (n,); one entry of THRESHOLD_RULES each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from mammo.metrics.discrimination import Floats, binary, finite, roc_points

Rule = Callable[[ArrayLike, ArrayLike, float], float]


def threshold_for_sensitivity(label: ArrayLike, prob: ArrayLike, target: float) -> float:
    """Return the highest threshold t at which prob >= t holds for at least the target share (0-1] of malignant rows.

    label, prob: validation rows, never test rows. ValueError without a malignant row or for another target.
    """
    positive = binary(label)
    score = finite(prob, positive.size)
    if not 0 < target <= 1:
        raise ValueError(f"target sensitivity is {target}; it must be above 0 and at most 1")
    n_positive = int(positive.sum())
    if n_positive == 0:
        raise ValueError(f"none of the {positive.size} rows is positive: sensitivity is undefined; check the split")
    # Compared as count / all, not as ceil(target * all): .07 * 100 is above 7 in floating point.
    reached = np.arange(1, n_positive + 1) / n_positive >= target
    return float(np.sort(score[positive])[::-1][np.argmax(reached)])


def threshold_for_specificity(label: ArrayLike, prob: ArrayLike, target: float) -> float:
    """Return the lowest threshold t at which prob < t holds for at least the target share (0-1] of benign rows.

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
    """Return the threshold of least cost when a missed malignant row costs as much as cost_ratio (> 0) false positives.

    The cost is that of the rows as they are, so at their prevalence; of equals the highest threshold. label,
    prob: validation rows, never test rows. ValueError when a class is missing or for another ratio.
    Metz, Semin Nucl Med 1978.
    """
    if not 0 < cost_ratio < np.inf:
        raise ValueError(f"cost ratio is {cost_ratio}; it must be above 0: the cost of a miss in false positives")
    tp, fp, threshold = _finite_points(label, prob)
    return float(threshold[np.argmin(cost_ratio * (tp[-1] - tp) + fp)])


def _finite_points(label: ArrayLike, prob: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return true positives, false positives and threshold of `roc_points` without its first, infinite threshold.

    ValueError when a class is missing.
    """
    positive = binary(label)
    if positive.all() or not positive.any():
        raise ValueError(
            f"{positive.sum()} of {positive.size} rows are positive; the rule needs both classes: check the split"
        )
    fpr, tpr, threshold = roc_points(label, prob)
    return np.rint(tpr * positive.sum())[1:], np.rint(fpr * np.sum(~positive))[1:], threshold[1:]


READER_CUT = "reader_cut"  # not in params.yaml: a rule for continuous scores says nothing about six ranks

# value: the target share, or the cost of a miss in false positives; youden has none and ignores it. The reader's cut is
# the value itself: nothing is chosen.
THRESHOLD_RULES: dict[str, Rule] = {
    "target_sensitivity": threshold_for_sensitivity,
    "target_specificity": threshold_for_specificity,
    "youden": lambda label, prob, value: threshold_youden(label, prob),
    "cost_ratio": threshold_for_cost,
    READER_CUT: lambda label, prob, value: value,
}
