"""The prediction tables of a training: of whole splits, with and without the lesions."""

from collections.abc import Iterable

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.data.samples import Samples
from mammo.training.feature_cache import FrozenBase, build_head, has_frozen_base
from mammo.training.predict import FLIPS, predict_probabilities, predict_stored

HELD_OUT = ("val", "test")  # splits that a trained model predicts


def predict_splits(model: keras.Model, samples: Samples, splits: Iterable[str], flips: bool) -> pd.DataFrame:
    """Return the predictions of `splits`, one split after the other (columns as predict_table)."""
    parts = [samples.take(split) for split in splits]
    return pd.concat([part.index.assign(prob=predict_cached(model, part, flips)) for part in parts])


def add_scores_without_lesion(
    model: keras.Model, predictions: pd.DataFrame, without_lesion: Samples, flips: bool
) -> pd.DataFrame:
    """Return `predictions` (of predict_splits) with prob_without_lesion, the score of the same row without its lesion.

    It is empty for rows that `without_lesion` lacks, whose lesion nobody marked.
    """
    rows = predictions.loc[predictions.index.intersection(without_lesion.index.index)]
    prob = predict_cached(model, Samples(rows, without_lesion.images), flips)
    return predictions.assign(prob_without_lesion=pd.Series(prob, index=rows.index))


def predict_cached(model: keras.Model, samples: Samples, flips: bool) -> npt.NDArray[np.float64]:
    """Return predict_probabilities, by the cached vectors of a base of which nothing learns.

    Models that share a frozen base, as the folds of a cross-validation do, then cost their heads alone.
    """
    if not has_frozen_base(model):
        return predict_probabilities(model, samples, flips, progress=True)
    views = FrozenBase(model).extract_mirrored(samples, FLIPS if flips else FLIPS[:1])
    return predict_stored(build_head(model), views)
