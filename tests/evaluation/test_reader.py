"""The reader stands at BI-RADS 4 or higher, whatever the rule for models, and every model beside it."""

import numpy as np
import pandas as pd
import pytest

from mammo.core.row_names import READER
from mammo.evaluation import clinical_tables, comparison_rows, operating_point, reader
from mammo.metrics import discrimination
from tests import arrays
from tests.evaluation.test_clinical_tables import cases_of

SEED = 4
RNG = np.random.default_rng(SEED)


def assessed(predictions: pd.DataFrame) -> pd.DataFrame:
    """Cases whose BI-RADS says something of the label, with 0 and missing ones among them."""
    cases = cases_of(predictions)
    birads = pd.array(np.clip(RNG.integers(2, 5, len(cases)) + cases["label"], 0, 5), dtype="Int64")
    birads[::7], birads[3::11] = 0, None
    return cases.assign(birads=birads)


PREDICTIONS = arrays.predictions(patients=100)
CASES = assessed(PREDICTIONS)
READER_TABLE = PREDICTIONS.assign(
    prob=reader.score_birads(PREDICTIONS[["sample_id"]].merge(CASES, on="sample_id", how="left"))
)


@pytest.mark.parametrize("birads, called", [(1, 0), (2, 0), (3, 0), (0, 0), (None, 0), (4, 1), (5, 1), (6, 1)])
def test_the_reader_calls_from_4(birads, called):
    assert reader.call_birads(pd.DataFrame({"birads": pd.array([birads], dtype="Int64")})).tolist() == [bool(called)]


@pytest.mark.parametrize("rule, value", [("target_sensitivity", 0.9), ("youden", 0), ("target_specificity", 0.9)])
def test_no_rule_moves_the_reader(rule, value):
    config = arrays.EVALUATE.model_copy(update={"rule": rule, "value": value})
    row = comparison_rows.evaluate_predictions(READER_TABLE, reader.configure_row(READER, config), SEED)
    birads = row.rows.merge(CASES[["sample_id", "birads"]], on="sample_id")["birads"].fillna(0)
    assert row.rows["predicted_positive"].tolist() == (birads >= 4).astype(int).tolist()
    counts = discrimination.counts(row.rows["label"], birads.to_numpy() >= 4)
    assert row.to_metrics()["sensitivity"] == pytest.approx(float(discrimination.sensitivity(*counts)))


def test_rows_beside_the_reader_keep_their_rule():
    assert reader.configure_row("light_cnn", arrays.EVALUATE) == arrays.EVALUATE


def test_the_readers_tables_have_no_point_but_the_cut():
    config = reader.configure_row(READER, arrays.EVALUATE)
    tables = clinical_tables.tabulate_predictions(READER_TABLE, CASES, "official test", config, SEED)
    assert set(tables["metrics"]["point"]) == {"all", "operating"}
    assert set(tables["operating_points"]["rule"]) == {"BI-RADS 4 or higher"}
    assert tables["reader_comparison"].empty


def test_a_model_is_read_at_the_readers_rates():
    found = reader.compare_at_readers_rates(
        operating_point.decide(PREDICTIONS, arrays.EVALUATE), CASES, arrays.EVALUATE, SEED
    ).set_index("rate")
    test = PREDICTIONS[PREDICTIONS["split"] == "test"].merge(CASES[["sample_id", "birads"]], on="sample_id")
    counts = discrimination.counts(test["label"], test["birads"].fillna(0).to_numpy() >= 4)
    fpr, tpr, _ = discrimination.roc_points(test["label"], test["prob"])
    specificity = float(discrimination.specificity(*counts))
    assert found.loc["sensitivity", "at"] == pytest.approx(specificity)
    assert found.loc["sensitivity", "reader"] == pytest.approx(float(discrimination.sensitivity(*counts)))
    reached = tpr[fpr <= 1 - specificity + 1e-9].max()
    assert found.loc["sensitivity", "matched"] >= reached
    assert (found["matched_low"] <= found["matched"]).all()
    assert set(found["n"]) == {len(test)}


def test_without_assessments_there_is_no_comparison():
    reported = operating_point.decide(PREDICTIONS, arrays.EVALUATE)
    blank = CASES.assign(birads=pd.array([None] * len(CASES), dtype="Int64"))
    assert reader.compare_at_readers_rates(reported, blank, arrays.EVALUATE, SEED).empty
