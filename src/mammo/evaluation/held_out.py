"""The held-out training rows of a prediction table, reported in the place of test rows while the test set is closed.

No model that scores a validation row was trained on it. What is fitted or chosen on validation rows (a threshold, a
calibrator) is cross-fitted: the rows of one part of the patients are reported with what the other parts chose, so that
no reported row has had a part in it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mammo.core.errors import InputError

Values = NDArray[Any]
HELD_OUT = "held_out"  # the split of a reported row; its part is in the column `part`


def hold_out(predictions: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose reported rows are the validation rows, part by part, and that holds no other row.

    predictions: schemas.PREDICTIONS; test rows are left out, labels and all. folds: sample_id and fold of every
    training sample (schemas.SPLITS), by patient. Each part has the split "val" for what chooses, and "held_out" for
    what is reported. Raises InputError where a validation row has no fold, or all have the same.
    """
    rows = predictions[predictions["split"] == "val"]
    rows = rows.merge(folds[["sample_id", "fold"]], on="sample_id", how="left", validate="one_to_one")
    parts = sorted(rows["fold"].dropna().unique())
    if rows["fold"].isna().any() or len(parts) < 2:
        raise InputError(
            f"{rows['fold'].isna().sum()} of {len(rows)} validation rows have no fold, and {len(parts)} fold(s) hold "
            "the others; rows are reported by what those of other folds chose, so that each needs a fold, of two or "
            "more (data/splits.csv): dvc repro split"
        )
    return pd.concat([_part(rows, part) for part in parts], ignore_index=True).drop(columns="fold")


def _part(rows: pd.DataFrame, part: int) -> pd.DataFrame:
    return rows.assign(split=np.where(rows["fold"] == part, HELD_OUT, "val"), part=int(part))


def cross_fit(predictions: pd.DataFrame, fit: Callable[[pd.DataFrame], Callable[[pd.DataFrame], Values]]) -> Values:
    """Return a value (n, ...) for each reported row, by what `fit` made of the validation rows of its part.

    predictions: `hold_out`, or schemas.PREDICTIONS, which is one part. fit: validation rows -> (rows -> values of
    these rows).
    """
    reported = predictions[predictions["split"] != "val"]
    part_of, validation = number_parts(reported), predictions[predictions["split"] == "val"]
    values, places = [], []
    for part in dict.fromkeys(part_of):
        chosen = (part_of == part).to_numpy()
        fitted = fit(validation[number_parts(validation) == part])
        values.append(fitted(reported[chosen]))
        places.append(np.flatnonzero(chosen))
    return np.concatenate(values)[np.argsort(np.concatenate(places), kind="stable")]


def score_out_of_fold(rows: pd.DataFrame, score: Callable[[pd.DataFrame, pd.DataFrame], Values]) -> Values:
    """Return the score (n,) of each row: of a fold by what the other folds teach, of a row without one by all folds.

    rows: label and fold, which is missing for test rows. score: training rows and rows to be scored -> scores of these.
    Raise InputError where training rows have one label.
    """
    scores, folds = np.full(len(rows), np.nan), rows["fold"].astype("Float64").fillna(-1).to_numpy(np.int64)
    for fold in np.unique(folds):
        held_out = folds == fold
        training = rows[(folds >= 0) & ~held_out]
        if training["label"].nunique() < 2:
            raise InputError(f"outside fold {fold} all training rows have one label; lower split.folds")
        scores[held_out] = score(training, rows[held_out])
    return scores


def number_parts(rows: pd.DataFrame) -> "pd.Series[int]":
    """Return the part of each row: of a cross-validation the fold, of `hold_out` the part, else 0."""
    for column in ("fold", "part"):
        if column in rows:
            return rows[column]
    return pd.Series(0, index=rows.index, name="part")
