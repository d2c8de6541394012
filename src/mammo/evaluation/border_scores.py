"""How malignant a film's border looks: a classifier that never sees a breast, by which AUCs are controlled.

Benign and malignant films of one data set may come from different hospitals and digitisers. What such a classifier
ranks right is no medicine.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from mammo.core.errors import InputError
from mammo.core.schemas import BORDER_STATISTICS, VIEW_SEPARATOR
from mammo.evaluation import held_out
from mammo.metrics.clustered_means import clustered_means
from mammo.metrics.resampling import Resampling

QUARTILES = [0.25, 0.5, 0.75]
DECIMALS = 6  # libraries differ beyond


def score_borders(cases: pd.DataFrame, borders: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return schemas.BORDER_SCORES of all cases: training rows out of fold, the others by all training films.

    cases: schemas.CASES with `fold`, which is missing for test rows; borders: schemas.BORDERS. A breast's score is the
    mean over its films. Fitted on one row per film; a film is malignant if one of its cases is.
    """
    rows = cases[["sample_id", "label", "fold"]].assign(image_path=cases["image_path"].str.split(VIEW_SEPARATOR))
    rows = rows.explode("image_path")
    films = rows.groupby("image_path", sort=True).agg(label=("label", "max"), fold=("fold", "first")).reset_index()
    films = films.merge(borders, on="image_path", how="left", validate="one_to_one")
    if films["bits"].isna().any():
        missing = films.loc[films["bits"].isna(), "image_path"].iloc[0]
        raise InputError(f"{missing} has no border statistics; run `dvc repro -f preprocess`")
    scores = dict(zip(films["image_path"], score_features(films, BORDER_STATISTICS, seed), strict=True))
    by_case = rows["image_path"].map(scores).groupby(rows["sample_id"]).mean()
    score = cases["sample_id"].map(by_case).round(DECIMALS)
    return pd.DataFrame(
        {
            "sample_id": cases["sample_id"],
            "border_score": score,
            "border_quartile": cut_quartiles(score, cases["fold"].notna()),
        }
    )


def score_features(rows: pd.DataFrame, features: Sequence[str], seed: int) -> npt.NDArray[np.float64]:
    """Return probabilities (n,) of malignancy from `features`: of each fold by the others, the rest by all folds.

    rows: label, fold (missing outside training) and the features. Friedman's gradient boosting of shallow trees; on one
    thread, so that no sum depends on their number.
    """

    def score(training: pd.DataFrame, reported: pd.DataFrame) -> npt.NDArray[np.float64]:
        model = HistGradientBoostingClassifier(max_iter=100, max_depth=3, random_state=seed)
        model.fit(training[list(features)].to_numpy(np.float64), training["label"].to_numpy())
        return np.asarray(model.predict_proba(reported[list(features)].to_numpy(np.float64))[:, 1], np.float64)

    with threadpool_limits(1):
        return held_out.score_out_of_fold(rows, score)


def cut_quartiles(scores: pd.Series, training: pd.Series) -> npt.NDArray[np.int64]:
    """Return the quartile (n,) 0-3 of each score, cut at the scores of the training rows."""
    cuts = np.quantile(scores[training.to_numpy(bool)], QUARTILES)
    return np.searchsorted(cuts, scores.to_numpy(), side="left").astype(np.int64)


def share_by_quartile(rows: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """Return border_quartile, n, share, low, high: the malignant share of the training rows by border score.

    rows: schemas.BORDER_SCORES with label, patient_id and fold; limits by patient.
    """
    records = []
    for quartile, part in rows[rows["fold"].notna()].groupby("border_quartile"):
        means = clustered_means(part["label"].to_numpy(), part["patient_id"].to_numpy(str), resampling)
        records.append((quartile, means.n, float(means.mean[0]), float(means.low[0]), float(means.high[0])))
    return pd.DataFrame(records, columns=["border_quartile", "n", "share", "low", "high"])
