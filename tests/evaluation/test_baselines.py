"""Scores without an image: the radiologist's order, and nothing learned from the rows that are scored."""

import numpy as np
import pandas as pd
import pytest

from mammo.core import schemas
from mammo.evaluation import baselines, reader
from tests import arrays

NAMES = ["baseline_birads", "baseline_density_type", "baseline_border", "baseline_prevalence"]
FITTED = ["baseline_density_type"]  # here; the border score comes with the cases


def cases(seed: int = 0) -> pd.DataFrame:
    """The columns of tables.CASES that baselines read, and `split`; density and type say something of the label."""
    rows = arrays.index(patients=100)
    rng = np.random.default_rng(seed)
    return rows.assign(
        birads=pd.array(rng.integers(0, 6, len(rows)), dtype="Int64"),
        border_score=rng.random(len(rows)).round(3),
        breast_density=pd.array(rng.integers(1, 4, len(rows)) + rows["label"], dtype="Int64"),
        abnormality_type=np.where(rng.random(len(rows)) < 0.3 + 0.4 * rows["label"], "mass", "calcification"),
    )


def test_birads_rank_incomplete_between_probably_benign_and_suspicious():
    scores = reader.score_birads(pd.DataFrame({"birads": pd.array([1, 2, 3, 0, 4, 5, 6], dtype="Int64")}))
    assert (np.diff(scores) > 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_a_missing_birads_counts_as_incomplete():
    missing, incomplete = reader.score_birads(pd.DataFrame({"birads": pd.array([None, 0], dtype="Int64")}))
    assert missing == incomplete


def test_baselines_are_prediction_tables_over_all_training_patients_and_test():
    rows = cases()
    found = baselines.predict_baselines(rows)
    assert list(found) == NAMES
    for table in found.values():
        schemas.check_table(table, schemas.PREDICTIONS, "baseline")
        assert list(table["sample_id"]) == list(rows["sample_id"])
        assert ((table["split"] == "test") == (rows["split"] == "test")).all()


def scores_with_other_labels(name: str, other: "pd.Series[bool]") -> "pd.Series[bool]":
    """Return which rows get another score where the labels of `other` rows are exchanged."""
    rows = cases()
    changed = rows.assign(label=rows["label"].where(~other, 1 - rows["label"]))
    before, after = (baselines.predict_baselines(table)[name]["prob"] for table in (rows, changed))
    return before != after


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_test_rows_change_no_score(name):
    assert not scores_with_other_labels(name, cases()["split"] == "test").any()


@pytest.mark.parametrize("name", FITTED)
def test_labels_of_a_fold_change_the_scores_of_all_other_rows_alone(name):
    first = cases()["fold"] == 0
    changed = scores_with_other_labels(name, first & (cases()["label"] == 1))
    assert not changed[first].any()
    assert changed[~first].mean() > 0.9


def test_prevalence_is_the_share_of_malignant_training_rows_and_ranks_nothing():
    rows = cases()
    found = baselines.predict_baselines(rows)["baseline_prevalence"]["prob"]
    np.testing.assert_allclose(found, rows.loc[rows["split"] != "test", "label"].mean())


def test_density_and_type_tell_more_than_chance():
    found = baselines.predict_baselines(cases())["baseline_density_type"]
    assert found.groupby("label")["prob"].mean().diff().iloc[-1] > 0.1


def test_a_category_that_training_has_not_seen_gets_a_score():
    rows = cases()
    unseen = rows.assign(breast_density=rows["breast_density"].where(rows["fold"] != 0))
    assert baselines.predict_baselines(unseen)["baseline_density_type"]["prob"].between(0, 1).all()
