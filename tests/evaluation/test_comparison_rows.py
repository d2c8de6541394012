"""Evaluation: the operating point is validation's alone, every row carries its intervals, pairs are compared once."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from mammo.evaluation import comparison_rows
from mammo.metrics import auc_tests, classification, discrimination
from mammo.metrics.thresholds import threshold_for_sensitivity
from tests import arrays

SEED = 7
METRICS = {"auc", "average_precision", "brier", *classification.AT_THRESHOLD}


def test_the_threshold_reaches_the_target_sensitivity_on_validation():
    table = arrays.predictions(skill=1)
    (threshold,) = comparison_rows.evaluate_predictions(table, arrays.EVALUATE, SEED).thresholds
    malignant = table.query("split == 'val' and label == 1")["prob"]
    assert (malignant >= threshold).mean() >= arrays.EVALUATE.value
    assert (malignant > threshold).mean() < arrays.EVALUATE.value


@pytest.mark.parametrize("column", ["label", "prob"])
def test_test_rows_do_not_move_the_threshold(column):
    table = arrays.predictions(skill=1)
    changed = table.assign(**{column: table[column].where(table["split"] == "val", 1 - table[column])})
    thresholds = [
        comparison_rows.evaluate_predictions(rows, arrays.EVALUATE, SEED).thresholds for rows in (table, changed)
    ]
    assert thresholds[0] == thresholds[1]


def test_validation_rows_do_move_it():
    table = arrays.predictions(skill=1)
    changed = table.assign(prob=table["prob"].where(table["split"] == "test", table["prob"] / 2))
    thresholds = [
        comparison_rows.evaluate_predictions(rows, arrays.EVALUATE, SEED).thresholds for rows in (table, changed)
    ]
    assert thresholds[1][0] == pytest.approx(thresholds[0][0] / 2)


def test_the_reported_rows_are_the_test_rows_called_at_the_threshold():
    table = arrays.predictions(skill=1)
    evaluated = comparison_rows.evaluate_predictions(table, arrays.EVALUATE, SEED)
    test = table[table["split"] == "test"]
    pd.testing.assert_frame_equal(evaluated.rows.drop(columns="predicted_positive"), test)
    np.testing.assert_array_equal(evaluated.rows["predicted_positive"], test["prob"] >= evaluated.thresholds[0])


def test_values_hold_every_metric_with_limits_that_enclose_it():
    values = comparison_rows.evaluate_predictions(arrays.predictions(skill=1), arrays.EVALUATE, SEED).to_metrics()
    limits = {f"{name}_{limit}" for name in METRICS for limit in ("low", "high")}
    assert set(values) == METRICS | limits | {"n", "n_patients", "threshold"}
    assert values["n"] == 24
    assert values["n_patients"] == 12
    estimable = {name for name in METRICS if np.isfinite(values[f"{name}_low"])}
    assert estimable >= METRICS - {"likelihood_ratio_negative", "diagnostic_odds"}
    for name in estimable:
        assert values[f"{name}_low"] <= values[name] <= values[f"{name}_high"]


def test_values_are_the_metrics_of_the_test_rows():
    evaluated = comparison_rows.evaluate_predictions(arrays.predictions(skill=1), arrays.EVALUATE, SEED)
    rows, values = evaluated.rows, evaluated.to_metrics()
    assert values["auc"] == pytest.approx(discrimination.auc(rows["label"], rows["prob"]))
    counts = discrimination.counts(rows["label"], rows["predicted_positive"])
    assert values["sensitivity"] == pytest.approx(float(discrimination.sensitivity(*counts)))
    assert values["specificity"] == pytest.approx(float(discrimination.specificity(*counts)))


def test_intervals_depend_on_the_seed_alone():
    table = arrays.predictions(skill=1)
    one, same, other = (
        comparison_rows.evaluate_predictions(table, arrays.EVALUATE, seed).to_metrics() for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_each_fold_has_its_own_operating_point():
    table = arrays.out_of_fold(shifts=(-2, 0, 2))
    evaluated = comparison_rows.evaluate_predictions(table, arrays.EVALUATE, SEED)
    expected = [
        threshold_for_sensitivity(rows["label"], rows["prob"], arrays.EVALUATE.value)
        for _, rows in table[table["split"] == "val"].groupby("fold")
    ]
    assert evaluated.thresholds == expected
    own = evaluated.rows["fold"].map(dict(enumerate(expected)))
    np.testing.assert_array_equal(evaluated.rows["predicted_positive"], evaluated.rows["prob"] >= own)
    assert evaluated.to_metrics()["threshold"] == pytest.approx(np.mean(expected))


def test_held_out_rows_do_not_move_their_folds_threshold():
    table = arrays.out_of_fold()
    changed = table.assign(label=table["label"].where(table["split"] == "val", 1 - table["label"]))
    thresholds = [
        comparison_rows.evaluate_predictions(rows, arrays.EVALUATE, SEED).thresholds for rows in (table, changed)
    ]
    assert thresholds[0] == thresholds[1]


def test_every_training_sample_is_held_out_once():
    evaluated = comparison_rows.evaluate_predictions(arrays.out_of_fold(), arrays.EVALUATE, SEED)
    training = arrays.index(60).query("split != 'test'")["sample_id"]
    assert sorted(evaluated.rows["sample_id"]) == sorted(training)


def test_a_shift_between_folds_changes_no_metric():
    """The scores of two folds' models share no scale, so that a constant between them must not count."""
    plain, shifted = (
        comparison_rows.evaluate_predictions(arrays.out_of_fold(shifts=shifts), arrays.EVALUATE, SEED).to_metrics()
        for shifts in ((0, 0, 0), (-2, 0, 2))
    )
    for name in ("auc", "sensitivity", "specificity"):
        assert plain[name] == pytest.approx(shifted[name])


