"""Limits of proportions of patients' rows: by hand, at 0 and 1, and their coverage for few patients."""

import numpy as np
import pytest
from scipy.special import logit

from mammo.metrics import bootstrap, proportions
from mammo.metrics.resampling import LabelledRows, Resampling

COVERED = (0.93, 0.985)


def test_limits_by_hand():
    # Patient 0: 2 of 2, patient 1: 1 of 2, patient 2: 0 of 1; share .6, residuals .8, -.2, -.6.
    success, patient = np.array([1, 1, 1, 0, 0], bool), np.array([0, 0, 1, 1, 2])
    low, high = proportions.clustered_limits(success, patient, 0.95)
    error = np.sqrt((0.8**2 + 0.2**2 + 0.6**2) * 3 / 2 / 25) / 0.24
    margin = 4.302653 * error  # Student's t, 2 degrees of freedom
    np.testing.assert_allclose(logit([low, high]), [np.log(1.5) - margin, np.log(1.5) + margin], rtol=1e-5)


def test_a_copied_row_of_the_same_patient_moves_no_limit():
    success, patient = np.array([1, 1, 0, 1, 0, 1], bool), np.arange(6)
    once = proportions.clustered_limits(success, patient, 0.95)
    np.testing.assert_allclose(proportions.clustered_limits(np.repeat(success, 3), np.repeat(patient, 3), 0.95), once)


def test_0_and_1_have_exact_limits_by_patient():
    patient = np.array([0, 0, 1, 2])
    assert proportions.clustered_limits(np.ones(4, bool), patient, 0.95) == (pytest.approx(0.025 ** (1 / 3)), 1.0)
    assert proportions.clustered_limits(np.zeros(4, bool), patient, 0.95) == (0.0, pytest.approx(1 - 0.025 ** (1 / 3)))


def test_certainty_is_never_claimed():
    halves = np.array([1, 0, 1, 0], bool)
    assert np.isnan(proportions.clustered_limits(halves, np.array([0, 0, 1, 1]), 0.95)).all()
    assert np.isnan(proportions.clustered_limits(halves[:2], np.array([0, 0]), 0.95)).all()
    assert np.isnan(proportions.clustered_limits(np.zeros(0, bool), np.zeros(0, int), 0.95)).all()


def draw(rng: np.random.Generator, patients: int, share: float, alike: float) -> tuple[np.ndarray, np.ndarray]:
    """Return successes and patients of 1 to 4 rows each; alike: the correlation of a patient's rows."""
    patient = np.repeat(np.arange(patients), rng.choice([1, 2, 3, 4], p=[0.4, 0.4, 0.1, 0.1], size=patients))
    scale = (1 - alike) / alike
    of_patient = rng.beta(share * scale, (1 - share) * scale, size=patients)
    return rng.random(patient.size) < of_patient[patient], patient


@pytest.mark.parametrize("patients", [30, 60])
@pytest.mark.parametrize("share", [0.8, 0.9])
@pytest.mark.parametrize("alike", [0.1, 0.6])
def test_limits_cover_the_truth_for_few_patients(patients, share, alike):
    """In 600 simulations the coverage of 95 % limits has a standard error of .9 %."""
    rng = np.random.default_rng(5)
    limits = np.array([proportions.clustered_limits(*draw(rng, patients, share, alike), 0.95) for _ in range(600)])
    coverage = np.mean((limits[:, 0] <= share) & (share <= limits[:, 1]))
    assert COVERED[0] <= coverage <= COVERED[1], coverage


def test_every_proportion_of_the_tables_has_these_limits():
    rng = np.random.default_rng(3)
    patient = np.repeat(np.arange(40), 2)
    label, decision = rng.integers(0, 2, 80), rng.integers(0, 2, 80)
    found = bootstrap.decision_intervals(LabelledRows(label, patient), decision, Resampling(100, 1))
    chosen = {
        "sensitivity": label == 1,
        "specificity": label == 0,
        "ppv": decision == 1,
        "npv": decision == 0,
        "accuracy": label >= 0,
    }
    for name, rows in chosen.items():
        expected = proportions.clustered_limits((label == decision)[rows], patient[rows], 0.95)
        assert (found[name].low, found[name].high) == expected
        assert found[name].value == pytest.approx((label == decision)[rows].mean())
