"""Calibration: by hand on a few rows, against scikit-learn and scipy, and against the truth in simulation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from scipy.stats import binomtest, norm
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from mammo.core.errors import InputError
from mammo.metrics import calibration, classification, discrimination
from tests.examples import examples

# Two bins of two rows: predicted .15 and .7, observed 1/2 and 1/2.
LABEL = np.array([0, 1, 0, 1])
PROB = np.array([0.1, 0.2, 0.6, 0.8])

RANKING = ["temperature", "platt"]
FITTED = [*RANKING, "isotonic"]

rows_with_ties = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=1, max_size=60)


@pytest.fixture(autouse=True)
def no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def calibrated(n: int, seed: int, spread: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Return label and prob of n independent rows whose prob is true."""
    rng = np.random.default_rng(seed)
    prob = expit(spread * rng.normal(size=n) - 0.3)
    return (rng.random(n) < prob).astype(int), prob


def calibrated_patients(rng: np.random.Generator, patients: int) -> tuple[np.ndarray, ...]:
    """Return label, prob, patient_id: each prob is true, and the rows of a patient share it and most of their luck."""
    patient_id = np.repeat(np.arange(patients), rng.integers(1, 8, size=patients))
    prob = expit(1.5 * rng.normal(size=patients))[patient_id]
    luck = np.sqrt(0.9) * rng.normal(size=patients)[patient_id] + np.sqrt(0.1) * rng.normal(size=patient_id.size)
    return (norm.cdf(luck) < prob).astype(int), prob, patient_id


# --- reliability --------------------------------------------------------------------------------------------


def test_curve_by_hand():
    curve = calibration.reliability_curve(LABEL, PROB, bins=2)
    assert_allclose(curve.mean_prob, [0.15, 0.7])
    assert_allclose(curve.share, [0.5, 0.5])
    assert_array_equal(curve.n, [2, 2])
    assert calibration.expected_calibration_error(LABEL, PROB, bins=2) == pytest.approx((0.35 + 0.2) / 2)


def test_curve_agrees_with_sklearn():
    label, prob = calibrated(1000, seed=1)
    curve = calibration.reliability_curve(label, prob, bins=10)
    share, mean_prob = calibration_curve(label, prob, n_bins=10, strategy="quantile")
    assert_allclose(curve.share, share)
    assert_allclose(curve.mean_prob, mean_prob)
    assert_array_equal(curve.n, 100)


def test_limits_agree_with_scipy():
    label, prob = calibrated(101, seed=2)
    curve = calibration.reliability_curve(label, prob, bins=7, confidence=0.9)
    for share, n, low, high in zip(curve.share, curve.n, curve.low, curve.high, strict=True):
        limits = binomtest(round(share * n), int(n)).proportion_ci(0.9, method="wilson")
        assert_allclose((low, high), limits, atol=1e-12)


@given(rows_with_ties, st.integers(1, 12), st.randoms(use_true_random=False))
@examples(100)
def test_bins_depend_on_neither_ties_nor_the_order_of_rows(rows, bins, random):
    shuffled = random.sample(rows, len(rows))
    curves = [
        calibration.reliability_curve(label, prob / 20, bins=bins)
        for label, prob in (np.array(order).T for order in (rows, shuffled))
    ]
    for name in ("mean_prob", "share", "low", "high", "n"):
        assert_allclose(*(getattr(curve, name) for curve in curves), atol=1e-12)
    assert curves[0].n.sum() == len(rows)
    assert curves[0].n.size <= bins
    assert np.all(np.diff(curves[0].mean_prob) > 0)


def test_bins_of_distinct_scores_are_equal_to_one_row():
    label, prob = calibrated(97, seed=3)
    assert set(calibration.reliability_curve(label, prob, bins=10).n) == {9, 10}


def test_rows_of_one_patient_do_not_narrow_the_limits():
    label, prob = calibrated(200, seed=4)
    patient_id = np.arange(200)
    once = calibration.reliability_curve(label, prob, patient_id, bins=5)
    thrice = [np.repeat(each, 3) for each in (label, prob, patient_id)]
    by_patient, by_row = (calibration.reliability_curve(*parameters, bins=5) for parameters in (thrice, thrice[:2]))
    assert_allclose(by_patient.low, once.low)
    assert_allclose(by_patient.high, once.high)
    assert np.all(by_row.high - by_row.low < once.high - once.low)


