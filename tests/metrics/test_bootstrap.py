"""Statistics against naive double loops, published numbers, repeated rows and the truth in simulation."""

from __future__ import annotations

import warnings
from itertools import product

import metric_oracles as oracles
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm, t
from sklearn.metrics import average_precision_score, roc_auc_score

from mammo.metrics import auc_tests, bootstrap, classification, discrimination, resampling
from mammo.metrics.auc_tests import Subsets
from mammo.metrics.resampling import LabelledRows, Resampling
from tests.examples import examples

AT_THRESHOLD = set(classification.AT_THRESHOLD)
PROPORTIONS = {"accuracy", "sensitivity", "specificity", "ppv", "npv"}


def cohort(rng: np.random.Generator, patients: int = 100, models: int = 1) -> tuple[np.ndarray, ...]:
    """Return label (n,), score (models, n) and patient_id (n,): 1-5 rows per patient, strongly alike.

    The score is 1.2 label + patient effect + noise (standard deviations 1 and 1). Rows of one patient share
    their label, so that each malignant-benign pair is of two patients and the true AUC exactly TRUE_AUC.
    """
    patient_id = np.repeat(np.arange(patients), rng.integers(1, 6, size=patients))
    label = (rng.random(patients) < 0.45).astype(int)[patient_id]
    effect = rng.normal(size=(models, patients))[:, patient_id]
    return label, 1.2 * label + effect + rng.normal(size=effect.shape), patient_id


TRUE_AUC = norm.cdf(1.2 / 2)
TRUE_SENSITIVITY = norm.cdf(0.6 / np.sqrt(2))
# Called at .6, midway between the classes: sensitivity and specificity are equal.
TRUE_LIKELIHOOD_RATIO = TRUE_SENSITIVITY / (1 - TRUE_SENSITIVITY)
TRUE_PARTIAL_AUC = float(
    classification.standardised(quad(lambda fpr: norm.cdf(1.2 / np.sqrt(2) + norm.ppf(fpr)), 0, 0.2)[0], 0.2)
)


def mixed_cohort(seed: int, models: int = 2) -> tuple[np.ndarray, ...]:
    """Return label, score, patient_id of 25 patients with both labels in many patients, and tied scores."""
    rng = np.random.default_rng(seed)
    patient_id = rng.integers(25, size=80)
    label = rng.integers(2, size=80)
    return label, np.round(rng.normal(size=(models, 80)) + label, 1), patient_id


# --- resampling ---------------------------------------------------------------------------------------------


def test_resamples_draw_whole_patients_and_as_many_as_there_are():
    patient_id = np.array(["b", "a", "b", "c", "a", "b"])
    weights = oracles.patient_resamples(patient_id, 500, seed=3)
    assert weights.shape == (500, 6)
    assert np.issubdtype(weights.dtype, np.integer)
    assert_array_equal(weights[:, 0], weights[:, 2])
    assert_array_equal(weights[:, 1], weights[:, 4])
    assert_array_equal(weights[:, 0] + weights[:, 1] + weights[:, 3], 3)
    assert_allclose(weights.mean(axis=0), 1, atol=5 * np.sqrt(2 / 3 / 500))


def test_resamples_depend_on_the_seed_alone(monkeypatch):
    patient_id = np.random.default_rng(0).integers(30, size=70)
    # The legacy generator is the global one that must stay untouched.
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    whole = oracles.patient_resamples(patient_id, 100, seed=1)
    assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    monkeypatch.setattr(resampling, "BLOCK_WEIGHTS", 1)
    assert_array_equal(oracles.patient_resamples(patient_id, 100, seed=1), whole)
    assert not np.array_equal(oracles.patient_resamples(patient_id, 100, seed=2), whole)


def test_blocks_bound_the_memory_of_many_rows():
    blocks = resampling.resample_blocks(np.arange(100_000), 10_000, seed=0)
    assert next(blocks).nbytes < 10 * 2**20


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=30),
)
@examples(200)
def test_weighted_auc_is_the_auc_of_the_repeated_rows(rows):
    label, score, weight = np.array(rows).T
    (weighted,) = oracles.weighted_auc(label, score, weight[None])
    repeated = discrimination.auc(np.repeat(label, weight), np.repeat(score, weight))
    assert_allclose(weighted, repeated, rtol=1e-12)


