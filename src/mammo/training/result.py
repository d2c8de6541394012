"""The data and the result of one training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from mammo.data.samples import Samples
from mammo.training.checkpoint import Epoch

EpochCallback = Callable[[int, Epoch], None]  # epoch from 0, its metrics


@dataclass(frozen=True)
class TrainingData:
    """The rows of a training by their split: train to learn from, val to monitor it on, oof of a held-out fold.

    No test row is among them. Their order decides which random changes a row gets.
    """

    all_rows: Samples

    @classmethod
    def without_test(cls, samples: Samples) -> "TrainingData":
        """Return the data of a training on `samples`."""
        return cls(Samples(samples.index[samples.index["split"] != "test"], samples.images))

    @cached_property
    def train(self) -> Samples:
        """The rows that the model learns from."""
        return self.all_rows.take("train")

    @cached_property
    def validation(self) -> Samples:
        """The rows that the training is monitored on."""
        return self.all_rows.take("val")


@dataclass(frozen=True)
class TrainingResult:
    """The metrics of every epoch, and the epoch (from 0) whose weights the model keeps."""

    history: list[Epoch]
    best_epoch: int
