"""The pixel store -> shuffled, balanced, mixed batches.

An image leaves the store as raw pixels (n, h, w, 1); nothing is read before its batch is asked for.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.config import TrainConfig
from mammo.data.samples import Samples

Inputs = Callable[[int, npt.NDArray[np.int64]], npt.NDArray[Any]]  # epoch, positions -> what the model is fed


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled batches of (inputs, labels, weights), which depend on the seed, the epoch and the number only.

    balance: class_weights gives both classes the same weight in the loss; sampling draws class and abnormality type
    equally, with replacement; none does neither. mixup: alpha of Zhang et al., ICLR 2018; 0 is none.
    inputs: where they come from other than the samples' pixels. The first epoch is `epoch`, and on_epoch_end goes on.
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
        self.weights = _balanced(samples.labels) if weighted else np.ones(len(samples.index), np.float32)
        self.shares = _equal_shares(samples.index) if config.balance == "sampling" else None
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

        def mixed(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            own = share.reshape(-1, *[1] * (values.ndim - 1))
            return own * values + (1 - own) * values[partner]

        return mixed(inputs), mixed(labels), mixed(weights)

    def on_epoch_end(self) -> None:
        """Shuffle anew."""
        self.epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        rng, count = np.random.default_rng([self.seed, self.epoch]), len(self.samples.index)
        self.order = rng.permutation(count) if self.shares is None else rng.choice(count, count, p=self.shares)


def _balanced(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Weights (n,) of mean 1 that give both classes the same total."""
    share = np.bincount(labels, minlength=2) / len(labels)
    return (0.5 / share[labels]).astype(np.float32)


def _equal_shares(index: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Probabilities (n,) by which both classes are drawn equally, and within a class its abnormality types."""
    types = index.groupby("label")["abnormality_type"].transform("nunique")
    rows = index.groupby(["label", "abnormality_type"])["sample_id"].transform("count")
    return np.asarray(1 / (index["label"].nunique() * types * rows), np.float64)
