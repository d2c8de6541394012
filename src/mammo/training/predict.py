"""The predictions of a model: probabilities and prediction tables."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from mammo.data.samples import Samples
from mammo.training.vector_table import Vectors

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


def predict_stored(head: keras.Model, views: Sequence[Vectors]) -> npt.NDArray[np.float64]:
    """Return the probability (n,) that `head` reads from stored features; views: those of each mirror image."""
    parts = []
    for start in range(0, len(views[0]), BATCH):
        batch = slice(start, start + BATCH)
        probs = [predict_batch(head, features[batch].astype(np.float32)) for features in views]
        parts.append(np.mean(probs, axis=0))
    return np.concatenate(parts)[:, 0].astype(np.float64) if parts else np.empty(0)


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
