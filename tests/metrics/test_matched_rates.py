"""A model at a reader's rates: by hand, against a reader who is a point of the model's own curve, and its interval."""

import numpy as np
import pytest

from mammo.metrics import matched_rates
from mammo.metrics.resampling import LabelledRows, Resampling

LABEL = np.array([1, 1, 1, 1, 0, 0, 0, 0])
PROB = np.array([0.9, 0.8, 0.6, 0.2, 0.7, 0.5, 0.3, 0.1])
READER = np.array([1, 1, 0, 1, 1, 1, 0, 0])  # sensitivity 3 of 4, specificity 2 of 4
RESAMPLING = Resampling(200, 3)


def rates(prob, reader, label=LABEL, patient_id=None) -> list[matched_rates.MatchedRate]:
    return matched_rates.match_rates(LabelledRows(label, patient_id), prob, reader, RESAMPLING)


def test_rates_by_hand():
    sensitivity, specificity = rates(PROB, READER)
    assert (sensitivity.rate, specificity.rate) == matched_rates.RATES
    assert (sensitivity.reader.value, specificity.reader.value) == (0.75, 0.5)
    # With two false positives allowed (.7, .5) three malignant rows are called; three are reached with one (.7).
    assert (sensitivity.model.value, specificity.model.value) == (0.75, 0.75)
    assert (sensitivity.difference.value, specificity.difference.value) == (0, 0.25)


def test_between_two_points_of_the_curve_the_line_is_read():
    tied = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1])  # points (0, 1/4) and (1/2, 1)
    reader = np.array([1, 1, 1, 0, 1, 0, 0, 0])  # sensitivity 3/4, specificity 3/4
    sensitivity, specificity = rates(tied, reader)
    assert sensitivity.model.value == pytest.approx((1 / 4 + 1) / 2)
    assert specificity.model.value == pytest.approx(1 - 1 / 3)


@pytest.mark.parametrize("threshold", [0.4, 0.5, 0.6])
def test_a_model_has_its_own_rates_where_the_reader_is_the_model(threshold):
    rng = np.random.default_rng(1)
    label = np.repeat(rng.integers(0, 2, 60), 2)
    prob = np.round(rng.random(120) * 0.8 + 0.2 * label, 3)
    sensitivity, specificity = rates(prob, prob >= threshold, label, np.repeat(np.arange(60), 2))
    for matched in (sensitivity, specificity):
        # A curve may be flat at the reader's point: the model then reaches at least as much.
        assert 0 <= matched.difference.value < 0.1
        assert matched.model.low <= matched.model.value <= matched.model.high


def test_a_better_model_is_found_better_and_the_interval_says_so():
    rng = np.random.default_rng(2)
    label = np.repeat(np.arange(2), 150)
    prob, reader = 1 / (1 + np.exp(-3 * label - rng.normal(size=300))), rng.random(300) < 0.3 + 0.4 * label
    for matched in rates(prob, reader, label):
        assert matched.difference.low > 0
        assert matched.difference.value == pytest.approx(matched.model.value - matched.reader.value)


def test_a_constant_score_is_chance():
    sensitivity, specificity = rates(np.full(8, 0.5), READER)
    assert (sensitivity.model.value, specificity.model.value) == (0.5, 0.25)


def test_without_a_class_nothing_is_estimable():
    for matched in rates(PROB[:4], READER[:4], LABEL[:4]):
        assert np.isnan(matched.model.value)
        assert np.isnan(matched.difference.low)