@pytest.fixture(scope="module")
def evaluated() -> dict[str, comparison_rows.EvaluatedRow]:
    tables = {f"model_{skill}": arrays.predictions(skill=skill, seed=skill) for skill in range(4)}
    return {name: comparison_rows.evaluate_predictions(table, arrays.EVALUATE, SEED) for name, table in tables.items()}


def test_every_two_models_are_compared_once(evaluated):
    table = comparison_rows.compare_aucs(evaluated, arrays.EVALUATE, SEED)
    assert list(zip(table["model_a"], table["model_b"], strict=True)) == list(combinations(evaluated, 2))
    assert len(table) == 4 * 3 / 2


def test_a_comparison_is_b_less_a_with_limits_and_corrected_p(evaluated):
    table = comparison_rows.compare_aucs(evaluated, arrays.EVALUATE, SEED)
    aucs = {name: row.to_metrics()["auc"] for name, row in evaluated.items()}
    np.testing.assert_allclose(table["difference"], table["model_b"].map(aucs) - table["model_a"].map(aucs))
    assert (table["low"] <= table["difference"]).all()
    assert (table["difference"] <= table["high"]).all()
    np.testing.assert_allclose(table["p_holm"], auc_tests.holm(table["p"].to_numpy()))


def test_the_order_of_a_models_rows_does_not_matter(evaluated):
    name, row = next(iter(evaluated.items()))
    turned = comparison_rows.EvaluatedRow(row.rows.iloc[::-1], row.thresholds, row.intervals)
    pd.testing.assert_frame_equal(
        comparison_rows.compare_aucs(evaluated | {name: turned}, arrays.EVALUATE, SEED).round(9),
        comparison_rows.compare_aucs(evaluated, arrays.EVALUATE, SEED).round(9),
        rtol=0.2,
    )


def test_rows_of_members_are_compared_as_recipes_and_others_on_their_patients_alone(evaluated):
    names = list(evaluated)
    members = {
        name: [arrays.predictions(seed=seed).query("split == 'test'") for seed in range(3)] for name in names[:2]
    }
    alone = comparison_rows.compare_aucs(evaluated, arrays.EVALUATE, SEED)
    table = comparison_rows.compare_aucs(evaluated, arrays.EVALUATE, SEED, members)
    recipes = table["model_a"].isin(members) & table["model_b"].isin(members)
    assert recipes.sum() == 1
    assert table.loc[recipes, "variance"].tolist() == ["patients and trainings"]
    assert set(table.loc[~recipes, "variance"]) == set(alone["variance"]) == {"patients"}
    pd.testing.assert_series_equal(table.loc[~recipes, "low"], alone.loc[~recipes, "low"])


def test_one_model_alone_has_no_comparison(evaluated):
    assert comparison_rows.compare_aucs({"only": evaluated["model_1"]}, arrays.EVALUATE, SEED).empty


def test_the_spread_over_trainings_by_hand():
    one, other = arrays.predictions(seed=1), arrays.predictions(seed=2)
    aucs = [
        discrimination.auc(rows["label"], rows["prob"])
        for rows in (table[table["split"] == "test"] for table in (one, other))
    ]
    found = comparison_rows.summarize_retrainings([one, other])
    assert found["auc_retrained_mean"] == pytest.approx(np.mean(aucs))
    assert found["auc_retrained_sd"] == pytest.approx(abs(aucs[0] - aucs[1]) / np.sqrt(2))
    assert found["retrained"] == 2
    assert comparison_rows.summarize_retrainings([one]) == comparison_rows.summarize_retrainings([]) == {}


def test_the_spread_over_draws_of_folds_is_that_of_the_mean_over_folds():
    table = arrays.out_of_fold(shifts=(-2, 0, 2))
    found = comparison_rows.summarize_retrainings([table, table])
    assert found["auc_retrained_mean"] == pytest.approx(
        comparison_rows.evaluate_predictions(table, arrays.EVALUATE, SEED).intervals["auc"].value
    )
    assert found["auc_retrained_sd"] == pytest.approx(0)
