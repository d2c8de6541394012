"""The predictions of a model: probabilities and prediction tables."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from mammo.data.samples import Samples
from mammo.training.feature_cache import FrozenBase, build_head, has_frozen_base

HELD_OUT = ("val", "test")  # splits that a trained model predicts
BATCH = 64
FLIPS: list[tuple[int, ...]] = [(), (1,), (2,), (1, 2)]  # axes of (n, h, w, 1)


def predict_probabilities(
    model: keras.Model, samples: Samples, flips: bool = False, progress: bool = False
) -> npt.NDArray[np.float64]:
    """Return the probability of malignancy (n,) of every sample, in the order of its index.

    flips: average over the image and its mirror images (left-right, up-down, both). progress: show a progress bar.
    """
    parts = []
    starts = range(0, len(samples.index), BATCH)
    for start in tqdm(starts, desc="predictions", mininterval=1, disable=not progress):
        images = samples.pixels(np.arange(start, min(start + BATCH, len(samples.index))))
        views = [np.flip(images, axes) for axes in FLIPS] if flips else [images]
        parts.append(np.mean([predict_batch(model, view) for view in views], axis=0))
    return np.concatenate(parts)[:, 0].astype(np.float64) if parts else np.empty(0)


def predict_cached(model: keras.Model, samples: Samples, flips: bool) -> npt.NDArray[np.float64]:
    """Return predict_probabilities, by the cached vectors of a base of which nothing learns.

    Models that share a frozen base, as the folds of a cross-validation do, then cost their heads alone.
    """
    if not has_frozen_base(model):
        return predict_probabilities(model, samples, flips, progress=True)
    base, head, parts = FrozenBase(model), build_head(model), []
    views = base.extract_mirrored(samples, FLIPS if flips else FLIPS[:1])
    for start in range(0, len(samples.index), BATCH):
        batch = slice(start, start + BATCH)
        parts.append(np.mean([predict_batch(head, vectors[batch]) for vectors in views], axis=0))
    return np.concatenate(parts)[:, 0].astype(np.float64) if parts else np.empty(0)


def add_scores_without_lesion(
    model: keras.Model, predictions: pd.DataFrame, without_lesion: Samples, flips: bool
) -> pd.DataFrame:
    """Return `predictions` (of predict_splits) with prob_without_lesion, the score of the same row without its lesion.

    It is empty for rows that `without_lesion` lacks, whose lesion nobody marked.
    """
    rows = predictions.loc[predictions.index.intersection(without_lesion.index.index)]
    prob = predict_cached(model, Samples(rows, without_lesion.images), flips)
    return predictions.assign(prob_without_lesion=pd.Series(prob, index=rows.index))


def predict_batch(model: keras.Model, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what `model` makes of one batch (n, ...), which it gets with its last row repeated up to a power of two.

    Keras builds the graph anew for each size of a batch, which takes longer than most predictions.
    """
    count = len(inputs)
    missing = 2 ** (count - 1).bit_length() - count
    padded = np.pad(inputs, [(0, missing), *[(0, 0)] * (inputs.ndim - 1)], mode="edge")
    return np.asarray(keras.ops.convert_to_numpy(model.predict_on_batch(padded)))[:count]


def predict_table(model: keras.Model, samples: Samples, flips: bool = False) -> pd.DataFrame:
    """Return the columns of `samples.index` and `prob`, one row per sample."""
    return samples.index.assign(prob=predict_probabilities(model, samples, flips, progress=True))


def predict_splits(model: keras.Model, samples: Samples, splits: Iterable[str], flips: bool) -> pd.DataFrame:
    """Return the predictions of `splits`, one split after the other (columns as predict_table)."""
    parts = [samples.take(split) for split in splits]
    return pd.concat([part.index.assign(prob=predict_cached(model, part, flips)) for part in parts])
