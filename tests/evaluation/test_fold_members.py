"""The mean over the models of a cross-validation: out of fold for training patients, over all members for test rows."""

import numpy as np
import pandas as pd

from mammo.core import schemas
from mammo.evaluation import fold_members

FOLDS = pd.DataFrame(
    [
        ("a", "P1", 0, 0, "oof", 1, 0.9),
        ("b", "P2", 0, 0, "val", 0, 0.3),
        ("t", "P9", 0, 0, "test", 1, 0.2),
        ("b", "P2", 0, 1, "oof", 0, 0.4),
        ("a", "P1", 0, 1, "val", 1, 0.1),
        ("t", "P9", 0, 1, "test", 1, 0.4),
        ("a", "P1", 1, 0, "oof", 1, 0.7),
        ("t", "P9", 1, 0, "test", 1, 0.6),
        ("b", "P2", 1, 1, "oof", 0, 0.2),
        ("t", "P9", 1, 1, "test", 1, 0.8),
    ],
    columns=["sample_id", "patient_id", "repeat", "fold", "split", "label", "prob"],
)


def test_training_rows_have_the_mean_of_the_models_that_never_saw_them_and_test_rows_that_of_all():
    averaged = schemas.check_table(fold_members.average_members(FOLDS), schemas.PREDICTIONS, "test")
    rows = averaged[["sample_id", "split", "label"]].itertuples(index=False, name=None)
    assert list(rows) == [("a", "val", 1), ("b", "val", 0), ("t", "test", 1)]
    np.testing.assert_allclose(averaged["prob"], [0.8, 0.3, 0.5])


def test_scores_without_the_lesion_are_averaged_alike():
    averaged = fold_members.average_members(FOLDS.assign(prob_without_lesion=FOLDS["prob"] / 2))
    np.testing.assert_allclose(averaged["prob_without_lesion"], averaged["prob"] / 2)


def test_the_held_out_folds_are_scored_by_one_member_each():
    members = fold_members.split_held_out(FOLDS)
    oof = FOLDS[FOLDS["split"] == "oof"]
    assert [member["prob"].tolist() for member in members] == [
        rows["prob"].tolist() for _, rows in oof.groupby(["repeat", "fold"])
    ]
    assert sum(map(len, members)) == len(oof)
    assert all("repeat" not in member for member in members)


def test_each_member_has_its_own_scores_of_the_test_rows():
    members = fold_members.split_members(FOLDS)
    assert [member["prob"].tolist() for member in members] == [[0.2], [0.4], [0.6], [0.8]]
    assert not fold_members.split_members(FOLDS[FOLDS["split"] != "test"])


def test_each_draw_of_the_folds_scores_all_training_patients():
    draws = fold_members.split_draws(FOLDS)
    assert [dict(zip(draw["sample_id"], draw["prob"], strict=True)) for draw in draws] == [
        {"a": 0.9, "b": 0.4},
        {"a": 0.7, "b": 0.2},
    ]