def test_intervals_come_from_the_metrics_of_the_repeated_rows():
    label, (score,), patient_id = mixed_cohort(0, models=1)
    prob = norm.cdf(score)
    called = prob >= 0.6
    result = bootstrap.clustered_intervals(LabelledRows(label, patient_id), prob, called, Resampling(200, 9))
    draws = []
    for weights in oracles.patient_resamples(patient_id, 200, seed=9):
        y, p, c = (np.repeat(column, weights) for column in (label, prob, called))
        table = discrimination.counts(y, c)
        draws.append(
            {
                "auc": roc_auc_score(y, p),
                "average_precision": average_precision_score(y, p),
                "brier": classification.brier(y, p),
            }
            | {name: float(metric(*table)) for name, metric in classification.AT_THRESHOLD.items()}
        )
    assert set(result) == set(draws[0])
    for name, interval in result.items():
        assert (interval.n, interval.n_patients) == (80, np.unique(patient_id).size)
        if name in PROPORTIONS:  # tests/metrics/test_proportions.py
            continue
        limits = np.quantile([draw[name] for draw in draws], [0.025, 0.975])
        assert_allclose((interval.low, interval.high), limits, rtol=1e-12)


def test_curve_and_call_intervals_come_from_the_metrics_of_the_repeated_rows():
    label, (score,), patient_id = mixed_cohort(2, models=1)
    called = score > 0.5
    of_curve = bootstrap.curve_intervals(
        LabelledRows(label, patient_id), score, Resampling(150, 9), min_specificity=0.7
    )
    of_calls = bootstrap.decision_intervals(
        LabelledRows(label, patient_id), called, Resampling(150, 9), prevalence=0.01
    )
    draws = {"partial_auc": [], "ppv_at_prevalence": [], "npv_at_prevalence": [], "diagnostic_odds": []}
    for weights in oracles.patient_resamples(patient_id, 150, seed=9):
        y, p, c = (np.repeat(column, weights) for column in (label, score, called))
        table = discrimination.counts(y, c)
        draws["partial_auc"].append(roc_auc_score(y, p, max_fpr=0.3))
        draws["ppv_at_prevalence"].append(float(classification.ppv_at(0.01)(*table)))
        draws["npv_at_prevalence"].append(float(classification.npv_at(0.01)(*table)))
        draws["diagnostic_odds"].append(float(classification.diagnostic_odds(*table)))
    for name, values in draws.items():
        assert_allclose(limits((of_curve | of_calls)[name]), np.quantile(values, [0.025, 0.975]), rtol=1e-9)
    assert of_curve["partial_auc"].value == pytest.approx(classification.partial_auc(label, score, 0.7))
    assert set(of_calls) == AT_THRESHOLD | {"ppv_at_prevalence", "npv_at_prevalence"}


def test_intervals_of_curve_and_calls_alone_are_those_of_both():
    label, (score,), patient_id = mixed_cohort(3, models=1)
    called = score > 0.5
    both = bootstrap.clustered_intervals(LabelledRows(label, patient_id), norm.cdf(score), called, Resampling(50, 1))
    of_curve = bootstrap.curve_intervals(LabelledRows(label, patient_id), norm.cdf(score), Resampling(50, 1))
    of_calls = bootstrap.decision_intervals(LabelledRows(label, patient_id), called, Resampling(50, 1))
    del of_curve["partial_auc"]
    assert both == of_curve | of_calls


def test_point_values_are_the_metrics():
    label, (score,), patient_id = mixed_cohort(1, models=1)
    prob = norm.cdf(score)
    result = bootstrap.clustered_intervals(LabelledRows(label, patient_id), prob, prob > 0.5, Resampling(10, 0))
    assert result["auc"].value == pytest.approx(discrimination.auc(label, prob))
    assert result["average_precision"].value == pytest.approx(classification.average_precision(label, prob))
    assert result["brier"].value == pytest.approx(classification.brier(label, prob))
    table = discrimination.counts(label, prob > 0.5)
    for name, metric in classification.AT_THRESHOLD.items():
        assert result[name].value == pytest.approx(float(metric(*table)))


def test_auc_over_folds_ignores_that_the_folds_scores_share_no_scale():
    label, (score,), patient_id = cohort(np.random.default_rng(2), patients=300)
    fold = patient_id % 3
    rescaled = score + 10 * fold
    expected = sum(
        np.mean(fold == first) * discrimination.auc(label[fold == first], score[fold == first]) for first in range(3)
    )
    result = bootstrap.clustered_intervals(
        LabelledRows(label, patient_id, fold), rescaled, score > 0.6, Resampling(200, 0)
    )["auc"]
    assert result.value == pytest.approx(expected)
    assert result.low < result.value < result.high
    pooled = bootstrap.clustered_intervals(LabelledRows(label, patient_id), rescaled, score > 0.6, Resampling(200, 0))[
        "auc"
    ]
    assert pooled.high < result.low


# --- not estimable, and wrong input -------------------------------------------------------------------------


