"""Optimizers by name (OPTIMIZERS) and their learning-rate schedule."""

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt

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
    schedule = StepRates(learning_rates(learning_rate, steps, train.warmup_fraction))
    average = {"use_ema": True, "ema_momentum": train.ema} if train.ema else {}
    return OPTIMIZERS[name](schedule, weight_decay=train.weight_decay, clipnorm=train.clip_norm, **average)


def learning_rates(peak: float, steps: int, warmup_fraction: float) -> npt.NDArray[np.float32]:
    """Return the rate of each step and the one after the last (steps + 1,): linear to `peak`, then along a cosine."""
    warmup = int(steps * warmup_fraction)
    step = np.arange(steps + 1)
    rising = WARMUP_START + (1 - WARMUP_START) * step / max(1, warmup)
    falling = 0.5 * (1 + np.cos(np.pi * (step - warmup) / max(1, steps - warmup)))
    return (peak * np.where(step < warmup, rising, DECAY_END + (1 - DECAY_END) * falling)).astype(np.float32)


class StepRates(keras.optimizers.schedules.LearningRateSchedule):
    """A learning-rate schedule that looks the rate of a step up; after the last step it keeps the last rate.

    AdamW puts the schedule into the graph once per weight. Keras' CosineDecay has a condition and about 90 operations:
    for EfficientNetB0's 213 weights they took most of the time in which its training step was built.
    """

    def __init__(self, rates: npt.ArrayLike):
        super().__init__()
        self.rates = keras.Variable(np.asarray(rates, np.float32), dtype="float32", trainable=False)

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        """Return the rate of `step`, counted from 0."""
        place = keras.ops.minimum(keras.ops.cast(step, "int32"), self.rates.shape[0] - 1)
        rates = keras.ops.convert_to_tensor(self.rates)  # JAX slices no variable
        return keras.ops.squeeze(keras.ops.slice(rates, (place,), (1,)))

    def get_config(self) -> dict[str, list[float]]:
        """Return the arguments that make an equal schedule."""
        return {"rates": keras.ops.convert_to_numpy(self.rates).tolist()}
