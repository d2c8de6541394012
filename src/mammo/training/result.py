"""The data and the result of one training."""

from collections.abc import Callable
from dataclasses import dataclass

from mammo.data.samples import Samples
from mammo.training.checkpoint import Epoch

EpochCallback = Callable[[int, Epoch], None]  # epoch from 0, its metrics


@dataclass(frozen=True)
class TrainingData:
    """The rows that a model learns from, and those that its training is monitored on."""

    train: Samples
    validation: Samples


@dataclass(frozen=True)
class TrainingResult:
    """The metrics of every epoch, and the epoch (from 0) whose weights the model keeps."""

    history: list[Epoch]
    best_epoch: int
