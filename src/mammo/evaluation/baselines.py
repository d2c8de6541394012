"""Scores that need no image: what every model must beat, and what a radiologist's own assessment reaches.

Each is a prediction table like that of the members of a cross-validation (schemas.PREDICTIONS): training patients are
scored out of fold, test rows by all training patients.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from mammo.evaluation.reader import score_birads

Floats = npt.NDArray[np.float64]


def predict_baselines(cases: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the baselines' prediction tables by name, for all rows of `cases`: training patients as split "val".

    cases: schemas.CASES plus `split`, `fold` (missing for test rows) and `border_score`, of training rows out of fold.
    The prevalence is one number for all rows: that of the other folds is lower where a fold's own is higher, and would
    rank the folds the wrong way round.
    """
    rows = cases.assign(split=np.where(cases["split"] == "test", "test", "val"))
    scores = {
        "baseline_birads": score_birads(rows),
        "baseline_density_type": score_out_of_fold(rows, score_density_and_type),
        "baseline_border": rows["border_score"].to_numpy(np.float64),
        "baseline_prevalence": np.full(len(rows), cases.loc[cases["split"] != "test", "label"].mean()),
    }
    return {
        name: rows[["sample_id", "patient_id", "split", "label"]].assign(prob=score) for name, score in scores.items()
    }


def score_out_of_fold(rows: pd.DataFrame, score: Callable[[pd.DataFrame, pd.DataFrame], Floats]) -> Floats:
    """Return the score (n,) of each row: of a fold by what `score` fits on the other folds, of test rows by all folds.

    score: training rows and rows to be scored -> scores of these.
    """
    scores, folds = np.full(len(rows), np.nan), rows["fold"].astype("Float64").fillna(-1).to_numpy(np.int64)
    for fold in np.unique(folds):
        held_out = folds == fold
        scores[held_out] = score(rows[(folds >= 0) & ~held_out], rows[held_out])
    return scores


def score_density_and_type(train: pd.DataFrame, rows: pd.DataFrame) -> Floats:
    """Return the probability (n,) of a logistic regression on breast density and abnormality type as categories."""
    columns = ["breast_density", "abnormality_type"]
    train_categories = pd.get_dummies(train[columns].astype(str))
    row_categories = pd.get_dummies(rows[columns].astype(str)).reindex(
        columns=train_categories.columns, fill_value=False
    )
    model = LogisticRegression(max_iter=1000).fit(train_categories, train["label"])
    return np.asarray(model.predict_proba(row_categories)[:, 1], np.float64)
