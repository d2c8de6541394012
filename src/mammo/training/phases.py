"""The phases of a training: the head alone, then the whole model."""

from dataclasses import dataclass

from mammo.core.config import ModelConfig, TrainConfig


@dataclass(frozen=True)
class Phase:
    """Some epochs under one learning rate; frozen: the base stays as it is, and the head trains on its vectors."""

    name: str
    epochs: int
    learning_rate: float
    frozen: bool


def training_phases(recipe: TrainConfig, own: ModelConfig) -> list[Phase]:
    """The head alone first, where `head_epochs` says so, or all the time, where nothing of the base is `trainable`."""
    epochs = own.epochs or recipe.epochs
    if not own.trainable:
        return [Phase("head", epochs, own.learning_rate, frozen=True)]
    head = [Phase("head", own.head_epochs, own.head_learning_rate, frozen=True)] if own.head_epochs else []
    return [*head, Phase("all", epochs, own.learning_rate, frozen=False)]