def intervals(label, prob, called, patient_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return bootstrap.clustered_intervals(LabelledRows(label, patient_id), prob, called, Resampling(300, 0))


def limits(interval):
    return interval.low, interval.high


def test_no_row_in_no_group_is_nan():
    result = bootstrap.clustered_intervals(LabelledRows([], [], []), [], [], Resampling(5, 0))
    assert np.isnan(result["auc"].value)


def test_a_missing_class_is_nan_where_it_matters():
    result = intervals(np.zeros(40), np.linspace(0, 1, 40), np.arange(40) % 2, np.arange(40))
    for name in ("auc", "average_precision", "sensitivity", "balanced_accuracy", "mcc"):
        assert np.isnan([result[name].value, *limits(result[name])]).all()
    assert result["specificity"].value == 0.5
    assert result["specificity"].low < 0.5 < result["specificity"].high


def test_one_patient_has_values_but_no_limits():
    result = intervals([1, 0, 1], [0.9, 0.4, 0.2], [1, 0, 0], ["P_1"] * 3)
    assert result["auc"].value == 0.5
    for interval in result.values():
        assert np.isnan(limits(interval)).all()


def test_no_row_is_nan_throughout():
    result = intervals([], [], [], [])
    for interval in result.values():
        assert np.isnan([interval.value, *limits(interval)]).all()
        assert interval.n == interval.n_patients == 0


def test_a_rare_class_that_resamples_often_miss_has_no_limits():
    label = np.arange(40) < 2
    result = intervals(label, np.linspace(0, 1, 40), label, np.arange(40))
    assert np.isnan(limits(result["auc"])).all()
    assert np.isnan(limits(result["sensitivity"])).all()
    assert np.isfinite(limits(result["brier"])).all()


def test_a_likelihood_ratio_that_is_infinite_in_many_resamples_has_no_limits():
    """One patient has all false calls: without it, in a third of the resamples, the ratio has no bound."""
    label = np.arange(40) % 2
    called = np.where(np.arange(40) < 8, 0, label)
    called[0] = 1
    result = intervals(label, label, called, np.arange(40))
    assert result["likelihood_ratio_positive"].value == pytest.approx((16 / 20) / (1 / 20))
    assert np.isnan(limits(result["likelihood_ratio_positive"])).all()
    assert np.isnan(limits(result["diagnostic_odds"])).all()
    assert np.isfinite(limits(result["likelihood_ratio_negative"])).all()
    assert np.isfinite(limits(result["specificity"])).all()


def test_a_few_infinite_resamples_raise_the_upper_limit_of_a_likelihood_ratio():
    """Left out, they would be the upper tail that is missing: of 200 draws, 4 undefined, the limit is the 199th."""
    draws = np.append(np.arange(196.0), [np.nan] * 4)
    assert bootstrap._open_percentiles(draws, 0.95)[1] == pytest.approx(np.quantile(np.arange(200), 0.975))
    assert np.isnan(bootstrap._open_percentiles(np.append(np.arange(190.0), [np.nan] * 10), 0.95)).all()


def test_certainty_is_never_claimed():
    label = np.arange(40) % 2
    result = intervals(label, label, label, np.arange(40) // 4)
    assert result["auc"].value == 1
    assert np.isnan(limits(result["auc"])).all()
    # Ten patients without a miss: exact limits are .025 ** (1 / 10) and 1.
    assert_allclose(limits(result["sensitivity"]), (0.025**0.1, 1))
    none = intervals(label, label, np.zeros(40), np.arange(40) // 4)
    assert_allclose(limits(none["sensitivity"]), (0, 1 - 0.025**0.1))
    constant = intervals(label, np.full(40, 0.3), label, np.arange(40))["auc"]
    assert constant.value == 0.5
    assert np.isnan(limits(constant)).all()


def test_a_score_that_is_no_probability_has_no_brier():
    label, (score,), patient_id = mixed_cohort(1, models=1)
    result = intervals(label, score, score > 0, patient_id)
    assert np.isnan([result["brier"].value, *limits(result["brier"])]).all()
    assert np.isfinite(limits(result["auc"])).all()


ROWS = {"label": [0, 1, 1], "prob": [0.1, 0.2, 0.3], "called": [0, 0, 1], "patient_id": [1, 2, 3]}


def resampled_intervals(label, prob, called, patient_id, group=None, **resampling):
    rows = LabelledRows(label, patient_id, group)
    return bootstrap.clustered_intervals(rows, prob, called, Resampling(**({"resamples": 5, "seed": 0} | resampling)))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label": [0, 1, 3]}, "label holds .*3.* at row 2"),
        ({"prob": [0.1, np.nan, 0.3]}, "not finite in 1 of 3 rows"),
        ({"prob": [0.1, 0.2]}, r"prob has shape \(2,\) but there are 3 labels"),
        ({"called": [0, 1]}, "predicted_positive has 2 rows"),
        ({"patient_id": [1, 2]}, "patient_id has 2 rows but there are 3 labels"),
        ({"patient_id": [1, 2, np.nan]}, "patient_id is .*nan.* at row 2"),
        ({"patient_id": ["a", None, "b"]}, "patient_id is None at row 1"),
        ({"patient_id": np.array(["a", 7, "b"], dtype=object)}, "patient_id is 7 at row 1"),
        ({"group": [0, 1]}, "group has 2 rows but there are 3 labels"),
        ({"resamples": 0}, "resamples is 0"),
        ({"confidence": 95}, "confidence is 95"),
    ],
)
def test_wrong_input_is_refused_with_what_and_where(wrong, message):
    with pytest.raises(ValueError, match=message):
        resampled_intervals(**(ROWS | wrong))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: oracles.patient_resamples([], 5, 0), "patient_id is empty"),
        (lambda: auc_tests.delong_interval(LabelledRows([0, 1], None), [0.1, np.nan]), r"probs\[0\] is not finite"),
        (
            lambda: auc_tests.paired_auc_test(LabelledRows([0, 1], None), [0.1, 0.2], [0.1], Resampling(1, seed=0)),
            r"probs\[1\] has shape",
        ),
        (
            lambda: auc_tests.paired_auc_test(
                LabelledRows([0, 1, 1, 0], [1, 1, 2, 2], [0, 1, 0, 1]), [1, 2, 3, 4], [1, 2, 4, 3], Resampling(5, 0)
            ),
            "rows in two groups",
        ),
        (lambda: auc_tests.holm([0.1, 1.2]), "from 0 to 1"),
    ],
)
def test_other_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- DeLong -------------------------------------------------------------------------------------------------


