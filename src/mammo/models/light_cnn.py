"""A light CNN for small data, trained from scratch: about 0.2 M parameters."""

import keras

from mammo.errors import InputError
from mammo.models import Shape, _parts
from mammo.params import ModelParams

WIDTHS = (16, 32, 64, 96, 128)


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """Five blocks of convolution and normalisation, each but the last followed by pooling, and a classifier."""
    if params.weights != "none" or params.trainable != ["all"] or params.cut_after is not None:
        raise InputError(
            f"models.light_cnn has weights {params.weights!r} and trainable {params.trainable}; "
            "it has no pretrained base: use `weights: none` and `trainable: [all]`"
        )
    image = _parts.grey_input(image_shape)
    first = _parts.seen(image, params)
    x = _parts.symmetric_scale(first)
    for number, width in enumerate(WIDTHS, start=1):
        if number > 1:
            x = keras.layers.MaxPooling2D(2, name=f"block{number}_pool")(x)
        x = _block(x, width, f"block{number}")
    return _parts.finish(image, first, x, params)


def _block(x: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = keras.layers.BatchNormalization(momentum=_parts.NORM_MOMENTUM, name=f"{name}_norm")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)
