"""Optimizers by name (OPTIMIZERS) and their learning-rate schedule."""

from collections.abc import Callable

import keras

from mammo.core.config import TrainingConfig
from mammo.core.errors import InputError
from mammo.training.logistic_head import LOGISTIC_REGRESSION

WARMUP_START = 0.1  # of the learning rate
DECAY_END = 0.01  # of the learning rate

OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {"adamw": keras.optimizers.AdamW}


def build_optimizer(config: TrainingConfig, learning_rate: float, steps: int) -> keras.optimizers.Optimizer:
    """Return `config.model.optimizer` under a linear warm-up and a cosine decay over `steps`; raise InputError."""
    name, train = config.model.optimizer, config.train
    if name not in OPTIMIZERS:
        raise InputError(
            f"models.*.optimizer: unknown name {name!r}; there are: {', '.join([*OPTIMIZERS, LOGISTIC_REGRESSION])}"
        )
    warmup = int(steps * train.warmup_fraction)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate * WARMUP_START if warmup else learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
        alpha=DECAY_END,
    )
    average = {"use_ema": True, "ema_momentum": train.ema} if train.ema else {}
    return OPTIMIZERS[name](schedule, weight_decay=train.weight_decay, clipnorm=train.clip_norm, **average)
