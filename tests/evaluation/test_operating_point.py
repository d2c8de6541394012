"""Operating points: validation's alone, each fold its own, and the drift by hand on six rows."""

import numpy as np
import pandas as pd
import pytest

from mammo.core.errors import InputError
from mammo.evaluation import clinical_tables, operating_point
from mammo.metrics import classification, thresholds
from tests import arrays

RULES = [("target_sensitivity", 0.8), ("target_specificity", 0.8), ("youden", 0.0), ("cost_ratio", 5.0)]
RATES = ["sensitivity", "specificity"]
CONFIG = arrays.EVALUATE.model_copy(update={"rule": "youden", "value": 0, "prevalence": 0.006})

# Validation: 3 malignant, 3 benign, as in test_metrics; test: the same labels, scores lower by .2 in two rows.
SIX = pd.DataFrame(
    {
        "sample_id": [f"s{row}" for row in range(12)],
        "patient_id": [f"p{row}" for row in range(12)],
        "split": ["val"] * 6 + ["test"] * 6,
        "label": [1, 1, 0, 1, 0, 0] * 2,
        "prob": [0.9, 0.8, 0.7, 0.4, 0.3, 0.1, 0.9, 0.6, 0.5, 0.4, 0.3, 0.1],
    }
)


def test_drift_by_hand():
    found = operating_point.tabulate_drift(SIX, "youden", 0).set_index(["rule", "metric"])
    # Called at .8 or more on validation: 2 of 3 malignant, no benign; on test: 1 of 3, none.
    chosen = found.loc["youden"]
    assert list(chosen["threshold"]) == [0.8, 0.8]
    np.testing.assert_allclose(chosen.loc[RATES, "validation"], [2 / 3, 1])
    np.testing.assert_allclose(chosen.loc[RATES, "test"], [1 / 3, 1])
    np.testing.assert_allclose(chosen.loc[RATES, "drift"], [-1 / 3, 0], atol=1e-12)
    # 90 % of three malignant rows are all three, down to .4; .7 is then called falsely, and .5 on test.
    fixed = found.loc["sensitivity_90"]
    np.testing.assert_allclose(fixed.loc[RATES, "validation"], [1, 2 / 3])
    np.testing.assert_allclose(fixed.loc[RATES, "test"], [1, 2 / 3])


def test_table_has_the_chosen_point_first_and_then_the_fixed_ones():
    found = operating_point.tabulate_drift(arrays.predictions(), "cost_ratio", 5)
    assert list(found.columns) == ["rule", "threshold", "metric", "validation", "test", "drift"]
    assert list(found["rule"].unique()) == ["cost_ratio=5", *operating_point.FIXED_POINTS]
    assert list(found["metric"]) == RATES * 5


@pytest.mark.parametrize("table", [arrays.predictions(), arrays.out_of_fold(shifts=(-2, 0, 2))], ids=["test", "folds"])
def test_fixed_points_reach_their_target_on_validation(table):
    found = operating_point.tabulate_drift(table, "youden", 0).set_index(["rule", "metric"])["validation"]
    assert found["sensitivity_90", "sensitivity"] >= 0.9
    assert found["sensitivity_95", "sensitivity"] >= 0.95
    assert found["specificity_80", "specificity"] >= 0.8
    assert found["specificity_90", "specificity"] >= 0.9


@pytest.mark.parametrize("column", ["label", "prob"])
@pytest.mark.parametrize(("rule", "value"), RULES)
@pytest.mark.parametrize("table", [arrays.predictions(), arrays.out_of_fold()], ids=["test", "folds"])
def test_reported_rows_never_move_a_threshold(table, rule, value, column):
    changed = table.assign(**{column: table[column].where(table["split"] == "val", 1 - table[column])})
    one, other = (operating_point.choose_thresholds(rows, rule, value) for rows in (table, changed))
    pd.testing.assert_series_equal(one, other)
    before, after = (operating_point.tabulate_drift(rows, rule, value) for rows in (table, changed))
    pd.testing.assert_series_equal(before["threshold"], after["threshold"])
    pd.testing.assert_series_equal(before["validation"], after["validation"])
    assert not before["test"].equals(after["test"])


