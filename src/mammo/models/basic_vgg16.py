"""Basic VGG16: the base stays as it was (`trainable: []`), and a small classifier learns on its features."""

import keras

from mammo.errors import InputError
from mammo.models import Shape, _vgg16
from mammo.params import ModelParams


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """A frozen VGG16 with a classifier; refuses to unfreeze, which is what medical_vgg16 is for."""
    if params.trainable:
        raise InputError(
            f"models.basic_vgg16.trainable is {params.trainable}, but its base is frozen; use medical_vgg16"
        )
    return _vgg16.build(params, image_shape)
