"""What a training returns, and how it reports its epochs."""

from collections.abc import Callable
from dataclasses import dataclass

from mammo.training.checkpoint import Epoch

EpochCallback = Callable[[int, Epoch], None]


@dataclass(frozen=True)
class TrainingResult:
    """What `fit` returns beside the trained weights: all epochs, and the one whose weights were kept (from 0)."""

    history: list[Epoch]
    kept_epoch: int
