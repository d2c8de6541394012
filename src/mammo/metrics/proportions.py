"""Limits of a proportion of rows that share patients: sensitivity, specificity, accuracy, PPV, NPV.

Percentiles over resampled patients are too narrow here: near 1 the proportion's distribution is skewed, and few
patients show little of its tail. At 60 patients they hold the truth in 88.7 % of simulations, not 95 %.
"""

import numpy as np
from scipy.special import expit, logit
from scipy.stats import t as student

from mammo.metrics.discrimination import Floats, Mask
from mammo.metrics.resampling import NO_SPREAD, Integers


def clustered_limits(success: Mask, patient: Integers, confidence: float) -> tuple[float, float]:
    """Return the limits of the share of successes (n,) among rows of patients (n,), numbers from 0.

    On the logit scale, with the variance of residuals summed per patient (the linearised ratio: Cochran, Sampling
    Techniques, 1977; Liang & Zeger, Biometrika 1986), times G/(G - 1), and Student's t of G - 1 degrees of freedom for
    G patients (Korn & Graubard, Analysis of Health Surveys, 1999). A share of exactly 0 or 1 has no such variance:
    its limits are exact binomial ones, its patients being the trials. nan for fewer than two patients, except there,
    and where all patients agree in a share between.
    """
    if not success.size:
        return np.nan, np.nan
    share, member = float(success.mean()), np.unique(patient, return_inverse=True)[1]
    n_patients = int(member.max()) + 1
    if share in (0, 1):
        return exact_limits(share, n_patients, confidence)
    residuals = np.bincount(member, success - share).astype(np.float64)
    variance = _variance(residuals, success.size)
    if n_patients < 2 or variance <= NO_SPREAD**2:
        return np.nan, np.nan
    margin = student.ppf((1 + confidence) / 2, n_patients - 1) * np.sqrt(variance) / (share * (1 - share))
    return float(expit(logit(share) - margin)), float(expit(logit(share) + margin))


def _variance(residuals: Floats, n: int) -> float:
    """Return the variance of a share of n rows from the residuals summed per patient (patients,)."""
    patients = residuals.size
    return float(residuals @ residuals) * patients / max(1, patients - 1) / n**2


def exact_limits(share: float, trials: int, confidence: float) -> tuple[float, float]:
    """Return the limits of a share of 0 or 1 of independent trials (Clopper & Pearson, Biometrika 1934)."""
    margin = float(((1 - confidence) / 2) ** (1 / trials))
    return (margin, 1.0) if share == 1 else (0.0, 1 - margin)
