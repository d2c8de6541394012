"""Comparison of two recipes by their AUC, with the variance of retraining beside that of the patients.

A row that is the mean over k members, trained with other seeds on other patients, would come out otherwise if they were
trained again. A test on its scores alone knows only how it would come out on other patients.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from mammo.metrics.auc_tests import PairedTest, auc_difference, delong_interval
from mammo.metrics.discrimination import Floats
from mammo.metrics.resampling import NO_SPREAD, LabelledRows, check_confidence


def compare_recipes(
    rows: LabelledRows, members_a: ArrayLike, members_b: ArrayLike, confidence: float = 0.95
) -> PairedTest:
    """Compare the AUCs of two means over members on the same rows: b - a, with limits and a two-sided p-value.

    members_a, members_b: (members, n) probabilities, two or more members each. The variance is the sum of Obuchowski's
    for the two means (other patients) and of s^2 / k for each (other trainings), s being the SD of its members' AUCs on
    these rows. The limits and p are Student's t with the degrees of freedom of Satterthwaite (Biometrics Bulletin
    1946), the patients counting as many. nan where not estimable; ValueError for wrong input.
    """
    check_confidence(confidence)
    a, b = np.asarray(members_a, np.float64), np.asarray(members_b, np.float64)
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{len(a)} and {len(b)} members; the variance of retraining needs two or more of each")
    difference, of_patients = auc_difference(rows, np.stack([a.mean(axis=0), b.mean(axis=0)]))
    of_trainings = np.array([_variance_of_mean(rows, members) for members in (a, b)])
    variance = of_patients + of_trainings.sum()
    if not variance > NO_SPREAD**2:
        return PairedTest(difference, np.nan, np.nan, np.nan, rows.n, rows.n_patients)
    parts = np.array([of_patients, *of_trainings])
    freedom = variance**2 / np.sum(parts**2 / np.array([rows.n_patients - 1, len(a) - 1, len(b) - 1]))
    margin = float(t.ppf((1 + confidence) / 2, freedom) * np.sqrt(variance))
    p_value = float(2 * t.sf(abs(difference) / np.sqrt(variance), freedom))
    return PairedTest(difference, difference - margin, difference + margin, p_value, rows.n, rows.n_patients)


def _variance_of_mean(rows: LabelledRows, members: Floats) -> float:
    """Return the variance of the mean over members (k, n) that another training of all of them would have."""
    aucs = [delong_interval(rows, prob).value for prob in members]
    return float(np.var(aucs, ddof=1)) / len(members)
