"""Held-out training rows in the place of test rows: whole, each decided by what it had no part in."""

import numpy as np
import pandas as pd
import pytest

from mammo.core.errors import InputError
from mammo.evaluation import calibrators, clinical_tables, comparison_rows, held_out, operating_point
from mammo.metrics import calibration
from mammo.metrics.thresholds import threshold_for_sensitivity
from tests import arrays
from tests.evaluation.test_clinical_tables import cases_of

PREDICTIONS = arrays.predictions(patients=150)
FOLDS = arrays.index(150)
CLOSED = held_out.hold_out(PREDICTIONS, FOLDS)
VALIDATION = PREDICTIONS[PREDICTIONS["split"] == "val"]


def test_each_validation_row_is_reported_once_and_chooses_for_the_other_parts():
    reported, choosing = CLOSED[CLOSED["split"] == held_out.HELD_OUT], CLOSED[CLOSED["split"] == "val"]
    assert sorted(reported["sample_id"]) == sorted(VALIDATION["sample_id"])
    assert set(CLOSED["split"]) == {"val", held_out.HELD_OUT}
    for part, rows in reported.groupby("part"):
        others = choosing[choosing["part"] == part]
        assert not set(rows["patient_id"]) & set(others["patient_id"])
        assert sorted([*rows["sample_id"], *others["sample_id"]]) == sorted(VALIDATION["sample_id"])


def test_test_rows_leave_no_trace():
    poisoned = PREDICTIONS.assign(
        label=np.where(PREDICTIONS["split"] == "test", 1 - PREDICTIONS["label"], PREDICTIONS["label"])
    )
    pd.testing.assert_frame_equal(held_out.hold_out(poisoned, FOLDS), CLOSED)


def test_each_part_has_the_threshold_of_the_others():
    row = comparison_rows.evaluate_predictions(CLOSED, arrays.EVALUATE, 1)
    folds = VALIDATION.merge(FOLDS[["sample_id", "fold"]], on="sample_id")
    for part, threshold in zip(sorted(CLOSED["part"].unique()), row.thresholds, strict=True):
        others = folds[folds["fold"] != part]
        assert threshold == threshold_for_sensitivity(others["label"], others["prob"], arrays.EVALUATE.value)


def test_the_auc_is_that_of_all_held_out_rows_together():
    found = comparison_rows.evaluate_predictions(CLOSED, arrays.EVALUATE, 1).to_metrics()
    as_test = VALIDATION.assign(split="test")
    expected = comparison_rows.evaluate_predictions(pd.concat([VALIDATION, as_test]), arrays.EVALUATE, 1).to_metrics()
    assert found["auc"] == pytest.approx(expected["auc"])
    assert found["n"] == len(VALIDATION)


def test_a_calibrator_is_fitted_on_the_other_parts():
    found = calibrators.calibrate(CLOSED, calibration.platt)
    reported = CLOSED[CLOSED["split"] == held_out.HELD_OUT]
    part = reported["part"].iloc[0]
    fitting = CLOSED[(CLOSED["split"] == "val") & (CLOSED["part"] == part)]
    chosen = (reported["part"] == part).to_numpy()
    expected = calibration.platt(fitting["label"], fitting["prob"])(reported.loc[chosen, "prob"])
    np.testing.assert_allclose(found[chosen], expected)


def test_values_come_back_in_the_order_of_the_reported_rows():
    turned = CLOSED.sample(frac=1, random_state=3)
    values = held_out.cross_fit(turned, lambda validation: lambda rows: rows["prob"].to_numpy())
    np.testing.assert_array_equal(values, turned.loc[turned["split"] != "val", "prob"])


def test_every_table_has_closed_rows():
    tables = clinical_tables.tabulate_predictions(CLOSED, cases_of(PREDICTIONS), "train, held out", arrays.EVALUATE, 1)
    assert set(tables) == set(clinical_tables.COLUMNS) - {"reader_errors"}  # of rows with the reader's answer alone
    assert set(tables["conformal"]["n"]) == set(tables["calibration"]["n"]) == {len(VALIDATION)}
    assert (tables["metrics"].query("level == 'patient'")["n"] == VALIDATION["patient_id"].nunique()).all()


def test_a_score_that_fits_its_own_validation_rows_does_not_look_good():
    """Every threshold reaches its target on the rows that chose it; on noise, held out, it does so by chance only."""
    rng = np.random.default_rng(0)
    reached = []
    for seed in range(60):
        noise = arrays.predictions(patients=60, skill=0, seed=seed)
        noise = noise.assign(prob=rng.random(len(noise)).round(3))
        rows = operating_point.decide(held_out.hold_out(noise, arrays.index(60)), arrays.EVALUATE)
        reached.append(rows.loc[rows["label"] == 1, "predicted_positive"].mean())
    assert np.mean(reached) < arrays.EVALUATE.value + 0.03


def test_rows_without_folds_are_refused():
    with pytest.raises(InputError, match="validation rows have no fold"):
        held_out.hold_out(PREDICTIONS, FOLDS.iloc[:4])
    with pytest.raises(InputError, match=r"1 fold\(s\)"):
        held_out.hold_out(PREDICTIONS, FOLDS.assign(fold=0))
