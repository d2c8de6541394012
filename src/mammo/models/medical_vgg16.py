"""Enhanced Medical VGG16: the upper blocks learn on mammograms, under a larger head."""

import keras

from mammo.models import Shape, _vgg16
from mammo.params import ModelParams


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """VGG16 of which the blocks named in `trainable` learn."""
    return _vgg16.build(params, image_shape)
