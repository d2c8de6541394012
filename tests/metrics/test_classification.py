"""Clinical metrics: by hand on six rows, and against scikit-learn on random rows with ties."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn import metrics as sk

from mammo.metrics import classification, discrimination, thresholds
from tests.examples import examples

# Six rows; called at .5: TP 2, FP 1, TN 2, FN 1.
LABEL = np.array([1, 1, 0, 1, 0, 0])
PROB = np.array([0.9, 0.8, 0.7, 0.4, 0.3, 0.1])
CALLED = PROB >= 0.5

rows_with_ties = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=60).filter(
    lambda rows: {label for label, _ in rows} == {0, 1}
)


def arrays(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    label, score = np.array(rows).T
    return label, score / 8


def test_counts_by_hand():
    assert discrimination.counts(LABEL, CALLED) == (2, 1, 2, 1)


def test_counts_under_weights_are_those_of_the_repeated_rows():
    weights = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 3, 0, 1, 0]])
    table = np.array(discrimination.counts(LABEL, CALLED, weights))
    assert_allclose(table.T, [[2, 1, 2, 1], [2, 3, 1, 0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", 4 / 6),
        ("sensitivity", 2 / 3),
        ("specificity", 2 / 3),
        ("ppv", 2 / 3),
        ("npv", 2 / 3),
        ("f1", 4 / 6),
        ("balanced_accuracy", 2 / 3),
        ("mcc", (2 * 2 - 1 * 1) / 9),
        ("likelihood_ratio_positive", (2 / 3) / (1 / 3)),
        ("likelihood_ratio_negative", (1 / 3) / (2 / 3)),
        ("diagnostic_odds", (2 * 2) / (1 * 1)),
    ],
)
def test_metric_at_threshold_by_hand(name, expected):
    assert classification.AT_THRESHOLD[name](*discrimination.counts(LABEL, CALLED)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("accuracy", sk.accuracy_score),
        ("sensitivity", sk.recall_score),
        ("specificity", lambda y, c: sk.recall_score(y, c, pos_label=0)),
        ("ppv", sk.precision_score),
        ("npv", lambda y, c: sk.precision_score(y, c, pos_label=0)),
        ("f1", sk.f1_score),
        ("balanced_accuracy", sk.balanced_accuracy_score),
        ("mcc", sk.matthews_corrcoef),
        ("likelihood_ratio_positive", lambda y, c: sk.class_likelihood_ratios(y, c)[0]),
        ("likelihood_ratio_negative", lambda y, c: sk.class_likelihood_ratios(y, c)[1]),
        ("diagnostic_odds", lambda y, c: np.divide(*sk.class_likelihood_ratios(y, c))),
    ],
)
def test_metric_at_threshold_agrees_with_sklearn(name, reference):
    rng = np.random.default_rng(5)
    label, called = rng.integers(2, size=(2, 90))
    assert float(classification.AT_THRESHOLD[name](*discrimination.counts(label, called))) == pytest.approx(
        reference(label, called)
    )


@pytest.mark.parametrize("name", classification.AT_THRESHOLD)
def test_metric_broadcasts_and_is_nan_without_a_warning_where_undefined(name):
    tables = np.array([[2.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        defined, undefined = classification.AT_THRESHOLD[name](*tables)
    assert np.isfinite(defined)
    assert np.isnan(undefined)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("sensitivity", (0, 1, 2, 0)),
        ("specificity", (2, 0, 0, 1)),
        ("ppv", (0, 0, 2, 1)),
        ("npv", (2, 1, 0, 0)),
        ("f1", (0, 0, 2, 0)),
        ("balanced_accuracy", (0, 1, 2, 0)),
        ("mcc", (0, 0, 2, 1)),
        ("likelihood_ratio_positive", (2, 0, 2, 1)),
        ("likelihood_ratio_positive", (0, 1, 2, 0)),
        ("likelihood_ratio_negative", (2, 1, 0, 1)),
        ("likelihood_ratio_negative", (0, 1, 2, 0)),
        ("diagnostic_odds", (2, 1, 2, 0)),
        ("diagnostic_odds", (0, 0, 2, 0)),
    ],
)
def test_metric_without_its_rows_is_nan(name, table):
    assert np.isnan(classification.AT_THRESHOLD[name](*table))


def test_predictive_values_at_a_prevalence_by_hand():
    table = discrimination.counts(LABEL, CALLED)
    # Of 1,000 with 100 malignant: 66.7 found, 300 called falsely, 600 cleared, 33.3 missed.
    assert classification.ppv_at(0.1)(*table) == pytest.approx(66.7 / 366.7, abs=1e-4)
    assert classification.npv_at(0.1)(*table) == pytest.approx(600 / 633.3, abs=1e-4)


@given(st.tuples(*[st.integers(1, 50)] * 4))
@examples(50)
def test_predictive_values_at_the_rows_own_prevalence_are_the_plain_ones(table):
    tp, fp, tn, fn = map(float, table)
    own = (tp + fn) / (tp + fp + tn + fn)
    assert classification.ppv_at(own)(tp, fp, tn, fn) == pytest.approx(float(classification.ppv(tp, fp, tn, fn)))
    assert classification.npv_at(own)(tp, fp, tn, fn) == pytest.approx(float(classification.npv(tp, fp, tn, fn)))


@pytest.mark.parametrize("metric", [classification.ppv_at(0.01), classification.npv_at(0.01)])
def test_predictive_values_at_a_prevalence_need_both_classes(metric):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(metric(*np.array([[0.0, 2.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))).all()


def test_partial_auc_by_hand():
    # Up to a false positive rate of .2 the sensitivity is 2/3; the diagonal's area is .02, the perfect one .2.
    assert classification.partial_auc(LABEL, PROB) == pytest.approx((1 + (0.2 * 2 / 3 - 0.02) / (0.2 - 0.02)) / 2)


@given(rows_with_ties, st.floats(0, 0.95))
@examples(100)
def test_partial_auc_agrees_with_sklearn(rows, min_specificity):
    label, prob = arrays(rows)
    expected = sk.roc_auc_score(label, prob, max_fpr=1 - min_specificity)
    assert classification.partial_auc(label, prob, min_specificity) == pytest.approx(expected)


def test_curve_metrics_by_hand():
    # Malignant beats benign in 3 + 3 + 2 of 9 pairs; precision 1, 1, 3/4 at the three malignant rows.
    assert discrimination.auc(LABEL, PROB) == pytest.approx(8 / 9)
    assert classification.average_precision(LABEL, PROB) == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert classification.brier(LABEL, PROB) == pytest.approx((0.01 + 0.04 + 0.49 + 0.36 + 0.09 + 0.01) / 6)


@given(rows_with_ties)
@examples(100)
def test_curve_metrics_agree_with_sklearn(rows):
    label, prob = arrays(rows)
    assert discrimination.auc(label, prob) == pytest.approx(sk.roc_auc_score(label, prob))
    assert classification.average_precision(label, prob) == pytest.approx(sk.average_precision_score(label, prob))
    assert classification.brier(label, prob) == pytest.approx(sk.brier_score_loss(label, prob))
    for ours, theirs in zip(
        discrimination.roc_points(label, prob), sk.roc_curve(label, prob, drop_intermediate=False), strict=True
    ):
        assert_allclose(ours, theirs)


@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1], []])
def test_curve_metrics_are_nan_when_a_class_is_missing(label):
    prob = np.linspace(0, 1, len(label))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(discrimination.auc(label, prob))
        assert np.isnan(classification.partial_auc(label, prob))
        fpr, tpr, _ = discrimination.roc_points(label, prob)
        assert np.isnan(fpr).all() or np.isnan(tpr).all()
        assert np.isnan(classification.average_precision(label, prob)) == (1 not in label)


def test_constant_scores_rank_nothing():
    assert discrimination.auc(LABEL, np.full(6, 0.3)) == 0.5
    assert classification.partial_auc(LABEL, np.full(6, 0.3)) == pytest.approx(0.5)


@given(rows_with_ties, st.floats(0.01, 1))
@examples(100)
def test_threshold_for_sensitivity_is_the_highest_that_reaches_the_target(rows, target):
    label, prob = arrays(rows)
    threshold = thresholds.threshold_for_sensitivity(label, prob, target)

    def found(at: float) -> float:
        return float(np.mean(prob[label == 1] >= at))

    assert found(threshold) >= target
    assert found(np.nextafter(threshold, np.inf)) < target


def test_threshold_for_sensitivity_is_not_misled_by_rounding():
    # .07 * 100 is 7.000000000000001 in floating point; seven of a hundred are enough.
    assert thresholds.threshold_for_sensitivity(np.ones(100), np.arange(100), 0.07) == 93


@given(rows_with_ties, st.floats(0.01, 1))
@examples(100)
def test_threshold_for_specificity_is_the_lowest_that_reaches_the_target(rows, target):
    label, prob = arrays(rows)
    threshold = thresholds.threshold_for_specificity(label, prob, target)

    def spared(at: float) -> float:
        return float(np.mean(prob[label == 0] < at))

    assert spared(threshold) >= target
    assert spared(np.nextafter(threshold, -np.inf)) < target


def test_threshold_for_specificity_is_finite_where_nothing_may_be_called():
    assert thresholds.threshold_for_specificity([0, 0, 1], [1, 1, 1], 1.0) == np.nextafter(1, 2)


@given(rows_with_ties, st.sampled_from([0.25, 1, 3, 10]))
@examples(100)
def test_threshold_for_cost_costs_least_and_is_the_highest_such(rows, cost_ratio):
    label, prob = arrays(rows)

    def cost(at: float) -> float:
        return float(cost_ratio * np.sum(prob[label == 1] < at) + np.sum(prob[label == 0] >= at))

    threshold = thresholds.threshold_for_cost(label, prob, cost_ratio)
    costs = {at: cost(at) for at in np.unique(prob)}
    assert threshold == max(at for at, value in costs.items() if value == min(costs.values()))


def test_a_higher_cost_of_a_miss_never_raises_the_threshold():
    label, prob = np.random.default_rng(3).integers(2, size=80), np.random.default_rng(4).random(80)
    chosen = [thresholds.threshold_for_cost(label, prob + 0.3 * label, ratio) for ratio in (0.2, 1, 3, 10, 100)]
    assert chosen == sorted(chosen, reverse=True)


def test_of_equal_j_the_highest_threshold_is_chosen_whatever_the_rounding():
    # At .8 J is 2/3 - 0, at .4 it is 1 - 1/3, which is the larger one in floating point.
    assert thresholds.threshold_youden(LABEL, PROB) == 0.8


@pytest.mark.parametrize("name", thresholds.THRESHOLD_RULES)
def test_every_rule_takes_label_prob_and_value_and_ignores_the_order_of_rows(name):
    rule = thresholds.THRESHOLD_RULES[name]
    assert rule(LABEL, PROB, 0.8) == rule(LABEL[::-1], PROB[::-1], 0.8)
    of_equal_scores = 0.8 if name == thresholds.READER_CUT else 0.3  # the reader's cut is no choice
    assert rule(LABEL, np.full(6, 0.3), 0.8) == pytest.approx(of_equal_scores)


@given(rows_with_ties)
@examples(100)
def test_threshold_youden_has_the_largest_j_and_is_finite(rows):
    label, prob = arrays(rows)

    def j(at: float) -> float:
        return float(np.mean(prob[label == 1] >= at) - np.mean(prob[label == 0] >= at))

    threshold = thresholds.threshold_youden(label, prob)
    assert threshold in prob
    assert j(threshold) == pytest.approx(max(j(at) for at in np.unique(prob)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: discrimination.auc([0, 2], [0.1, 0.2]), "label holds .*2.* at row 1"),
        (lambda: discrimination.auc([0, np.nan], [0.1, 0.2]), "label holds .*nan.* at row 1"),
        (lambda: discrimination.auc([[0, 1]], [0.1, 0.2]), r"label has shape \(1, 2\)"),
        (lambda: discrimination.auc([0, 1], [0.1, np.nan]), "not finite in 1 of 2 rows .first: row 1"),
        (lambda: discrimination.auc([0, 1], [np.inf, 0.1]), "not finite in 1 of 2 rows .first: row 0"),
        (lambda: discrimination.auc([0, 1], [0.1, -np.inf]), "not finite in 1 of 2 rows .first: row 1"),
        (lambda: discrimination.auc([0, 1], [0.1]), r"prob has shape \(1,\) but there are 2 labels"),
        (lambda: classification.brier([0, 1], [0.1, 4]), r"prob is 4\.0 at row 1"),
        (lambda: discrimination.counts([0, 1], [0, 3]), "predicted_positive holds .*3.* at row 1"),
        (lambda: discrimination.counts([0, 1], [0]), "predicted_positive has 1 rows but label has 2"),
        (lambda: discrimination.counts([0, 1], [0, 1], [[1, 1, 1]]), r"expected \(resamples, 2\)"),
        (
            lambda: thresholds.threshold_for_sensitivity([0, 0], [0.1, 0.2], 0.9),
            "none of the 2 rows is positive",
        ),
        (lambda: thresholds.threshold_for_sensitivity([0, 1], [0.1, 0.2], 90), "target sensitivity is 90"),
        (lambda: thresholds.threshold_youden([1, 1], [0.1, 0.2]), "needs both classes"),
        (lambda: thresholds.threshold_for_cost([0, 0], [0.1, 0.2], 3), "needs both classes"),
        (lambda: thresholds.threshold_for_cost([0, 1], [0.1, 0.2], 0), "cost ratio is 0"),
        (lambda: thresholds.threshold_for_specificity([1, 1], [0.1, 0.2], 0.9), "all 2 rows are positive"),
        (lambda: thresholds.threshold_for_specificity([0, 1], [0.1, 0.2], 80), "target specificity is 80"),
        (lambda: classification.partial_auc([0, 1], [0.1, 0.2], 1), "min_specificity is 1"),
        (lambda: classification.ppv_at(0), "prevalence is 0"),
        (lambda: classification.npv_at(40), "prevalence is 40"),
    ],
)
def test_wrong_input_is_refused_with_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()
