"""The optimizer and its learning-rate schedule."""

import keras

from mammo.core.config import TrainConfig


def build_optimizer(learning_rate: float, recipe: TrainConfig, steps: int) -> keras.optimizers.Optimizer:
    """AdamW under a linear warm-up and a cosine decay over all steps."""
    warmup = int(steps * recipe.warmup_fraction)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / 10 if warmup else learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
        alpha=0.01,
    )
    average = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    return keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, clipnorm=recipe.clip_norm, **average)
