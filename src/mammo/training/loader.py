"""Training batches of the array store: shuffled, balanced, mixed.

Images are raw pixels (n, h, w, 1); nothing is read before its batch is requested.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.config import TrainConfig
from mammo.data.samples import Samples

Inputs = Callable[[int, npt.NDArray[np.int64]], npt.NDArray[Any]]  # epoch, positions -> inputs of the model


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled batches of (inputs, labels, weights), which depend on the seed, the epoch and their number only.

    config.balance: class_weights gives both classes the same weight in the loss; sampling draws class and abnormality
    type equally, with replacement; none does neither. config.mixup: alpha of Zhang et al., ICLR 2018; 0 is none.
    inputs: the inputs of an epoch, if not the samples' pixels. epoch: the first one, from 0; on_epoch_end counts up.
    """

    def __init__(
        self,
        samples: Samples,
        config: TrainConfig,
        seed: int,
        inputs: Inputs | None = None,
        epoch: int = 0,
    ):
        super().__init__()
        self.samples = samples
        self.batch_size = config.batch_size
        self.seed = seed
        self.mixup = config.mixup
        self.inputs = inputs or (lambda epoch, positions: samples.pixels(positions))
        self.epoch = epoch
        weighted = config.balance == "class_weights"
        self.weights = _class_weights(samples.labels) if weighted else np.ones(len(samples.index), np.float32)
        self.sampling = _sampling_probabilities(samples.index) if config.balance == "sampling" else None
        self._shuffle()

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[npt.NDArray[np.float32], ...]:
        positions = np.sort(self.order[number * self.batch_size : (number + 1) * self.batch_size])
        labels = self.samples.labels[positions, np.newaxis].astype(np.float32)
        inputs, weights = self.inputs(self.epoch, positions).astype(np.float32), self.weights[positions]
        if not self.mixup:
            return inputs, labels, weights
        rng = np.random.default_rng([self.seed, self.epoch, number])
        partner = rng.permutation(len(positions))
        share = rng.beta(self.mixup, self.mixup, len(positions)).astype(np.float32)

        def mix(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            row_share = share.reshape(-1, *[1] * (values.ndim - 1))
            return row_share * values + (1 - row_share) * values[partner]

        return mix(inputs), mix(labels), mix(weights)

    def on_epoch_end(self) -> None:
        """Shuffle for the next epoch."""
        self.epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        rng, count = np.random.default_rng([self.seed, self.epoch]), len(self.samples.index)
        self.order = rng.permutation(count) if self.sampling is None else rng.choice(count, count, p=self.sampling)


def _class_weights(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return weights (n,) of mean 1 that give both classes the same total."""
    share = np.bincount(labels, minlength=2) / len(labels)
    return (0.5 / share[labels]).astype(np.float32)


def _sampling_probabilities(index: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return probabilities (n,) that draw both classes equally, and within a class its abnormality types."""
    types = index.groupby("label")["abnormality_type"].transform("nunique")
    rows = index.groupby(["label", "abnormality_type"])["sample_id"].transform("count")
    return np.asarray(1 / (index["label"].nunique() * types * rows), np.float64)
