"""The AUC within strata: exact against a double loop, equal to the plain one in one stratum, 1/2 for the stratum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.metrics import auc_tests, controlled_auc, discrimination
from mammo.metrics.resampling import LabelledRows, Resampling
from tests.examples import examples

FEW = Resampling(20, seed=0)
MANY = Resampling(400, seed=1)


def naive(label: np.ndarray, prob: np.ndarray, stratum: np.ndarray) -> float:
    won = pairs = 0.0
    for i in np.flatnonzero(label == 1):
        for j in np.flatnonzero(label == 0):
            if stratum[i] == stratum[j]:
                pairs += 1
                won += 1.0 if prob[i] > prob[j] else 0.5 if prob[i] == prob[j] else 0.0
    return won / pairs if pairs else np.nan


@examples(60)
@given(st.integers(0, 10**6), st.integers(2, 30), st.integers(1, 4))
def test_it_is_the_share_of_pairs_within_strata(seed: int, n: int, strata: int) -> None:
    rng = np.random.default_rng(seed)
    label, stratum = rng.integers(0, 2, n), rng.integers(0, strata, n)
    prob = rng.integers(0, 6, n) / 5
    value = controlled_auc.controlled_auc(LabelledRows(label, None), prob, stratum, FEW).value
    assert value == pytest.approx(naive(label, prob, stratum), nan_ok=True)


def test_each_draw_is_the_auc_of_the_drawn_rows() -> None:
    rng = np.random.default_rng(2)
    label, stratum, prob = rng.integers(0, 2, 40), rng.integers(0, 3, 40), rng.random(40).round(1)
    patient = np.repeat(np.arange(20), 2)
    rows, rankings = LabelledRows(label, patient), None
    rankings = controlled_auc._rank(rows, prob, stratum)
    weights = np.repeat(rng.integers(0, 3, (5, 20)), 2, axis=1)
    drawn = [np.repeat(np.arange(40), times) for times in weights]
    expected = [naive(label[row], prob[row], stratum[row]) for row in drawn]
    assert controlled_auc._aucs(rankings, weights) == pytest.approx(expected)


def test_in_one_stratum_it_is_the_plain_auc_with_its_test() -> None:
    rng = np.random.default_rng(3)
    label, patient = rng.integers(0, 2, 200), np.repeat(np.arange(100), 2)
    a, b = (rng.normal(label, 1) for _ in range(2))
    rows, one = LabelledRows(label, patient), np.zeros(200, int)
    assert controlled_auc.controlled_auc(rows, a, one, MANY).value == pytest.approx(discrimination.auc(label, a))
    plain, controlled = (
        auc_tests.paired_auc_test(rows, a, b, MANY),
        controlled_auc.paired_controlled_test(rows, (a, b), one, MANY),
    )
    assert controlled.difference == pytest.approx(plain.difference)
    assert (controlled.low, controlled.high) == pytest.approx((plain.low, plain.high))
    assert controlled.p_value == pytest.approx(plain.p_value, rel=0.3, abs=0.02)


def test_over_folds_it_is_the_average_of_the_folds() -> None:
    rng = np.random.default_rng(4)
    label, stratum, prob, fold = rng.integers(0, 2, 90), rng.integers(0, 2, 90), rng.random(90), np.arange(90) % 3
    value = controlled_auc.controlled_auc(LabelledRows(label, None, fold), prob, stratum, FEW).value
    each = [naive(label[fold == k], prob[fold == k], stratum[fold == k]) for k in range(3)]
    assert value == pytest.approx(np.mean(each))


def test_a_score_that_only_knows_the_stratum_is_worth_nothing() -> None:
    rng = np.random.default_rng(5)
    stratum = rng.integers(0, 4, 4000)
    label = (rng.random(4000) < 0.2 + 0.2 * stratum).astype(int)
    rows = LabelledRows(label, None)
    assert discrimination.auc(label, stratum / 3) > 0.65
    result = controlled_auc.controlled_auc(rows, stratum / 3 + rng.normal(0, 1e-3, 4000), stratum, MANY)
    assert result.low < 0.5 < result.high
    assert result.high - result.low < 0.1
    lesion = rng.normal(label, 1)
    gain = controlled_auc.paired_controlled_test(rows, (lesion, lesion + 1e-9 * stratum), stratum, MANY)
    assert abs(gain.difference) < 1e-3
    better = controlled_auc.paired_controlled_test(rows, (rng.random(4000), lesion), stratum, MANY)
    assert better.low > 0.15
    assert better.p_value < 1e-6


def test_what_has_no_pair_has_no_value() -> None:
    rows = LabelledRows([0, 0, 1, 1], ["a", "b", "c", "d"])
    result = controlled_auc.controlled_auc(rows, [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], FEW)
    assert np.isnan([result.value, result.low, result.high]).all()
    same = controlled_auc.paired_controlled_test(rows, ([1, 2, 3, 4], [1, 2, 3, 4]), [0, 0, 0, 0], FEW)
    assert same.p_value == 1
    with pytest.raises(ValueError, match="one stratum per row"):
        controlled_auc.controlled_auc(rows, [0.1, 0.2, 0.3, 0.4], [0], FEW)
