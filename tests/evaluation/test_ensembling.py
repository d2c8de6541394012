"""Ensembles: means by hand, weights from validation rows alone, never worse than the mean where they were fitted."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.core.errors import InputError
from mammo.evaluation import ensembling
from tests import arrays
from tests.examples import examples

MEMBERS = {
    "good": arrays.predictions(skill=3, seed=1),
    "fair": arrays.predictions(skill=1.5, seed=2),
    "blind": arrays.predictions(skill=0, seed=3),
}


FOLDS = arrays.index(60).set_index("sample_id")["patient_id"].rank(method="dense").astype(int) % 3


def log_loss(weights: npt.NDArray[np.float64], probs: npt.NDArray[np.float64], label: npt.NDArray[np.float64]) -> float:
    prob = np.clip(probs @ weights, ensembling.PROB_FLOOR, 1 - ensembling.PROB_FLOOR)
    return float(-np.mean(label * np.log(prob) + (1 - label) * np.log(1 - prob)))


def test_the_mean_by_hand():
    tables = {name: arrays.predictions(patients=10).assign(prob=prob) for name, prob in (("a", 0.2), ("b", 0.7))}
    combined, combination = ensembling.combine(tables, "mean", FOLDS)
    np.testing.assert_allclose(combined["prob"], 0.45)
    assert combination.by_member() == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize("method", sorted(ensembling.METHODS))
def test_the_combined_table_has_the_samples_of_its_members(method):
    combined, combination = ensembling.combine(MEMBERS, method, FOLDS)
    pd.testing.assert_frame_equal(combined[ensembling.SAMPLE], MEMBERS["good"][ensembling.SAMPLE])
    assert combined["prob"].between(0, 1).all()
    assert list(combination.by_member()) == list(MEMBERS)


@pytest.mark.parametrize("method", sorted(ensembling.METHODS))
def test_one_member_is_its_own_ensemble(method):
    combined, combination = ensembling.combine({"good": MEMBERS["good"]}, method, FOLDS)
    test = MEMBERS["good"]["split"] == "test"  # validation rows have a combination for each fold
    order = MEMBERS["good"].loc[test, "prob"].argsort()
    assert combined.loc[test, "prob"].iloc[order].is_monotonic_increasing
    if method != "stacked":  # which also recalibrates
        np.testing.assert_allclose(combined["prob"], MEMBERS["good"]["prob"], atol=1e-12)
        assert combination.weights[0] == pytest.approx(1)


CASES = pd.DataFrame(
    [
        ("a_cc", "P1", "LEFT", "CC", "1", "mass"),
        ("a_mlo", "P1", "LEFT", "MLO", "1", "mass"),
        ("b_cc", "P1", "LEFT", "CC", "2", "mass"),
        ("c_mlo", "P1", "RIGHT", "MLO", "1", "mass"),
        ("d_mlo", "P1", "RIGHT", "MLO", "1", "calcification"),
    ],
    columns=["sample_id", "patient_id", "laterality", "view", "abnormality_id", "abnormality_type"],
).assign(pathology="BENIGN", birads=2, official_split="test")


def scored() -> pd.DataFrame:
    return CASES[["sample_id", "patient_id"]].assign(split="test", label=1, prob=[0.2, 0.8, 0.6, 0.9, 0.3])


def test_the_two_views_of_a_lesion_share_the_mean_of_their_log_odds_and_others_stay_alone():
    together = ensembling.average_views(scored(), CASES, "lesion")
    np.testing.assert_allclose(together["prob"], [0.5, 0.5, 0.6, 0.9, 0.3])
    pd.testing.assert_frame_equal(together[ensembling.SAMPLE], scored()[ensembling.SAMPLE])


def test_the_images_of_a_breast_share_theirs():
    odds = np.log([0.2 / 0.8, 0.8 / 0.2, 0.6 / 0.4, 0.9 / 0.1, 0.3 / 0.7])
    left, right = odds[:3].mean(), odds[3:].mean()
    together = ensembling.average_views(scored(), CASES, "image")
    np.testing.assert_allclose(np.log(together["prob"] / (1 - together["prob"])), [left] * 3 + [right] * 2)


def test_views_of_unknown_samples_are_refused():
    with pytest.raises(InputError, match=r"1 predicted sample.*d_mlo"):
        ensembling.average_views(scored(), CASES.iloc[:4], "lesion")


@st.composite
def validation(draw: st.DrawFn) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Probabilities (n, models), with certain ones and copies among them, and labels (n,) of one or both classes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, members = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    probs = rng.random((rows, members))
    if draw(st.booleans()):
        probs = probs.round()
    if draw(st.booleans()):
        probs[:, -1] = probs[:, 0]
    return probs, rng.integers(0, 2, rows).astype(np.float64)


@examples(150)
@given(validation())
def test_fitted_weights_are_shares_and_never_worse_than_the_mean(rows):
    probs, label = rows
    weights = ensembling.fit_weights(probs, label).weights
    assert weights.shape == (probs.shape[1],)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    assert log_loss(weights, probs, label) <= log_loss(ensembling.fit_mean(probs, label).weights, probs, label) + 1e-9


@pytest.mark.parametrize("method", ["weighted", "stacked"])
def test_validation_rows_are_combined_without_their_own_fold(method):
    """A label that is turned changes the scores of the other folds' rows alone."""
    members = {"fair": MEMBERS["fair"], "like it": arrays.predictions(skill=1.5, seed=4)}
    combined, _ = ensembling.combine(members, method, FOLDS)
    turned = MEMBERS["good"].loc[MEMBERS["good"]["split"] == "val", "sample_id"].iloc[0]

    def turn(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(label=table["label"].where(table["sample_id"] != turned, 1 - table["label"]))

    other, _ = ensembling.combine({name: turn(table) for name, table in members.items()}, method, FOLDS)
    validation = combined["split"] == "val"
    changed = combined.loc[validation & (combined["prob"] != other["prob"]), "sample_id"]
    same_fold = combined.loc[validation & (combined["sample_id"].map(FOLDS) == FOLDS[turned]), "sample_id"]
    assert len(changed)
    assert not set(changed) & set(same_fold)


def test_validation_rows_without_folds_are_refused_with_the_cure():
    with pytest.raises(InputError, match=r"validation rows have no fold.*dvc repro"):
        ensembling.combine(MEMBERS, "mean", FOLDS.iloc[:3])


def test_weights_are_multiples_of_a_millionth_whatever_the_last_digits_were():
    exact = np.array([1 / 3, 1 / 3 + 4e-17, 1 / 3, -1e-18])
    rounded = ensembling.round_weights(exact)
    np.testing.assert_array_equal(rounded, ensembling.round_weights(exact + 1e-16))
    assert rounded.sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_array_equal(rounded * 1e6, np.round(rounded * 1e6))


def test_scores_without_the_lesion_are_combined_by_the_same_weights():
    tables = {name: table.assign(prob_without_lesion=table["prob"] / 2) for name, table in MEMBERS.items()}
    combined, combination = ensembling.combine(tables, "weighted", FOLDS)
    expected = combination(np.column_stack([table["prob"] / 2 for table in MEMBERS.values()]))
    np.testing.assert_array_equal(combined["prob_without_lesion"], expected)


@pytest.mark.parametrize("method", ["weighted", "stacked"])
def test_the_better_member_weighs_more(method):
    weights = ensembling.combine(MEMBERS, method, FOLDS)[1].by_member()
    assert weights["good"] > weights["blind"]


def test_weights_are_those_of_a_fine_grid():
    rows = MEMBERS["good"]["split"] == "val"
    probs = np.column_stack([MEMBERS[name].loc[rows, "prob"] for name in ("fair", "blind")])
    label = MEMBERS["good"].loc[rows, "label"].to_numpy(float)
    grid = np.linspace(0, 1, 2001)
    best = grid[np.argmin([log_loss(np.array([share, 1 - share]), probs, label) for share in grid])]
    assert ensembling.fit_weights(probs, label).weights[0] == pytest.approx(best, abs=2e-3)


@pytest.mark.parametrize("column", ["label", "prob"])
@pytest.mark.parametrize("method", sorted(ensembling.METHODS))
def test_test_rows_do_not_reach_the_weights(method, column):
    def inverted(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{column: table[column].where(table["split"] == "val", 1 - table[column])})

    _, fitted = ensembling.combine(MEMBERS, method, FOLDS)
    _, other = ensembling.combine({name: inverted(table) for name, table in MEMBERS.items()}, method, FOLDS)
    assert fitted.to_json() == other.to_json()


@pytest.mark.parametrize("method", sorted(ensembling.METHODS))
def test_a_combination_is_read_back_to_the_last_bit(method):
    combined, fitted = ensembling.combine(MEMBERS, method, FOLDS)
    again = ensembling.Combination.from_json(fitted.to_json())
    assert again.to_json() == fitted.to_json()
    assert again.members == tuple(MEMBERS)
    probs = np.column_stack([table["prob"] for table in MEMBERS.values()])
    test = (combined["split"] == "test").to_numpy()
    np.testing.assert_array_equal(again(probs)[test], combined.loc[test, "prob"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"kind": "probabilities", "intercept": 0, "weights": {}}',
        '{"kind": "median", "intercept": 0, "weights": {"a": 1}}',
        '{"kind": "log_odds", "intercept": 0, "weights": 1}',
        '{"kind": "log_odds", "intercept": NaN, "weights": {"a": 1}}',
        '{"kind": "log_odds", "intercept": 0, "weights": {"a": Infinity}}',
        '{"kind": "log_odds", "intercept": 0, "weights": {"a": [1, 2]}}',
        '{"kind": "probabilities", "intercept": 0, "weights": {"a": 7}}',
        '{"kind": "probabilities", "intercept": 0, "weights": {"a": 2, "b": -1}}',
        '{"kind": "probabilities", "intercept": 0.5, "weights": {"a": 1}}',
    ],
)
def test_what_is_no_combination_is_refused_with_the_cure(text):
    with pytest.raises(InputError, match=r"no combination of an ensemble: .*dvc repro ensemble"):
        ensembling.Combination.from_json(text)


