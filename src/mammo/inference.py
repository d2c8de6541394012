"""Models -> probabilities and prediction tables."""

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.batches import Samples

BATCH = 64


def probabilities(model: keras.Model, samples: Samples) -> npt.NDArray[np.float64]:
    """Probability of malignancy (n,) for every sample, in the order of its index."""
    starts = range(0, len(samples.index), BATCH)
    parts = [
        keras.ops.convert_to_numpy(
            model.predict_on_batch(samples.pixels(np.arange(start, min(start + BATCH, len(samples.index)))))
        )
        for start in starts
    ]
    return np.concatenate(parts)[:, 0].astype(np.float64)


def predict(model: keras.Model, samples: Samples) -> pd.DataFrame:
    """Predictions with the columns of `samples.index` and `prob`, one row per sample."""
    return samples.index.assign(prob=probabilities(model, samples))
