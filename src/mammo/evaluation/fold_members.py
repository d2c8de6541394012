"""The models of a cross-validation as members of one model: its scores are the mean of theirs.

A training patient is scored by the members that never saw the patient (out of fold), a test patient by all of them. So
the rows of split "val" are all training patients, and what is fitted on them (operating point, calibration, weights of
an ensemble) is fitted on scores that no training has seen.
"""

import pandas as pd

from mammo.core import schemas


def average_members(folds: pd.DataFrame) -> pd.DataFrame:
    """Return schemas.PREDICTIONS of the mean over the members behind `folds` (schemas.OUT_OF_FOLD).

    Split "val": the out-of-fold rows, each the mean over the draws of the folds; split "test": the mean over all
    members. The inner validation rows, on which single trainings were monitored, are left out.
    """
    rows = folds[folds["split"] != "val"].assign(split=lambda table: table["split"].replace("oof", "val"))
    keys = ["split", "sample_id", "patient_id", "label"]
    scores = [name for name in schemas.SCORES if name in rows]
    means = rows.groupby(keys, sort=False)[scores].mean().reset_index()
    ordered = pd.concat([means[means["split"] == split] for split in ("val", "test")], ignore_index=True)
    return schemas.select_columns(ordered, schemas.PREDICTIONS)


def split_held_out(folds: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the held-out fold (schemas.PREDICTIONS, split "oof") of each member: other rows for each of a draw."""
    return _by_member(folds, "oof")


def split_members(folds: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the test rows (schemas.PREDICTIONS) of each member; none where the members predicted no test row."""
    return _by_member(folds, "test")


def split_draws(folds: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the held-out rows (schemas.PREDICTIONS, split "oof") of each draw of the folds: all training patients."""
    held_out = folds[folds["split"] == "oof"]
    return [schemas.select_columns(rows, schemas.PREDICTIONS) for _, rows in held_out.groupby("repeat")]


def _by_member(folds: pd.DataFrame, split: str) -> list[pd.DataFrame]:
    wanted = folds[folds["split"] == split]
    return [schemas.select_columns(rows, schemas.PREDICTIONS) for _, rows in wanted.groupby(["repeat", "fold"])]
