"""What architectures share: the grey input, a pretrained base, what of it learns, and the classifier."""

from collections.abc import Callable
from pathlib import Path

import keras

from mammo.errors import InputError
from mammo.params import ModelParams

# Keras' 0.99 needs hundreds of steps before validation sees the statistics that training used; small data have fewer.
NORM_MOMENTUM = 0.9


class WeightsError(InputError):
    """Pretrained weights cannot be had; the message names the alternatives."""


def grey_input(image_shape: tuple[int, int, int]) -> keras.KerasTensor:
    """Raw pixels (h, w, 1) in 0..255."""
    return keras.Input(image_shape, name="image")


def grey_to_rgb(image: keras.KerasTensor) -> keras.KerasTensor:
    """The grey channel three times, for a base that was trained on colour photographs."""
    return keras.layers.Concatenate(name="grey_to_rgb")([image, image, image])


def pretrained(application: Callable[..., keras.Model], weights: str, rgb: keras.KerasTensor) -> keras.Model:
    """A base of keras.applications on top of `rgb`; weights: none, imagenet (downloaded) or a path."""
    if weights == "none":
        return _quick_norms(application(include_top=False, weights=None, input_tensor=rgb))
    if weights == "imagenet":
        try:
            return application(include_top=False, weights="imagenet", input_tensor=rgb)
        except Exception as error:  # Keras raises a bare Exception where a download fails
            raise WeightsError(
                f"weights: imagenet could not be downloaded for {application.__name__} ({error}). Alternatives: "
                "`weights: none` (train from scratch), or `weights: <path>` of a Keras weights file without top"
            ) from error
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"weights: {weights!r} is neither none, nor imagenet, nor an existing file ({path.resolve()})"
        )
    base = application(include_top=False, weights=None, input_tensor=rgb)
    try:
        base.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(f"weights: {path} does not fit {application.__name__} without top: {error}") from error
    return base


def _quick_norms(base: keras.Model) -> keras.Model:
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = NORM_MOMENTUM
    return base


def set_trainable(base: keras.Model, prefixes: list[str]) -> None:
    """Let only the layers of `base` learn whose names start with one of `prefixes`; [all] is everything."""
    names = [layer.name for layer in base.layers if layer.weights]
    for prefix in prefixes:
        if prefix != "all" and not any(name.startswith(prefix) for name in names):
            raise InputError(f"trainable: no layer starts with {prefix!r}; there are: all, {', '.join(names)}")
    for layer in base.layers:
        layer.trainable = any(prefix == "all" or layer.name.startswith(prefix) for prefix in prefixes)


def classifier(features: keras.KerasTensor, params: ModelParams) -> keras.KerasTensor:
    """Spatial features -> probability: average pooling, normalisation, `head_units` hidden layers, one logit."""
    x = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name="pool_norm")(x)
    for number, units in enumerate(params.head_units, start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"head_{number}")(x)
        x = keras.layers.Dropout(params.dropout, name=f"head_{number}_dropout")(x)
    if not params.head_units:
        x = keras.layers.Dropout(params.dropout, name="dropout")(x)
    logit = keras.layers.Dense(1, name="logit")(x)
    return keras.layers.Activation("sigmoid", dtype="float32", name="prob")(logit)