@pytest.mark.parametrize(
    "other",
    [
        MEMBERS["fair"].iloc[1:],
        MEMBERS["fair"].iloc[::-1],
        MEMBERS["fair"].assign(label=1 - MEMBERS["fair"]["label"]),
        MEMBERS["fair"].assign(split="test"),
    ],
    ids=["fewer", "another order", "other labels", "other splits"],
)
def test_members_over_other_samples_are_refused(other):
    with pytest.raises(InputError, match="predictions of fair are for other samples than good's"):
        ensembling.combine({"good": MEMBERS["good"], "fair": other}, "mean", FOLDS)


@examples(50)
@given(validation())
def test_stacking_gives_probabilities_whatever_the_members_say(rows):
    probs, label = rows
    combined = ensembling.fit_stacking(probs, label)(probs)
    assert combined.shape == (len(label),)
    assert ((combined >= 0) & (combined <= 1)).all()


def test_stacking_recalibrates_members_that_are_all_too_sure():
    rows = MEMBERS["fair"]["split"] == "val"
    label = MEMBERS["fair"].loc[rows, "label"].to_numpy(float)
    odds = 8 * np.log(MEMBERS["fair"]["prob"] / (1 - MEMBERS["fair"]["prob"]))
    sure = (1 / (1 + np.exp(-odds))).loc[rows].to_numpy()[:, np.newaxis]
    combined = ensembling.fit_stacking(sure, label)(sure)
    one = np.ones(1)
    assert log_loss(one, combined[:, np.newaxis], label) < log_loss(one, sure, label)