# --- Brier --------------------------------------------------------------------------------------------------


def test_decomposition_by_hand():
    parts = calibration.brier_decomposition(LABEL, PROB, bins=2)
    assert parts.brier == pytest.approx((0.01 + 0.64 + 0.36 + 0.04) / 4)
    assert parts.reliability == pytest.approx((0.35**2 + 0.2**2) / 2)
    assert parts.uncertainty == pytest.approx(0.25)
    # Variances .0025 and .01, covariances with the label .025 and .05; no bin differs in its share.
    assert parts.within_bins == pytest.approx((0.0025 + 0.01) / 2 - 2 * (0.025 + 0.05) / 2)
    assert parts.resolution == pytest.approx(-parts.within_bins)


@given(rows_with_ties, st.integers(1, 12))
@examples(200)
def test_decomposition_adds_up_at_any_binning(rows, bins):
    label, prob = np.array(rows).T
    parts = calibration.brier_decomposition(label, prob / 20, bins=bins)
    assert parts.brier == pytest.approx(brier_score_loss(label, prob / 20, pos_label=1), abs=1e-12)
    assert parts.reliability - parts.resolution + parts.uncertainty == pytest.approx(parts.brier, abs=1e-12)


def test_decomposition_of_few_distinct_values_is_murphys():
    rng = np.random.default_rng(5)
    prob = rng.choice([0.1, 0.4, 0.9], size=300)
    label = (rng.random(300) < prob).astype(int)
    parts = calibration.brier_decomposition(label, prob, bins=300)
    assert parts.within_bins == pytest.approx(0, abs=1e-12)
    share = {value: label[prob == value].mean() for value in np.unique(prob)}
    assert parts.reliability == pytest.approx(np.mean([(value - share[value]) ** 2 for value in prob]))
    assert parts.resolution == pytest.approx(np.mean([(share[value] - label.mean()) ** 2 for value in prob]))


# --- slope and intercept ------------------------------------------------------------------------------------


def test_slope_agrees_with_sklearn_and_intercept_solves_its_equation():
    label, prob = calibrated(400, seed=6)
    distorted = expit(2 * logit(prob) + 0.5)
    line = calibration.slope_and_intercept(label, distorted)
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logit(distorted)[:, None], label)
    assert line.slope.value == pytest.approx(reference.coef_[0, 0], rel=1e-6)
    assert expit(logit(distorted) + line.intercept.value).sum() == pytest.approx(label.sum())


def test_intercept_of_one_value_by_hand():
    # One malignant row in four, called .5: the odds are to be divided by 3. Its variance with independent rows is
    # sum(residual^2) / information^2 = .75 / .75^2, and 4/3 of it for four patients.
    line = calibration.slope_and_intercept([1, 0, 0, 0], [0.5] * 4)
    assert line.intercept.value == pytest.approx(-np.log(3))
    assert line.intercept.high - line.intercept.value == pytest.approx(3.182446 * np.sqrt(4 / 3 / 0.75), rel=1e-6)
    assert np.isnan(line.slope.value)


def test_true_probabilities_have_slope_1_and_intercept_0():
    line = calibration.slope_and_intercept(*calibrated(50_000, seed=7))
    assert line.slope.value == pytest.approx(1, abs=0.05)
    assert line.intercept.value == pytest.approx(0, abs=0.05)
    assert line.slope.low < 1 < line.slope.high
    assert line.intercept.low < 0 < line.intercept.high


@pytest.mark.parametrize(("scale", "shift"), [(2, 0), (0.5, 0), (1, 0.7)])
def test_a_known_distortion_is_found(scale, shift):
    label, prob = calibrated(50_000, seed=8)
    line = calibration.slope_and_intercept(label, expit(scale * logit(prob) + shift))
    assert line.slope.value == pytest.approx(1 / scale, abs=0.05)
    if scale == 1:
        assert line.intercept.value == pytest.approx(-shift, abs=0.05)


