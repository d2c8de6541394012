"""Scores that need no image: what every model must beat, and what a radiologist's own assessment reaches.

Each is a prediction table like a model's (tables.PREDICTIONS), fitted on training rows only.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from mammo.core.schemas import BIRADS_ORDER

BIRADS_RANK = {birads: rank / (len(BIRADS_ORDER) - 1) for rank, birads in enumerate(BIRADS_ORDER)}


def predictions(cases: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tables of the baselines by name, with the validation and test rows of `cases` (tables.CASES plus `split`)."""
    train = cases[cases["split"] == "train"]
    rows = cases[cases["split"].isin(["val", "test"])]
    scores = {
        "baseline_birads": birads(rows),
        "baseline_density_type": density_type(train, rows),
        "baseline_prevalence": np.full(len(rows), train["label"].mean()),
    }
    return {
        name: rows[["sample_id", "patient_id", "split", "label"]].assign(prob=score) for name, score in scores.items()
    }


def birads(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """The radiologist's assessment as a score 0-1 (n,); a missing one counts as incomplete."""
    return np.asarray(rows["birads"].fillna(0).map(BIRADS_RANK), np.float64)


def density_type(train: pd.DataFrame, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Logistic regression on breast density and abnormality type as categories, (n,)."""
    columns = ["breast_density", "abnormality_type"]
    known = pd.get_dummies(train[columns].astype(str))
    asked = pd.get_dummies(rows[columns].astype(str)).reindex(columns=known.columns, fill_value=False)
    fitted = LogisticRegression(max_iter=1000).fit(known, train["label"])
    return np.asarray(fitted.predict_proba(asked)[:, 1], np.float64)
