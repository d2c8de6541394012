"""Fitting one model: optimiser, schedule, augmentation, and which epoch is kept."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from mammo import batches, losses, monitors
from mammo.batches import Samples
from mammo.monitors import Epoch
from mammo.params import FocalParams, ModelParams, TrainParams


@dataclass(frozen=True)
class Fitted:
    """What `fit` returns beside the trained weights: all epochs, and the one whose weights were kept (from 0)."""

    history: list[Epoch]
    kept_epoch: int


def use_deterministic_kernels() -> None:
    """The same seed gives the same weights: on TensorFlow that needs its deterministic kernels."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def fit(
    model: keras.Model,
    train: Samples,
    validation: Samples,
    recipe: TrainParams,
    own: ModelParams,
    focal: FocalParams,
    seed: int,
    log: Callable[[int, Epoch], None],
) -> Fitted:
    """Train `model` in place and leave it at the epoch that `recipe.keep` names.

    "best" stops early and keeps the epoch of the best validation AUC; on a few dozen patients that is mostly the
    luckiest one, so "last" keeps the last epoch, when the learning rate has faded out.
    `log(epoch, values)` is called after every epoch. Test rows are never seen here.
    """
    _seed_dropout(model, seed)
    data = batches.TrainingBatches(train, recipe.batch_size, recipe.class_weights, seed)
    augmented = _augmented(model, batches.augmentation(recipe.augmentation, own.augmentation_strength, seed))
    augmented.compile(_optimizer(own.learning_rate, recipe, len(data)), losses.get(own.loss, focal), jit_compile=False)
    watch = monitors.ValidationMetrics(validation, model, recipe.collapse_share, log)
    best = keras.callbacks.EarlyStopping(
        monitor="val_auc", mode="max", patience=recipe.patience, restore_best_weights=True
    )
    callbacks = [watch, best] if recipe.keep == "best" else [watch]
    # Keras would shuffle the batches once more, with Python's global generator.
    augmented.fit(data, epochs=recipe.epochs, callbacks=callbacks, shuffle=False, verbose=2)
    return Fitted(watch.history, best.best_epoch if recipe.keep == "best" else len(watch.history) - 1)


def _seed_dropout(model: keras.Model, seed: int) -> None:
    """Keras saves no seeds: a loaded model's dropout has drawn its own from Python's global generator."""
    layers = [layer for layer in model.layers if hasattr(layer, "seed_generator")]
    for number, layer in enumerate(layers):
        layer.seed_generator.state.assign([(seed + number) % 2**31, 0])


def _augmented(model: keras.Model, layers: list[keras.layers.Layer]) -> keras.Model:
    """`model` behind the augmentation, on the device; it shares the weights, and `model` itself stays bare."""
    image = keras.Input(model.input_shape[1:], name="image")
    x = image
    for layer in layers:
        x = layer(x)
    return keras.Model(image, model(x))


def _optimizer(learning_rate: float, recipe: TrainParams, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """AdamW under a linear warm-up and a cosine decay over all epochs."""
    steps = steps_per_epoch * recipe.epochs
    warmup = int(steps * recipe.warmup_fraction)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / 10 if warmup else learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
        alpha=0.01,
    )
    return keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, clipnorm=1.0)