def naive_delong(label, probs, patient_id):
    """Obuchowski 1997 by double loops over pairs and patients; DeLong 1988 at one row per patient."""
    malignant, benign = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    models, m, n = range(len(probs)), malignant.size, benign.size

    def wins(model, i, j):
        return (probs[model][i] > probs[model][j]) + (probs[model][i] == probs[model][j]) / 2

    v10 = np.array([[np.mean([wins(k, i, j) for j in benign]) for i in malignant] for k in models])
    v01 = np.array([[np.mean([wins(k, i, j) for i in malignant]) for j in benign] for k in models])
    aucs = v10.mean(axis=1)
    patients = np.unique(patient_id)
    x = np.array([[np.sum(v10[k][patient_id[malignant] == p] - aucs[k]) for p in patients] for k in models])
    y = np.array([[np.sum(v01[k][patient_id[benign] == p] - aucs[k]) for p in patients] for k in models])
    i10, i01, i = np.unique(patient_id[malignant]).size, np.unique(patient_id[benign]).size, patients.size
    covariance = np.empty((len(probs), len(probs)))
    for r, s in product(models, models):
        s10 = i10 / ((i10 - 1) * m) * np.sum(x[r] * x[s])
        s01 = i01 / ((i01 - 1) * n) * np.sum(y[r] * y[s])
        s11 = i / (i - 1) * np.sum(x[r] * y[s])
        s11_other = i / (i - 1) * np.sum(x[s] * y[r])
        covariance[r, s] = s10 / m + s01 / n + (s11 + s11_other) / (m * n)
    return aucs, covariance


