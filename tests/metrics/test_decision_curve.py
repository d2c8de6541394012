"""Net benefit by hand, against its definition row by row, and its known bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from mammo.core.errors import InputError
from mammo.metrics import decision_curve, discrimination
from tests.examples import examples

LABEL = np.array([1, 0, 1, 0])
PROB = np.array([0.9, 0.6, 0.25, 0.1])


def test_by_hand():
    # At 0 and .1 all four are called; at .25 the first three, at .5 the first two, at .95 none.
    thresholds = [0, 0.1, 0.25, 0.5, 0.95]
    expected = [2 / 4, 2 / 4 - 2 / 4 / 9, 2 / 4 - 1 / 4 / 3, 1 / 4 - 1 / 4, 0]
    assert_allclose(decision_curve.net_benefit(LABEL, PROB, thresholds), expected)
    assert_allclose(
        decision_curve.treat_all(LABEL, thresholds), [2 / 4 - 2 / 4 * odds for odds in (0, 1 / 9, 1 / 3, 1, 19)]
    )
    assert_array_equal(decision_curve.treat_none(thresholds), np.zeros(5))


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=1, max_size=50),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
)
@examples(100)
def test_is_the_definition_at_each_threshold(rows, tenths):
    label, prob = np.array(rows).T
    thresholds = np.array(tenths) / 10
    expected = []
    for threshold in thresholds:
        table = discrimination.counts(label, prob / 10 >= threshold)
        expected.append((table.tp - table.fp * threshold / (1 - threshold)) / label.size)
    assert_allclose(decision_curve.net_benefit(label, prob / 10, thresholds), expected, atol=1e-12)


def test_a_model_that_calls_all_or_none_is_the_reference():
    thresholds = np.linspace(0, 0.99, 50)
    assert_allclose(
        decision_curve.net_benefit(LABEL, np.ones(4), thresholds), decision_curve.treat_all(LABEL, thresholds)
    )
    assert_array_equal(decision_curve.net_benefit(LABEL, np.zeros(4), thresholds[1:]), 0)


def test_treating_all_is_worth_nothing_at_the_prevalence():
    assert decision_curve.treat_all([1, 0, 0, 0], [0.25]) == pytest.approx(0)


def test_true_probabilities_never_fall_below_the_references_by_more_than_chance():
    rng = np.random.default_rng(0)
    prob = expit(1.5 * rng.normal(size=20_000))
    label = rng.random(20_000) < prob
    thresholds = np.linspace(0.05, 0.95, 19)
    model = decision_curve.net_benefit(label, prob, thresholds)
    assert np.all(model > np.maximum(decision_curve.treat_all(label, thresholds), 0) - 0.005)
    assert np.all(model <= label.mean())


def test_one_class_is_defined_and_no_row_is_not():
    assert_allclose(decision_curve.net_benefit([0, 0], [0.2, 0.8], [0.5]), [-0.5])
    assert_allclose(decision_curve.net_benefit([1, 1], [0.2, 0.8], [0.5]), [0.5])
    assert np.isnan(decision_curve.net_benefit([], [], [0.5])).all()
    assert np.isnan(decision_curve.treat_all([], [0.5])).all()


@pytest.mark.parametrize("thresholds", [[0.5, 1], [-0.1], [np.nan], 0.5, [[0.5]]])
def test_a_threshold_that_is_no_trade_off_is_refused(thresholds):
    for call in (
        lambda: decision_curve.net_benefit(LABEL, PROB, thresholds),
        lambda: decision_curve.treat_all(LABEL, thresholds),
        lambda: decision_curve.treat_none(thresholds),
    ):
        with pytest.raises(InputError, match="threshold"):
            call()


def test_scores_that_are_no_probabilities_are_refused():
    with pytest.raises(InputError, match="prob is 4"):
        decision_curve.net_benefit([0, 1], [0.1, 4], [0.5])