def test_clustered_limits_cover_the_truth_where_naive_ones_do_not():
    """In 200 simulations the coverage of 95 % limits has a standard error of 1.5 %; 90-100 % is 3.2 of them."""
    rng = np.random.default_rng(9)
    simulations = 200
    covered = {"slope": 0, "intercept": 0}
    naively = dict(covered)
    for _ in range(simulations):
        label, prob, patient_id = calibrated_patients(rng, patients=100)
        for counts, cluster in ((covered, patient_id), (naively, None)):
            line = calibration.slope_and_intercept(label, prob, cluster)
            counts["slope"] += line.slope.low < 1 < line.slope.high
            counts["intercept"] += line.intercept.low < 0 < line.intercept.high
    for name in covered:
        assert 0.9 < covered[name] / simulations < 1
        assert naively[name] / simulations < 0.85


def test_limits_are_those_of_independent_rows_when_each_patient_has_one():
    label, prob = calibrated(100, seed=10)
    by_row = calibration.slope_and_intercept(label, prob)
    by_patient = calibration.slope_and_intercept(label, prob, [f"P_{row}" for row in range(100)])
    for first, two in ((by_row.slope, by_patient.slope), (by_row.intercept, by_patient.intercept)):
        assert_allclose((first.value, first.low, first.high), (two.value, two.low, two.high), rtol=1e-8)


def test_repeating_every_row_within_its_patient_changes_no_limit():
    label, prob = calibrated(100, seed=11)
    once = calibration.slope_and_intercept(label, prob, np.arange(100))
    twice = calibration.slope_and_intercept(np.tile(label, 2), np.tile(prob, 2), np.tile(np.arange(100), 2))
    for first, two in ((once.slope, twice.slope), (once.intercept, twice.intercept)):
        assert_allclose((first.value, first.low, first.high), (two.value, two.low, two.high), rtol=1e-8)
    assert (twice.slope.n, twice.slope.n_patients) == (200, 100)


@pytest.mark.parametrize(
    ("label", "prob"),
    [
        ([], []),
        ([1, 1, 1], [0.2, 0.5, 0.7]),
        ([0, 1, 0, 1], [0, 0.2, 0.4, 0.3]),
        ([0, 1, 0, 1], [0.1, 0.2, 0.4, 1]),
    ],
)
def test_neither_is_estimable_without_both_classes_or_with_a_certain_row(label, prob):
    line = calibration.slope_and_intercept(label, prob)
    assert np.isnan([line.slope.value, line.slope.low, line.intercept.value, line.intercept.high]).all()


@pytest.mark.parametrize(
    "prob",
    [
        [0.3, 0.3, 0.3, 0.3],
        [0.1, 0.2, 0.3, 0.4],
        [0.4, 0.3, 0.2, 0.1],
        [0.1, 0.2, 0.2, 0.4],
        [0.3 - 1e-16, 0.3 + 1e-16, 0.3 - 1e-16, 0.3 + 1e-16],
    ],
)
def test_the_slope_of_constant_or_separating_scores_is_not_estimable_but_the_intercept_is(prob):
    line = calibration.slope_and_intercept([0, 0, 1, 1], prob)
    assert np.isnan([line.slope.value, line.slope.low, line.slope.high]).all()
    assert expit(logit(prob) + line.intercept.value).sum() == pytest.approx(2)


def test_confident_scores_that_are_right_have_an_intercept():
    label = np.array([0, 1, 1, 1, 0, 1, 1])
    prob = np.array([1.97579070e-06, 0.999028929, 0.999999756, 0.999996555, 6.07389912e-07, 0.999364928, 0.999999994])
    line = calibration.slope_and_intercept(label, prob)
    assert expit(logit(prob) + line.intercept.value).sum() == pytest.approx(5, abs=1e-10)


def test_a_fit_that_does_not_settle_is_not_estimable(monkeypatch):
    monkeypatch.setattr(calibration, "NEWTON_STEPS", 1)
    line = calibration.slope_and_intercept(*calibrated(50, seed=20))
    assert np.isnan([line.slope.value, line.slope.low, line.intercept.value, line.intercept.high]).all()
    assert np.isnan(calibration.METHODS["platt"](*calibrated(50, seed=20))([0.5])).all()


def test_one_patient_gives_values_without_limits():
    line = calibration.slope_and_intercept(LABEL, PROB, ["P"] * 4)
    for interval in (line.slope, line.intercept):
        assert np.isfinite(interval.value)
        assert np.isnan([interval.low, interval.high]).all()


