"""Statistics in the form in which tests need them: on every resample at once, or without a bootstrap."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mammo.metrics import auc_tests, discrimination
from mammo.metrics.discrimination import Floats
from mammo.metrics.ranking import rank_strata, resampled_aucs
from mammo.metrics.resampling import LabelledRows, Resampling, Weights, resample_blocks


def patient_resamples(patient_id: ArrayLike, resamples: int, seed: int) -> Weights:
    """Return how often each row is drawn, (resamples, n), all blocks at once."""
    return np.concatenate(list(resample_blocks(patient_id, resamples, seed)))


def weighted_auc(label: ArrayLike, prob: ArrayLike, weights: Weights) -> Floats:
    """Return the AUC (resamples,) under each line of weights (resamples, n)."""
    rows = LabelledRows(label, None)
    return resampled_aucs(rank_strata(rows, discrimination.finite(prob, rows.n)), weights)


def delong(label: ArrayLike, probs: ArrayLike, patient_id: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Return AUCs (models,) and their covariance (models, models); without patient_id rows are independent."""
    rows = LabelledRows(label, patient_id)
    return auc_tests.delong_covariance(rows.positive, np.asarray(probs, np.float64), rows.patient)


def delong_p_value(label: ArrayLike, a: ArrayLike, b: ArrayLike, patient_id: ArrayLike | None = None) -> float:
    """Return the p-value of the paired test, which rests on no resample."""
    return auc_tests.paired_auc_test(LabelledRows(label, patient_id), a, b, Resampling(1, seed=0)).p_value
