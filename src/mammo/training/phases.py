"""The phases of a training: the head alone, then the whole model."""

from dataclasses import dataclass

from mammo.core.config import TrainingConfig


@dataclass(frozen=True)
class Phase:
    """A number of epochs under one learning rate; frozen: only the head learns, on the vectors of the base."""

    name: str
    epochs: int
    learning_rate: float
    frozen: bool


def total_epochs(config: TrainingConfig) -> int:
    """Return the number of epochs: `models.*.epochs`, else `train.epochs`."""
    return config.model.epochs or config.train.epochs


def training_phases(config: TrainingConfig) -> list[Phase]:
    """Return the phases: the head alone for `head_epochs`, then all layers.

    Where no layer of the base is `trainable` the head is all that learns: for `head_epochs`, or `epochs` where that is
    0, at `head_learning_rate`; a rate for fine-tuning a base would leave the head at its random start.
    """
    model, epochs = config.model, total_epochs(config)
    if not model.trainable:
        return [Phase("head", model.head_epochs or epochs, model.head_learning_rate, frozen=True)]
    head = [Phase("head", model.head_epochs, model.head_learning_rate, frozen=True)] if model.head_epochs else []
    return [*head, Phase("all", epochs, model.learning_rate, frozen=False)]