# --- calibrators --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", RANKING)
@pytest.mark.parametrize("scale", [0.3, 3])
def test_a_distorted_temperature_is_restored(method, scale):
    label, prob = calibrated(20_000, seed=12)
    distorted = expit(scale * logit(prob))
    restored = calibration.METHODS[method](label, distorted)(distorted)
    assert_allclose(restored, prob, atol=0.02)


def test_platt_restores_a_shift_too():
    label, prob = calibrated(20_000, seed=13)
    distorted = expit(2 * logit(prob) + 1)
    assert_allclose(calibration.METHODS["platt"](label, distorted)(distorted), prob, atol=0.02)


@pytest.mark.parametrize("method", FITTED)
def test_what_validation_fits_improves_test(method):
    label, prob = calibrated(6_000, seed=14)
    distorted = expit(3 * logit(prob))
    after = calibration.METHODS[method](label[:3000], distorted[:3000])(distorted[3000:])
    for measure in (classification.brier, calibration.expected_calibration_error):
        assert measure(label[3000:], after) < measure(label[3000:], distorted[3000:])


def test_raw_changes_nothing():
    assert_array_equal(calibration.METHODS["raw"](LABEL, PROB)([0, 0.3, 1]), [0, 0.3, 1])


def test_platt_agrees_with_sklearn_on_platts_targets():
    label, prob = calibrated(60, seed=15)
    malignant = label.sum()
    benign = label.size - malignant
    target = np.where(label, (malignant + 1) / (malignant + 2), 1 / (benign + 2))
    # A row of target t is t rows of one class and 1 - t of the other.
    twice = np.tile(logit(prob), 2)[:, None]
    reference = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(
        twice, np.repeat([1, 0], label.size), sample_weight=np.concatenate([target, 1 - target])
    )
    asked = np.linspace(0.05, 0.95, 7)
    expected = reference.predict_proba(logit(asked)[:, None])[:, 1]
    assert_allclose(calibration.METHODS["platt"](label, prob)(asked), expected, rtol=1e-5)


def test_isotonic_pools_by_hand_and_never_claims_certainty():
    # .2 and .4 violate the order and are pooled to 1/2; Platt's targets of two and two rows are 1/4 and 3/4.
    fitted = calibration.METHODS["isotonic"]([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.8])
    assert_allclose(fitted([0, 0.1, 0.2, 0.3, 0.4, 0.8, 1]), [0.25, 0.25, 0.5, 0.5, 0.5, 0.75, 0.75])


def test_isotonic_is_sklearns_within_its_bounds():
    label, prob = calibrated(200, seed=16)
    free = IsotonicRegression(out_of_bounds="clip").fit(prob, label).predict(prob)
    bounded = calibration.METHODS["isotonic"](label, prob)(prob)
    inside = (free > 0.02) & (free < 0.98)
    assert inside.sum() > 50
    assert_allclose(bounded[inside], free[inside])
    assert 0 < bounded.min() < bounded.max() < 1


@given(rows_with_ties.filter(lambda rows: {label for label, _ in rows} == {0, 1}), st.sampled_from(FITTED))
@examples(200)
def test_no_calibrator_reverses_a_pair_or_leaves_0_to_1(rows, method):
    label, prob = np.array(rows).T
    asked = np.linspace(0, 1, 41)
    result = calibration.METHODS[method](label, prob / 20)(asked)
    if np.isnan(result).any():
        assert np.isnan(result).all()
        return
    assert np.all((result >= 0) & (result <= 1))
    assert np.all(np.diff(result) >= 0)
    if method in RANKING:
        assert (result[0], result[-1]) == (0, 1)


@pytest.mark.parametrize("method", RANKING)
def test_the_auc_survives(method):
    label, prob = calibrated(500, seed=17)
    result = calibration.METHODS[method](label, prob)(prob)
    assert discrimination.auc(label, result) == pytest.approx(discrimination.auc(label, prob), abs=1e-12)


def test_temperature_keeps_one_half():
    label, prob = calibrated(500, seed=18)
    assert calibration.METHODS["temperature"](label, expit(2 * logit(prob)))([0.5]) == pytest.approx(0.5)