@pytest.mark.parametrize(("rule", "value"), RULES)
def test_each_fold_has_its_own_threshold(rule, value):
    table = arrays.out_of_fold(shifts=(-2, 0, 2))
    frozen = operating_point.choose_thresholds(table, rule, value)
    for fold, rows in table[table["split"] == "val"].groupby("fold"):
        assert frozen[fold] == thresholds.THRESHOLD_RULES[rule](rows["label"], rows["prob"], value)
    found = operating_point.apply_threshold(table, frozen)
    assert set(found["split"]) == {"oof"}
    np.testing.assert_array_equal(found["threshold"], found["fold"].map(frozen))
    np.testing.assert_array_equal(found["predicted_positive"], found["prob"] >= found["threshold"])


def test_a_shift_between_folds_changes_no_rate():
    plain, shifted = (
        operating_point.tabulate_drift(arrays.out_of_fold(shifts=shifts), "youden", 0)
        for shifts in ((0, 0, 0), (-2, 0, 2))
    )
    pd.testing.assert_frame_equal(plain.drop(columns="threshold"), shifted.drop(columns="threshold"))


def test_a_score_equal_to_the_threshold_is_called():
    frozen = operating_point.choose_thresholds(SIX, "target_sensitivity", 1)
    assert frozen.to_list() == [0.4]
    assert operating_point.apply_threshold(SIX, frozen).set_index("sample_id").loc["s9", "predicted_positive"] == 1


def test_constant_scores_of_0_or_1_have_an_operating_point():
    for constant in (0.0, 1.0):
        found = operating_point.tabulate_drift(SIX.assign(prob=constant), "youden", 0).set_index(["rule", "metric"])
        assert np.isfinite(found["threshold"]).all()
        assert found.loc[("sensitivity_90", "sensitivity"), "test"] == 1
        assert found.loc[("specificity_90", "specificity"), "test"] == 1


def test_a_class_that_test_lacks_has_no_rate():
    benign = SIX[(SIX["split"] == "val") | (SIX["label"] == 0)]
    found = operating_point.tabulate_drift(benign, "youden", 0).set_index(["rule", "metric"]).loc["youden"]
    assert np.isnan(found.loc["sensitivity", ["test", "drift"]].astype(float)).all()
    assert found.loc["specificity", "test"] == 1


FOLDS = arrays.out_of_fold()


@pytest.mark.parametrize(
    ("table", "rule", "value", "message"),
    [
        (SIX, "best", 0, "unknown rule 'best'.*there are target_sensitivity, .*youden, cost_ratio"),
        (SIX, "target_sensitivity", 90, "target_sensitivity=90: validation rows: target sensitivity is 90"),
        (SIX[SIX["split"] == "test"], "youden", 0, "no row has split `val`"),
        (SIX[SIX["label"] == 0], "target_sensitivity", 0.9, "none of the 3 rows is positive"),
        (FOLDS[(FOLDS["fold"] != 1) | (FOLDS["label"] == 0)], "youden", 0, "fold 1, validation rows: .*both classes"),
        (FOLDS[(FOLDS["fold"] != 2) | (FOLDS["split"] == "oof")], "youden", 0, r"fold\(s\) 2 have no validation rows"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_the_reason(table, rule, value, message):
    with pytest.raises(InputError, match=message):
        operating_point.tabulate_drift(table, rule, value)


@pytest.mark.parametrize("table", [arrays.predictions(), arrays.out_of_fold()], ids=["test", "folds"])
def test_the_metric_table_agrees_with_the_operating_points(table):
    found = clinical_tables.tabulate_metrics(table, CONFIG, seed=1)
    assert list(found["point"].unique()) == ["all", "operating", *operating_point.FIXED_POINTS]
    assert not found.duplicated(["point", "metric"]).any()
    assert set(found["n"]) == {int((table["split"] != "val").sum())}
    by_key = found.set_index(["point", "metric"])["value"]
    drift = operating_point.tabulate_drift(table, "youden", 0).set_index(["rule", "metric"])["test"]
    for point, name in [("operating", "youden"), *((fixed, fixed) for fixed in operating_point.FIXED_POINTS)]:
        for rate in RATES:
            assert by_key[point, rate] == pytest.approx(drift[name, rate])
    assert by_key["all", "auc_delong"] == pytest.approx(by_key["all", "auc"])
    assert set(by_key["all"].index) == {"auc", "auc_delong", "partial_auc", "average_precision", "brier"}
    assert set(by_key["operating"].index) == {*classification.AT_THRESHOLD, "ppv_at_prevalence", "npv_at_prevalence"}


def test_outcomes_are_named_by_label_and_decision():
    rows = pd.DataFrame({"label": [1, 1, 0, 0], "predicted_positive": [1, 0, 1, 0]})
    expected = ["true positive", "false negative", "false positive", "true negative"]
    assert operating_point.name_outcomes(rows) == expected
