"""Prediction sets: the order statistic by hand, coverage in simulation, and what is decided by counting."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.special import expit

from mammo.core.errors import InputError
from mammo.metrics import conformal
from mammo.metrics.resampling import LabelledRows, Resampling

CONFIDENCES = [0.8, 0.9, 0.95]


@pytest.fixture(autouse=True)
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def cohort(rng: np.random.Generator, n: int, distortion: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Return label and prob of n independent rows, the prob too extreme: coverage needs no calibration."""
    log_odds = 1.5 * rng.normal(size=n)
    return (rng.random(n) < expit(log_odds)).astype(int), expit(distortion * log_odds)


def by_definition(label: np.ndarray, prob: np.ndarray, asked: np.ndarray, confidence: float) -> np.ndarray:
    """Sets (n, 2) as in Angelopoulos & Bates, Found Trends Mach Learn 2023, section 1.1."""
    score = np.sort(np.where(label, 1 - prob, prob))
    quantile = score[int(np.ceil(round((label.size + 1) * confidence, 9))) - 1]
    return np.column_stack([asked <= quantile, 1 - asked <= quantile])


def described(label, sets, patient_id=None, level=0.9):
    patients = np.arange(len(label)) if patient_id is None else patient_id
    return conformal.measure_sets(LabelledRows(label, patients), np.asarray(sets, bool), level, Resampling(200, seed=0))


def test_sets_by_hand():
    # 1 - prob of the true class is .1, .2, .3, .4: of four rows the level .5 takes the third (ceil(5 x .5)), .3.
    (sets,) = conformal.fit([0, 1, 0, 1], [0.1, 0.8, 0.3, 0.6], [0.5])([0.2, 0.3, 0.5, 0.7, 1])
    assert_array_equal(sets[:, 0], [True, True, False, False, False])
    assert_array_equal(sets[:, 1], [False, False, False, True, True])


@pytest.mark.parametrize("n", [20, 37, 100, 399])
def test_sets_agree_with_the_definition(n):
    rng = np.random.default_rng(n)
    label, prob = cohort(rng, n)
    _, asked = cohort(rng, 500)
    for sets, confidence in zip(conformal.fit(label, prob, CONFIDENCES)(asked), CONFIDENCES, strict=True):
        assert_array_equal(sets, by_definition(label, prob, asked, confidence))


def test_coverage_is_at_least_nominal_and_not_by_much():
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(300):
        label, prob = cohort(rng, 150)
        test_label, test_prob = cohort(rng, 300)
        sets = conformal.fit(label, prob, CONFIDENCES)(test_prob)
        shares.append(sets[:, np.arange(300), test_label].mean(axis=1))
    # In expectation between the confidence c and c + 1/(n + 1), here with four standard errors of the simulation.
    error = 4 * np.std(shares, axis=0) / np.sqrt(300)
    assert np.all(np.mean(shares, axis=0) > np.array(CONFIDENCES) - error)
    assert np.all(np.mean(shares, axis=0) < np.array(CONFIDENCES) + 1 / 151 + error)


def test_sets_grow_with_confidence():
    rng = np.random.default_rng(2)
    sets = conformal.fit(*cohort(rng, 200), CONFIDENCES)(cohort(rng, 200)[1])
    assert np.all(sets[1:] >= sets[:-1])


def test_levels_come_in_the_order_they_were_asked_for():
    rng = np.random.default_rng(3)
    label, prob = cohort(rng, 50)
    together = conformal.fit(label, prob, [0.99, 0.9, 0.8])(prob)
    assert together[0].all()
    for sets, confidence in zip(together[1:], [0.9, 0.8], strict=True):
        assert_array_equal(sets, conformal.fit(label, prob, [confidence])(prob)[0])


@pytest.mark.parametrize("n", [2, 9, 19])
def test_too_few_validation_rows_refer_everything(n):
    label = np.arange(n) % 2
    sets = conformal.fit(label, np.linspace(0, 1, n), [0.96])([0, 0.5, 1])
    assert sets.shape == (1, 3, 2)
    assert sets.all()


