"""Scores that need no image: what every model must beat, and what a radiologist's own assessment reaches.

Each is a prediction table like that of the members of a cross-validation (schemas.PREDICTIONS): training patients are
scored out of fold, test rows by all training patients.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from mammo.evaluation import held_out
from mammo.evaluation.reader import score_birads


def predict_baselines(cases: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the baselines' prediction tables by name, for all rows of `cases`: training patients as split "val".

    cases: schemas.CASES plus `split`, `fold` (missing for test rows) and `border_score`, of training rows out of fold.
    The prevalence is one number for all rows: that of the other folds is lower where a fold's own is higher, and would
    rank the folds the wrong way round.
    """
    rows = cases.assign(split=np.where(cases["split"] == "test", "test", "val"))
    scores = {
        "baseline_birads": score_birads(rows),
        "baseline_density_type": held_out.score_out_of_fold(rows, score_density_and_type),
        "baseline_border": rows["border_score"].to_numpy(np.float64),
        "baseline_prevalence": np.full(len(rows), cases.loc[cases["split"] != "test", "label"].mean()),
    }
    return {
        name: rows[["sample_id", "patient_id", "split", "label"]].assign(prob=score) for name, score in scores.items()
    }


def score_density_and_type(train: pd.DataFrame, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the probability (n,) of a logistic regression on breast density and abnormality type as categories."""
    columns = ["breast_density", "abnormality_type"]
    train_categories = pd.get_dummies(train[columns].astype(str))
    row_categories = pd.get_dummies(rows[columns].astype(str)).reindex(
        columns=train_categories.columns, fill_value=False
    )
    model = LogisticRegression(max_iter=1000).fit(train_categories, train["label"])
    return np.asarray(model.predict_proba(row_categories)[:, 1], np.float64)
