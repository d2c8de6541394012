"""Scores become risks before a decision curve: models by Platt's line, the reader's ranks by their observed risk."""

import numpy as np
import pandas as pd
import pytest

from mammo.core.row_names import READER
from mammo.evaluation import calibrators, clinical_tables, comparison_rows, held_out, reader
from mammo.metrics import calibration, decision_curve
from tests import arrays
from tests.evaluation.test_clinical_tables import cases_of

SEED = 5
PREDICTIONS = arrays.predictions(patients=400, skill=2)
SHRUNK = PREDICTIONS.assign(prob=0.4 + 0.2 * PREDICTIONS["prob"])  # the same ranking, all between .4 and .6


def tables_of(predictions: pd.DataFrame, config=arrays.EVALUATE) -> dict[str, pd.DataFrame]:
    return clinical_tables.tabulate_predictions(predictions, cases_of(predictions), "official test", config, SEED)


def test_a_score_that_is_no_risk_has_the_curve_of_its_risk():
    """Uncalibrated, a score between .4 and .6 acts on everyone below .4 and on no one above .6, whatever it knows."""
    curve = tables_of(SHRUNK)["decision_curve"].set_index("threshold_prob")
    test = SHRUNK[SHRUNK["split"] == "test"]
    raw = decision_curve.net_benefit(test["label"], test["prob"], curve.index)
    assert curve["net_benefit"].loc[0.2] > raw[list(curve.index).index(0.2)]
    line = calibration.platt(*(SHRUNK.loc[SHRUNK["split"] == "val", name] for name in ("label", "prob")))
    expected = decision_curve.net_benefit(test["label"], line(test["prob"]), curve.index)
    np.testing.assert_allclose(curve["net_benefit"], expected)


def test_risks_are_nearly_unmoved_by_what_a_score_is_multiplied_with():
    np.testing.assert_allclose(calibrators.estimate_risk(SHRUNK), calibrators.estimate_risk(PREDICTIONS), atol=0.1)


def ranked() -> pd.DataFrame:
    rank = (PREDICTIONS["prob"] * 3).round()
    return PREDICTIONS.assign(prob=rank.map({0: 1, 1: 2, 2: 4, 3: 5}) / 6)


def test_ranks_have_their_observed_risk():
    table = ranked()
    validation, test = (table[table["split"] == split] for split in ("val", "test"))
    risk = calibrators.estimate_risk(table)
    for rank, rows in validation.groupby("prob"):
        expected = (rows["label"].sum() + validation["label"].mean()) / (len(rows) + 1)
        np.testing.assert_allclose(risk[(test["prob"] == rank).to_numpy()], expected)


def test_the_readers_ranks_are_never_read_as_probabilities():
    config = reader.configure_row(READER, arrays.EVALUATE)
    tables = tables_of(ranked(), config)
    assert list(tables["calibration"]["method"]) == [calibrators.RANKS]
    assert "brier" not in set(tables["metrics"]["metric"])
    assert np.isnan(comparison_rows.evaluate_predictions(ranked(), config, SEED).to_metrics()["brier"])


def test_a_models_raw_calibration_stays_visible():
    table = tables_of(SHRUNK)["calibration"].set_index("method")
    assert list(table.index) == list(calibration.METHODS)
    assert table.loc["platt", "ece"] < table.loc["raw", "ece"]


def test_test_labels_move_no_risk():
    flipped = SHRUNK.assign(label=SHRUNK["label"].where(SHRUNK["split"] == "val", 1 - SHRUNK["label"]))
    np.testing.assert_array_equal(calibrators.estimate_risk(flipped), calibrators.estimate_risk(SHRUNK))


def test_held_out_rows_have_no_part_in_their_own_risk():
    closed = held_out.hold_out(SHRUNK, arrays.index(400))
    reported = closed["split"] == held_out.HELD_OUT
    part = closed["part"] == 0
    flipped = closed.assign(label=closed["label"].where(~(reported & part), 1 - closed["label"]))
    np.testing.assert_array_equal(calibrators.estimate_risk(flipped), calibrators.estimate_risk(closed))


@pytest.mark.parametrize("prob", [0.3, None])
def test_a_score_that_knows_nothing_has_the_overall_risk(prob):
    scores = 1 - PREDICTIONS["prob"] if prob is None else prob  # the wrong way round, or constant
    table = PREDICTIONS.assign(prob=scores)
    share = table.loc[table["split"] == "val", "label"].mean()
    np.testing.assert_allclose(calibrators.estimate_risk(table), share)
