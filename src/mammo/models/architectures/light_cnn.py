"""A light CNN for small data, trained from scratch: about 0.2 M parameters."""

from pathlib import Path

import keras

from mammo.core.config import ModelConfig
from mammo.core.errors import InputError
from mammo.models import Shape
from mammo.models.layers import inputs
from mammo.models.layers.head import NORM_MOMENTUM, build_classifier

WIDTHS = (16, 32, 64, 96, 128)


def build(config: ModelConfig, image_shape: Shape, weights_path: Path | None) -> keras.Model:
    """Return five blocks of convolution and normalisation, with pooling between them, and a classifier.

    Raise InputError where `weights`, `trainable` or `cut_after` ask for a pretrained base.
    """
    if config.weights != "none" or config.trainable != ["all"] or config.cut_after is not None:
        raise InputError(
            f"models.light_cnn has weights {config.weights!r} and trainable {config.trainable}; "
            "it has no pretrained base: use `weights: none` and `trainable: [all]`"
        )
    image = inputs.grey_input(image_shape)
    first = inputs.crop_and_resize(image, config)
    x = inputs.symmetric_scale(first)
    for number, width in enumerate(WIDTHS, start=1):
        if number > 1:
            x = keras.layers.MaxPooling2D(2, name=f"block{number}_pool")(x)
        x = _block(x, width, f"block{number}")
    return build_classifier(image, first, x, config)


def _block(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name=f"{name}_norm")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)
