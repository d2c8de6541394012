"""Model and reader together: honest on validation rows, frozen on test, and worn down by errors in BI-RADS."""

import numpy as np
import pandas as pd
import pytest

from mammo.core import schemas
from mammo.evaluation import held_out, reader, reader_models
from mammo.metrics import discrimination
from tests import arrays

PREDICTIONS = arrays.predictions(patients=400, skill=1.5)
FOLDS = arrays.index(400)
RNG = np.random.default_rng(2)
CASES = PREDICTIONS[["sample_id"]].assign(
    birads=pd.array(np.clip(np.rint(RNG.normal(2.7 + 1.2 * PREDICTIONS["label"], 0.9)), 1, 5), dtype="Int64")
)
CONFIG = arrays.EVALUATE.model_copy(
    update={"reader": arrays.EVALUATE.reader.model_copy(update={"error_shares": [0, 0.3, 1.0]})}
)


def test_both_together_are_a_prediction_table_that_ranks_better_than_either():
    both = reader_models.combine_with_reader(PREDICTIONS, CASES, FOLDS)
    schemas.check_table(both, schemas.PREDICTIONS, "both")
    assert list(both["sample_id"]) == list(PREDICTIONS["sample_id"])
    for split in ("val", "test"):
        rows = (both["split"] == split).to_numpy()
        label, alone = both.loc[rows, "label"], reader.score_birads(CASES[rows])
        auc = discrimination.auc(label, both.loc[rows, "prob"])
        assert auc > discrimination.auc(label, alone) + 0.02
        assert auc > discrimination.auc(label, PREDICTIONS.loc[rows, "prob"])


def test_a_row_has_no_part_in_its_own_score():
    fold = PREDICTIONS["sample_id"].map(FOLDS.set_index("sample_id")["fold"])
    mine = (fold == 1).fillna(False).to_numpy(bool)
    changed = PREDICTIONS.assign(label=np.where(mine, 1 - PREDICTIONS["label"], PREDICTIONS["label"]))
    before, after = (reader_models.combine_with_reader(table, CASES, FOLDS)["prob"] for table in (PREDICTIONS, changed))
    np.testing.assert_array_equal(before[mine], after[mine])
    assert (before[~mine] != after[~mine]).any()


def test_test_labels_move_no_score():
    changed = PREDICTIONS.assign(label=PREDICTIONS["label"].where(PREDICTIONS["split"] == "val", 0))
    before, after = (reader_models.combine_with_reader(table, CASES, FOLDS)["prob"] for table in (PREDICTIONS, changed))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("kind", reader_models.KINDS)
def test_errors_are_as_many_as_asked_for_and_never_the_truth(kind):
    birads = CASES["birads"]
    few, many, none = (reader_models.put_errors(birads, kind, share, seed=3) for share in (0.2, 0.6, 0))
    assert (none == birads).all()
    assert (few != birads).mean() == pytest.approx(0.2, abs=0.06)
    assert (many != birads).mean() == pytest.approx(0.6, abs=0.06)
    assert (many[few != birads] == few[few != birads]).all()
    if kind == "adjacent":
        place = {value: rank for rank, value in enumerate(sorted(set(birads)))}
        assert set((many.map(place) - birads.map(place)).abs()) == {0, 1}


@pytest.mark.parametrize("table", [PREDICTIONS, held_out.hold_out(PREDICTIONS, FOLDS)], ids=["open", "closed"])
def test_errors_wear_the_gain_down(table):
    found = reader_models.tabulate_errors(table, CASES, CONFIG, seed=1)
    assert list(found.columns) == reader_models.COLUMNS
    for _, rows in found.groupby("kind"):
        assert list(rows["share"]) == [0, 0.3, 1.0]
        assert rows["gain"].iloc[0] == pytest.approx(rows["gain_over_erroneous"].iloc[0])
        assert rows["gain_low"].iloc[0] > 0
    random = found[found["kind"] == "random"]["gain"].to_numpy()
    assert random[0] > random[1] > random[2]
    assert random[2] < 0