@pytest.mark.parametrize("seed", range(4))
def test_delong_agrees_with_double_loops(seed):
    label, probs, patient_id = mixed_cohort(seed, models=3)
    assert np.unique(probs[0]).size < probs[0].size, "ties are wanted"
    aucs, covariance = naive_delong(label, probs, np.arange(label.size))
    for ours, naive in zip(oracles.delong(label, probs), (aucs, covariance), strict=True):
        assert_allclose(ours, naive, rtol=0, atol=1e-9)
    clustered = naive_delong(label, probs, patient_id)
    for ours, naive in zip(oracles.delong(label, probs, patient_id), clustered, strict=True):
        assert_allclose(ours, naive, rtol=0, atol=1e-9)
    a, b = probs[:2]
    z = (aucs[1] - aucs[0]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    test = auc_tests.paired_auc_test(LabelledRows(label, None), a, b, Resampling(1, seed=0))
    assert test.p_value == pytest.approx(2 * norm.sf(abs(z)), abs=1e-9)
    assert test.difference == pytest.approx(aucs[1] - aucs[0], abs=1e-12)


def test_delong_gives_the_published_numbers():
    """Ratings of 109 CT images: Hanley & McNeil, Radiology 1982, table I; AUC .893.

    Error and limits: Stata base reference manual, `roctab disease rating`, whose default is DeLong's.
    """
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    rating = np.concatenate([np.repeat(np.arange(1, 6), normal), np.repeat(np.arange(1, 6), abnormal)])
    label = np.repeat([0, 1], [58, 51])
    (auc,), ((variance,),) = oracles.delong(label, [rating])
    error = np.sqrt(variance)
    assert auc == pytest.approx(0.8932, abs=5e-5)
    assert error == pytest.approx(0.0307, abs=5e-5)
    assert_allclose(auc + norm.ppf([0.025, 0.975]) * error, (0.83295, 0.95339), atol=5e-6)


def test_a_copied_row_of_the_same_patient_adds_no_information():
    label, probs, _ = mixed_cohort(3)
    once = oracles.delong(label, probs, np.arange(80))[1]
    patient_id = np.tile(np.arange(80), 3)
    thrice = oracles.delong(np.tile(label, 3), np.tile(probs, 3), patient_id)[1]
    assert_allclose(thrice, once, rtol=1e-9)


def test_delong_interval_stays_within_0_and_1_and_knows_its_patients():
    label, (score,), patient_id = cohort(np.random.default_rng(0), patients=60)
    by_patient = auc_tests.delong_interval(LabelledRows(label, patient_id), score)
    by_row = auc_tests.delong_interval(LabelledRows(label, None), score)
    assert (by_patient.n_patients, by_row.n_patients) == (60, label.size)
    assert 0 < by_patient.low < by_row.low < by_row.value < by_row.high < by_patient.high < 1


def test_delong_interval_over_folds_averages_their_aucs_and_is_blind_to_their_scale():
    label, (score,), patient_id = cohort(np.random.default_rng(6), patients=150)
    fold = patient_id % 3
    folds = auc_tests.delong_interval(LabelledRows(label, patient_id, fold), score)
    assert folds == auc_tests.delong_interval(LabelledRows(label, patient_id, fold), score + 10 * fold)
    expected = sum(
        np.mean(fold == first) * discrimination.auc(label[fold == first], score[fold == first]) for first in range(3)
    )
    assert folds.value == pytest.approx(expected)
    plain = auc_tests.delong_interval(LabelledRows(label, patient_id), score)
    assert folds.high - folds.low == pytest.approx(plain.high - plain.low, rel=0.2)


def test_delong_limits_follow_from_the_variance_on_the_logit_scale():
    """By the delta method the logit of an AUC has the error of the AUC over AUC x (1 - AUC)."""
    label, (score,), patient_id = mixed_cohort(8, models=1)
    (value,), ((variance,),) = oracles.delong(label, [score], patient_id)
    margin = norm.ppf(0.975) * np.sqrt(variance) / (value * (1 - value))
    found = auc_tests.delong_interval(LabelledRows(label, patient_id), score)
    assert_allclose(limits(found), expit(logit(value) + np.array([-margin, margin])), rtol=1e-9)


def test_delong_without_variance_is_not_estimable():
    for prob in ([0, 0, 1, 1], [1, 1, 1, 1]):
        assert np.isnan(limits(auc_tests.delong_interval(LabelledRows([0, 0, 1, 1], None), prob))).all()
    aucs, covariance = oracles.delong([1, 1], [[0.1, 0.2]])
    assert np.isnan(aucs).all()
    assert np.isnan(covariance).all()
    aucs, covariance = oracles.delong([1, 0, 0], [[0.1, 0.2, 0.05]])
    assert aucs[0] == 0.5
    assert np.isnan(covariance).all()
    assert np.isnan(oracles.delong_p_value([0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]))


# --- comparison ---------------------------------------------------------------------------------------------


def test_paired_test_is_antisymmetric_and_equal_rankings_do_not_differ():
    label, (a, b), patient_id = mixed_cohort(5)
    forward = auc_tests.paired_auc_test(LabelledRows(label, patient_id), a, b, Resampling(300, 0))
    backward = auc_tests.paired_auc_test(LabelledRows(label, patient_id), b, a, Resampling(300, 0))
    assert forward.difference == pytest.approx(discrimination.auc(label, b) - discrimination.auc(label, a))
    assert (forward.difference, forward.p_value) == pytest.approx((-backward.difference, backward.p_value))
    assert_allclose((forward.low, forward.high), (-backward.high, -backward.low), atol=1e-12)
    same = auc_tests.paired_auc_test(LabelledRows(label, patient_id), a, 3 * a + 1, Resampling(300, 0))
    assert (same.difference, same.p_value) == (0, 1)
    assert np.isnan((same.low, same.high)).all()


def test_a_copied_row_of_the_same_patient_moves_no_limit_of_the_paired_test():
    label, (a, b), patient_id = mixed_cohort(9)
    once, twice = (
        auc_tests.paired_auc_test(
            LabelledRows(np.tile(label, copies), np.tile(patient_id, copies)),
            np.tile(a, copies),
            np.tile(b, copies),
            Resampling(50, 1),
        )
        for copies in (1, 2)
    )
    assert_allclose(limits(once), limits(twice), rtol=1e-9)


def test_paired_test_over_one_group_is_the_plain_one_and_over_folds_is_blind_to_their_scale():
    label, (a, b), patient_id = cohort(np.random.default_rng(4), patients=150, models=2)
    plain = auc_tests.paired_auc_test(LabelledRows(label, patient_id), a, b, Resampling(100, 0))
    first = auc_tests.paired_auc_test(LabelledRows(label, patient_id, np.zeros(a.size)), a, b, Resampling(100, 0))
    assert plain == first
    fold = patient_id % 3
    folds = auc_tests.paired_auc_test(LabelledRows(label, patient_id, fold), a, b, Resampling(100, 0))
    shifted = auc_tests.paired_auc_test(LabelledRows(label, patient_id, fold), a, b + 10 * fold, Resampling(100, 0))
    assert folds == shifted


@pytest.mark.parametrize(
    ("label", "patient_id"), [([1, 1, 1, 1], [1, 2, 3, 4]), ([1, 0, 1, 0], [1, 1, 1, 1]), ([], [])]
)
def test_paired_test_is_nan_where_not_estimable(label, patient_id):
    score = np.arange(len(label))
    result = auc_tests.paired_auc_test(LabelledRows(label, patient_id), score, score[::-1], Resampling(20, 0))
    assert np.isnan((result.low, result.high, result.p_value)).all()


def test_subsets_without_a_common_patient_are_independent():
    label, (score,), patient_id = mixed_cohort(6, models=1)
    a, b = patient_id < 12, patient_id >= 12
    result = auc_tests.subset_auc_test(LabelledRows(label, patient_id), score, Subsets(a, b))
    values, variances = zip(*(oracles.delong(label[s], score[None, s], patient_id[s]) for s in (a, b)), strict=True)
    difference = float(values[1][0] - values[0][0])
    error = np.sqrt(variances[0][0, 0] + variances[1][0, 0])
    freedom = min(np.unique(patient_id[s & (label == first)]).size for s in (a, b) for first in (0, 1)) - 1
    assert result.difference == pytest.approx(difference)
    assert result.p_value == pytest.approx(2 * t.sf(abs(difference) / error, freedom))
    assert result.high - result.difference == pytest.approx(t.ppf(0.975, freedom) * error)


def naive_subset_variance(label, score, a, b, patient_id):
    """Var b - a by double loops: Obuchowski's formula for each set, and for two sets as for two models."""

    def parts(chosen):
        m, n = (np.flatnonzero(chosen & (label == first)) for first in (1, 0))
        wins = np.array([[(score[i] > score[j]) + (score[i] == score[j]) / 2 for j in n] for i in m])
        sums = np.zeros((2, patient_id.max() + 1))
        for i, row in zip(m, wins, strict=True):
            sums[0, patient_id[i]] += (row.mean() - wins.mean()) / m.size
        for j, column in zip(n, wins.T, strict=True):
            sums[1, patient_id[j]] += (column.mean() - wins.mean()) / n.size
        return sums

    def factors(chosen):
        sizes = [np.unique(patient_id[chosen & rows]).size for rows in (label == 1, label == 0, label >= 0)]
        return [size / (size - 1) for size in sizes]

    def product_sum(x, y, malignant, benign, all_):
        return malignant * x[0] @ y[0] + benign * x[1] @ y[1] + all_ * (x[0] @ y[1] + x[1] @ y[0])

    of_a, of_b = parts(a), parts(b)
    own = product_sum(of_a, of_a, *factors(a)) + product_sum(of_b, of_b, *factors(b))
    return own - 2 * product_sum(of_a, of_b, *factors(a | b))


@pytest.mark.parametrize("overlap", [False, True])
def test_subset_test_agrees_with_double_loops(overlap):
    label, (score,), patient_id = mixed_cohort(7, models=1)
    b = np.random.default_rng(7).random(label.size) < 0.4
    a = ~b | (label == 1) if overlap else ~b
    result = auc_tests.subset_auc_test(LabelledRows(label, patient_id), score, Subsets(a, b | (overlap & (label == 1))))
    b = b | (overlap & (label == 1))
    freedom = min(np.unique(patient_id[s & (label == first)]).size for s in (a, b) for first in (0, 1)) - 1
    error = (result.high - result.difference) / t.ppf(0.975, freedom)
    assert error**2 == pytest.approx(naive_subset_variance(label, score, a, b, patient_id), abs=1e-9)
    assert result.difference == pytest.approx(
        discrimination.auc(label[b], score[b]) - discrimination.auc(label[a], score[a])
    )


def test_subset_test_over_folds_is_blind_to_their_scale():
    label, (score,), patient_id = cohort(np.random.default_rng(8), patients=150)
    a, fold = np.arange(label.size) % 2 == 0, patient_id % 3
    result = [
        auc_tests.subset_auc_test(LabelledRows(label, patient_id, fold), s, Subsets(a, ~a))
        for s in (score, score + 10 * fold)
    ]
    assert result[0] == result[1]
    first = auc_tests.subset_auc_test(LabelledRows(label, patient_id, np.zeros(label.size)), score, Subsets(a, ~a))
    assert first == auc_tests.subset_auc_test(LabelledRows(label, patient_id), score, Subsets(a, ~a))


@pytest.mark.parametrize(
    ("label", "prob", "b", "patient_id"),
    [
        ([1, 0, 1, 0, 1, 0], [3, 2, 1, 4, 6, 5], [0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]),
        ([1, 0, 1, 0, 1, 1], [3, 2, 1, 4, 6, 5], [0, 0, 0, 0, 1, 1], [1, 2, 3, 4, 5, 6]),
        ([1, 0, 1, 0, 1, 0], [3, 2, 1, 4, 6, 5], [0, 0, 0, 0, 1, 1], [1, 2, 3, 4, 5, 6]),
        ([1, 0, 1, 0] * 2, [3, 2, 1, 2, 4, 1, 4, 1], [0, 0, 0, 0, 1, 1, 1, 1], np.arange(8)),
        ([], [], [], []),
    ],
    ids=["empty subset", "one class", "one patient of a class", "no variance", "no row"],
)
def test_subset_test_is_nan_where_not_estimable(label, prob, b, patient_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = auc_tests.subset_auc_test(LabelledRows(label, patient_id), prob, Subsets(1 - np.array(b, int), b))
    assert np.isnan((result.low, result.high, result.p_value)).all()


def test_holm_by_hand():
    assert_allclose(auc_tests.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert_allclose(auc_tests.holm([0.6, np.nan, 0.5]), [1, np.nan, 1])
    assert auc_tests.holm([]).size == 0


# --- the known truth in simulation --------------------------------------------------------------------------


def covers(interval, truth):
    return interval.low <= truth <= interval.high


@pytest.mark.slow
def test_clustered_limits_cover_the_truth_where_row_wise_limits_do_not():
    """In 250 simulations the coverage of 95 % limits has a standard error of 1.4 %; 91-99 % is 2.9 of them.

    The row-wise limits, much too narrow, show it in half of the simulations.
    """
    rng = np.random.default_rng(20)
    by_patient, by_row = [], []
    for seed in range(250):
        label, (score,), patient_id = cohort(rng, patients=150)
        rows = np.arange(label.size)
        for units, coverage in ((patient_id, by_patient), (rows, by_row))[: 2 if seed % 2 == 0 else 1]:
            result = bootstrap.clustered_intervals(
                LabelledRows(label, units), score, score >= 0.6, Resampling(400, seed)
            )
            by_delong = auc_tests.delong_interval(LabelledRows(label, units), score)
            coverage.append(
                [
                    covers(result["auc"], TRUE_AUC),
                    covers(result["sensitivity"], TRUE_SENSITIVITY),
                    covers(by_delong, TRUE_AUC),
                ]
            )
    clustered, naive = np.mean(by_patient, axis=0), np.mean(by_row, axis=0)
    assert np.all((clustered >= 0.91) & (clustered <= 0.99)), clustered
    assert np.all(naive < 0.88), naive


@pytest.mark.parametrize("patients", [30, 60])
def test_limits_of_sensitivity_cover_the_truth_for_few_patients(patients):
    """In 500 simulations the coverage of 95 % limits has a standard error of 1 %; percentiles cover 86-89 % here.

    Both tails: no miss on one side is more than twice as frequent as it should be.
    """
    rng, limits = np.random.default_rng(21), []
    for seed in range(500):
        label, (score,), patient_id = cohort(rng, patients=patients)
        result = bootstrap.decision_intervals(LabelledRows(label, patient_id), score >= 0.6, Resampling(2, seed))
        limits.append((result["sensitivity"].low, result["sensitivity"].high))
    low, high = np.transpose(limits)
    assert 0.93 <= np.mean((low <= TRUE_SENSITIVITY) & (high >= TRUE_SENSITIVITY)) <= 0.975
    assert np.mean(high < TRUE_SENSITIVITY) < 0.05
    assert np.mean(low > TRUE_SENSITIVITY) < 0.05


@pytest.mark.slow
def test_null_is_rejected_at_its_level_where_the_row_wise_test_is_not():
    """With 500 simulations a rejection rate of 5 % has a standard error of 1 %: 1.1-8.9 % is 4 of them."""
    rng = np.random.default_rng(21)
    simulations = 500
    clustered = by_row = 0
    for _ in range(simulations):
        label, (a, b), patient_id = cohort(rng, patients=150, models=2)
        clustered += oracles.delong_p_value(label, a, b, patient_id) < 0.05
        by_row += oracles.delong_p_value(label, a, b) < 0.05
    assert 0.011 <= clustered / simulations <= 0.089
    assert by_row / simulations > 0.10


@pytest.mark.slow
def test_paired_test_keeps_its_level_and_its_limits_agree_with_its_p_value():
    """With 200 simulations a rate of 5 % has a standard error of 1.5 %: .4-9.6 % is 3 of them."""
    rng = np.random.default_rng(22)
    simulations = 200
    rejected = excluded = agreed = 0
    for seed in range(simulations):
        label, (a, b), patient_id = cohort(rng, patients=120, models=2)
        result = auc_tests.paired_auc_test(LabelledRows(label, patient_id), a, b, Resampling(400, seed))
        without_zero = not result.low <= 0 <= result.high
        rejected += result.p_value < 0.05
        excluded += without_zero
        agreed += without_zero == (result.p_value < 0.05)
    assert 0.004 <= rejected / simulations <= 0.096
    assert 0.004 <= excluded / simulations <= 0.096
    assert agreed / simulations > 0.95


@pytest.mark.slow
def test_limits_of_partial_auc_and_likelihood_ratio_cover_the_truth():
    """In 160 simulations the coverage of 95 % limits has a standard error of 1.7 %; 90.2-99.8 % is 2.8 of them."""
    rng = np.random.default_rng(23)
    covered = []
    for seed in range(160):
        label, (score,), patient_id = cohort(rng, patients=200)
        of_curve = bootstrap.curve_intervals(LabelledRows(label, patient_id), score, Resampling(250, seed))
        of_calls = bootstrap.decision_intervals(LabelledRows(label, patient_id), score >= 0.6, Resampling(250, seed))
        covered.append(
            [
                covers(of_curve["partial_auc"], TRUE_PARTIAL_AUC),
                covers(of_calls["likelihood_ratio_positive"], TRUE_LIKELIHOOD_RATIO),
                covers(of_calls["likelihood_ratio_negative"], 1 / TRUE_LIKELIHOOD_RATIO),
            ]
        )
    coverage = np.mean(covered, axis=0)
    assert np.all((coverage >= 0.902) & (coverage <= 0.998)), coverage


def test_subset_test_keeps_its_level_where_patients_are_in_both_sets():
    """With 200 simulations a rate of 5 % has a standard error of 1.5 %: .4-9.6 % is 3 of them."""
    rng = np.random.default_rng(24)
    rejected = np.zeros(2)
    for _ in range(200):
        label, (score,), patient_id = cohort(rng, patients=120)
        half = rng.random(label.size) < 0.5
        few = (rng.random(120) < 0.12)[patient_id]
        for place, b in enumerate((half, few)):
            rejected[place] += (
                auc_tests.subset_auc_test(LabelledRows(label, patient_id), score, Subsets(~b, b)).p_value < 0.05
            )
    assert 0.004 <= rejected[0] / 200 <= 0.096
    assert rejected[1] / 200 <= 0.096


def test_the_best_of_many_useless_models_is_expected_to_be_useless() -> None:
    """The highest of 40 AUCs of noise is far above .5, what is to be expected of it is not."""
    rng = np.random.default_rng(4)
    highest, expected = [], []
    for seed in range(8):
        label = np.tile([0, 1], 40)
        probs = rng.random((40, label.size))
        patient_id = np.repeat(np.arange(40), 2)
        highest.append(max(discrimination.auc(label, prob) for prob in probs))
        expected.append(auc_tests.chosen_auc(LabelledRows(label, patient_id), probs, Resampling(100, seed)))
    assert np.mean(highest) > 0.62
    assert abs(np.mean(expected) - 0.5) < 0.04


def test_the_chosen_model_is_scored_on_the_patients_who_were_not_drawn() -> None:
    label = np.tile([0, 1], 30)
    probs = np.random.default_rng(1).random((30, label.size))
    rows = LabelledRows(label, np.repeat(np.arange(30), 2))
    highest = max(discrimination.auc(label, prob) for prob in probs)
    assert auc_tests.chosen_auc(rows, probs, Resampling(60, 0)) < highest - 0.08


def test_of_one_model_the_expected_auc_is_its_auc() -> None:
    rng = np.random.default_rng(5)
    label = rng.integers(0, 2, 200)
    prob = rng.normal(label, 1.0)
    expected = auc_tests.chosen_auc(LabelledRows(label, np.arange(200)), [prob], Resampling(500, 0))
    assert expected == pytest.approx(discrimination.auc(label, prob), abs=0.01)


def test_the_expected_auc_knows_folds_and_patients_in_two_folds_are_refused() -> None:
    rng = np.random.default_rng(6)
    label, fold = np.tile([0, 1], 60), np.repeat([0, 1], 60)
    prob = rng.normal(label, 1.0)
    shifted = prob + 9 * fold
    first, second = (
        auc_tests.chosen_auc(LabelledRows(label, np.arange(120), fold), [scores], Resampling(100, 0))
        for scores in (prob, shifted)
    )
    assert first == second
    with pytest.raises(ValueError, match="a patient has rows in two groups"):
        auc_tests.chosen_auc(LabelledRows(label, np.tile(np.arange(60), 2), fold), [prob], Resampling(100, 0))


def test_without_both_classes_nothing_is_expected() -> None:
    assert np.isnan(auc_tests.chosen_auc(LabelledRows([1, 1, 1], [1, 2, 3]), [[0.1, 0.2, 0.3]], Resampling(50, 0)))
