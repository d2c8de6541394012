"""Scores that need no image: what every model must beat, and what a radiologist's own assessment reaches.

Each is a prediction table like a model's (schemas.PREDICTIONS), fitted on training rows only.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from mammo.evaluation.reader import score_birads


def predict_baselines(cases: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the baselines' prediction tables by name, for the validation and test rows of `cases`.

    cases: schemas.CASES plus `split` and `border_score`, of training rows out of fold.
    """
    train = cases[cases["split"] == "train"]
    rows = cases[cases["split"].isin(["val", "test"])]
    scores = {
        "baseline_birads": score_birads(rows),
        "baseline_density_type": score_density_and_type(train, rows),
        "baseline_border": rows["border_score"].to_numpy(np.float64),
        "baseline_prevalence": np.full(len(rows), train["label"].mean()),
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