@pytest.mark.parametrize(("confidence", "n"), [(0.9, 10), (0.95, 20), (0.99, 100), (0.8, 5)])
def test_every_number_of_rows_that_mapie_takes_is_used(confidence, n):
    label, prob = np.arange(n) % 2, np.where(np.arange(n) % 2, 0.9, 0.1)
    assert not conformal.fit(label, prob, [confidence])([0.1]).all()
    assert conformal.fit(label[:-1], prob[:-1], [confidence])([0.1]).all()


def test_what_is_decided_by_hand():
    # Sets: {benign} right, {malignant} right, {malignant} wrong, both, none.
    sets = [[1, 0], [0, 1], [0, 1], [1, 1], [0, 0]]
    result = described([0, 1, 0, 1, 0], sets)
    assert result.confidence == 0.9
    assert (result.coverage.value, result.coverage.n) == (3 / 5, 5)
    assert result.decided.value == 3 / 5
    assert (result.accuracy.value, result.accuracy.n) == (pytest.approx(2 / 3), 3)
    assert (result.sensitivity.value, result.specificity.value) == (1, 0.5)


def test_limits_are_by_patient():
    rng = np.random.default_rng(4)
    label, prob = cohort(rng, 200)
    (sets,) = conformal.fit(label, prob, [0.8])(prob)
    once = described(label, sets)
    fourfold = [np.repeat(each, 4, axis=0) for each in (label, sets, np.arange(200))]
    by_patient, by_row = described(*fourfold), described(*fourfold[:2])
    assert by_patient.coverage.n_patients == 200
    width, width_by_patient, width_by_row = (
        result.coverage.high - result.coverage.low for result in (once, by_patient, by_row)
    )
    assert width_by_patient == pytest.approx(width)
    assert width_by_row < 0.7 * width


def test_nothing_decided_is_not_estimable():
    result = described([0, 1, 1], np.ones((3, 2)))
    assert (result.coverage.value, result.decided.value, result.accuracy.n) == (1, 0, 0)
    assert np.isnan([result.accuracy.value, result.sensitivity.value, result.specificity.value]).all()
    assert 0 < result.coverage.low < result.coverage.high == 1


def test_one_class_on_test_has_no_specificity():
    result = described([1, 1], [[0, 1], [1, 0]])
    assert result.sensitivity.value == 0.5
    assert np.isnan(result.specificity.value)


def test_no_test_row_is_not_estimable():
    sets = conformal.fit([0, 1] * 10, np.linspace(0.1, 0.9, 20), [0.9])([])
    assert sets.shape == (1, 0, 2)
    assert np.isnan(described([], sets[0]).coverage.value)


@pytest.mark.parametrize("prob", [np.full(40, 0.3), np.tile([0.0, 1.0], 20), np.tile([1.0, 0.0], 20)])
def test_constant_and_certain_scores_cover(prob):
    label = np.arange(40) % 2
    for sets, confidence in zip(conformal.fit(label, prob, CONFIDENCES)(prob), CONFIDENCES, strict=True):
        assert sets[np.arange(40), label].mean() >= confidence


@pytest.mark.parametrize("label", [[0] * 20, [1] * 20, []])
def test_validation_of_one_class_is_refused(label):
    with pytest.raises(InputError, match="sets need both classes"):
        conformal.fit(label, np.full(len(label), 0.3), [0.9])


@pytest.mark.parametrize("confidences", [[], [0], [1], [0.9, 95], [np.nan]])
def test_a_confidence_outside_0_to_1_is_refused(confidences):
    with pytest.raises(InputError, match="confidences are"):
        conformal.fit([0, 1], [0.1, 0.9], confidences)


def test_other_wrong_input_is_refused():
    fitted = conformal.fit([0, 1] * 10, np.linspace(0.1, 0.9, 20), [0.9])
    with pytest.raises(ValueError, match="prob is 2"):
        fitted([2.0])
    with pytest.raises(ValueError, match="not finite"):
        fitted([np.nan])
    with pytest.raises(InputError, match=r"sets have shape \(2, 1\)"):
        described([0, 1], np.ones((2, 1)))
