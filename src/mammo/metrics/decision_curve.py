"""Decision curves: the net benefit of acting on a model, in true positives per row, at each threshold probability.

thresholds: (m,), from 0 and below 1: the risk at which one would just act, which fixes how many false positives
one true positive is worth. Results are (m,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mammo.core.errors import InputError
from mammo.metrics import calibration, discrimination
from mammo.metrics.discrimination import Floats, ratio


def net_benefit(label: ArrayLike, prob: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Return TP/n - FP/n x threshold/(1 - threshold), acting on prob >= threshold (Vickers & Elkin, MDM 2006).

    label: (n,) 0/1; prob: (n,) 0-1. The threshold is compared with prob as a risk, so calibrate first; the value
    is at the prevalence of the rows, which is far higher in a curated set than in screening. Defined with one
    class too; nan without rows. ValueError for wrong input.
    """
    positive, score = calibration.labelled(label, prob)
    odds = _odds(thresholds)
    malignant, benign = (_count_positive(score[rows], thresholds) for rows in (positive, ~positive))
    return ratio(malignant - benign * odds, positive.size)


def treat_all(label: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Return the net benefit of acting on every row; nan without rows."""
    positive = discrimination.binary(label)
    return ratio(positive.sum() - np.sum(~positive) * _odds(thresholds), positive.size)


def treat_none(thresholds: ArrayLike) -> Floats:
    """Return the net benefit of acting on no row: 0, the reference of the others."""
    return np.zeros_like(_odds(thresholds))


def _odds(thresholds: ArrayLike) -> Floats:
    threshold = np.asarray(thresholds, dtype=np.float64)
    if threshold.ndim != 1:
        raise InputError(f"thresholds have shape {threshold.shape}; expected one dimension, (m,)")
    valid = (threshold >= 0) & (threshold < 1)
    if not valid.all():
        raise InputError(
            f"thresholds hold {threshold[np.argmin(valid)]}; a threshold probability is from 0 and below 1: at 1 no "
            "false positive is worth any finding"
        )
    return threshold / (1 - threshold)


def _count_positive(score: Floats, thresholds: ArrayLike) -> Floats:
    """Return how many of the scores (n,) are at or above each threshold (m,)."""
    return (score.size - np.searchsorted(np.sort(score), thresholds, side="left")).astype(np.float64)
