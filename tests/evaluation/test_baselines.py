"""Scores without an image: the radiologist's order, and nothing learned from the rows that are scored."""

import numpy as np
import pandas as pd
import pytest

from mammo.core import schemas
from mammo.evaluation import baselines, reader
from tests import arrays

NAMES = ["baseline_birads", "baseline_density_type", "baseline_border", "baseline_prevalence"]
FITTED = ["baseline_density_type", "baseline_prevalence"]  # here; the border score comes with the cases


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


def test_baselines_are_prediction_tables_over_validation_and_test():
    rows = cases()
    found = baselines.predict_baselines(rows)
    assert list(found) == NAMES
    for table in found.values():
        schemas.check_table(table, schemas.PREDICTIONS, "baseline")
        assert list(table["sample_id"]) == list(rows.loc[rows["split"] != "train", "sample_id"])


@pytest.mark.parametrize("name", NAMES)
def test_labels_outside_training_change_no_score(name):
    rows = cases()
    other = rows.assign(label=rows["label"].where(rows["split"] == "train", 1 - rows["label"]))
    np.testing.assert_array_equal(
        baselines.predict_baselines(rows)[name]["prob"], baselines.predict_baselines(other)[name]["prob"]
    )


@pytest.mark.parametrize("name", FITTED)
def test_labels_in_training_do_change_the_fitted_scores(name):
    rows = cases()
    other = rows.assign(label=rows["label"].where(rows["split"] != "train", 1 - rows["label"]))
    assert (baselines.predict_baselines(rows)[name]["prob"] != baselines.predict_baselines(other)[name]["prob"]).any()


def test_prevalence_is_the_share_of_malignant_training_rows():
    rows = cases()
    expected = rows.loc[rows["split"] == "train", "label"].mean()
    np.testing.assert_allclose(baselines.predict_baselines(rows)["baseline_prevalence"]["prob"], expected)


def test_density_and_type_tell_more_than_chance():
    found = baselines.predict_baselines(cases())["baseline_density_type"]
    assert found.groupby("label")["prob"].mean().diff().iloc[-1] > 0.1


def test_a_category_that_training_has_not_seen_gets_a_score():
    rows = cases()
    unseen = rows.assign(breast_density=rows["breast_density"].where(rows["split"] == "train"))
    assert baselines.predict_baselines(unseen)["baseline_density_type"]["prob"].between(0, 1).all()