@pytest.mark.parametrize("method", FITTED)
@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1], []])
def test_nothing_can_be_fitted_to_one_class(method, label):
    assert np.isnan(calibration.METHODS[method](label, np.linspace(0.2, 0.8, len(label)))([0.1, 0.9])).all()


@pytest.mark.parametrize("method", RANKING)
def test_scores_that_point_the_wrong_way_are_not_turned_round(method):
    assert np.isnan(calibration.METHODS[method]([1, 1, 0, 0], [0.1, 0.3, 0.6, 0.9])([0.1, 0.9])).all()


@pytest.mark.parametrize("method", RANKING)
def test_separating_and_certain_scores_have_a_finite_fit(method):
    result = calibration.METHODS[method]([0, 0, 1, 1], [0, 0.2, 0.8, 1])([0, 0.3, 0.7, 1])
    assert_allclose(result[[0, 3]], [0, 1])
    assert 0 < result[1] < 0.5 < result[2] < 1


def test_constant_scores():
    fitted = {name: method([0, 0, 0, 1], [0.4] * 4)([0.4, 0.9]) for name, method in calibration.METHODS.items()}
    assert_array_equal(fitted["raw"], [0.4, 0.9])
    assert np.isnan(fitted["platt"]).all()
    assert_allclose(fitted["isotonic"], 0.25)
    assert np.isnan(calibration.METHODS["temperature"]([0, 0, 0, 1], [0.5] * 4)([0.4])).all()


# --- summary and wrong input --------------------------------------------------------------------------------


def test_summary_gathers_the_measures():
    label, prob = calibrated(300, seed=19)
    patient_id = np.arange(300) // 2
    row = calibration.summary(label, prob, patient_id, bins=5)
    line = calibration.slope_and_intercept(label, prob, patient_id)
    assert row["ece"] == calibration.expected_calibration_error(label, prob, bins=5)
    assert (row["slope_low"], row["intercept_high"], row["n"]) == (line.slope.low, line.intercept.high, 300)
    assert row["reliability"] - row["resolution"] + row["uncertainty"] == pytest.approx(row["brier"])


def test_summary_of_a_calibrator_that_could_not_be_fitted_is_empty_but_for_n():
    row = calibration.summary(LABEL, np.full(4, np.nan))
    assert row.pop("n") == 4
    assert np.isnan(list(row.values())).all()
    assert list(row) == [name for name in calibration.summary(LABEL, PROB) if name != "n"]


def test_one_class_or_no_row_has_a_curve_but_no_slope():
    row = calibration.summary([0, 0, 0], [0, 0.1, 0.2], bins=3)
    assert row["uncertainty"] == 0
    assert row["ece"] == pytest.approx(0.1)
    assert calibration.reliability_curve([], []).n.size == 0
    assert np.isnan(calibration.expected_calibration_error([], []))


@pytest.mark.parametrize(
    "measure",
    [
        calibration.reliability_curve,
        calibration.expected_calibration_error,
        calibration.brier_decomposition,
        calibration.slope_and_intercept,
        calibration.summary,
        *calibration.METHODS.values(),
    ],
)
@pytest.mark.parametrize(
    ("label", "prob", "message"),
    [
        ([0, 1], [0.5, 1.5], r"prob is 1.5 at row 1; a probability is 0-1"),
        ([0, 1], [-0.1, 1], r"prob is -0.1 at row 0"),
        ([0, 1], [np.nan, 0.5], "not finite in 1 of 2 rows"),
        ([0, 2], [0.1, 0.5], "only 0 and 1 are valid"),
        ([0, 1], [0.1], "2 labels"),
    ],
)
def test_wrong_input_is_refused(measure, label, prob, message):
    with pytest.raises(ValueError, match=message):
        measure(label, prob)


@pytest.mark.parametrize("method", calibration.METHODS)
def test_a_fitted_calibrator_refuses_what_is_no_probability(method):
    with pytest.raises(ValueError, match="prob"):
        calibration.METHODS[method](LABEL, PROB)([0.5, 2])


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="bins is 0"):
        calibration.reliability_curve(LABEL, PROB, bins=0)
    with pytest.raises(InputError, match="confidence is 95"):
        calibration.slope_and_intercept(LABEL, PROB, confidence=95)
    with pytest.raises(InputError, match="one patient per row"):
        calibration.slope_and_intercept(LABEL, PROB, ["P"])
