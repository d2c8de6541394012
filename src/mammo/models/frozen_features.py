"""The bar to beat: fixed features of photographs and a linear classifier on them. Nothing of the base learns."""

import keras

from mammo.errors import InputError
from mammo.models import Shape, _resnet50_v2
from mammo.params import ModelParams

END_OF_CONV4 = "conv5_block1_preact_relu"  # stride 16, 1,024 channels


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """ResNet50V2 up to the end of conv4 (or `cut_after`), frozen, and one linear layer."""
    if params.trainable or params.head_units:
        raise InputError(
            f"models.frozen_features has trainable {params.trainable} and head_units {params.head_units}, but it is "
            "a linear classifier on frozen features: both must be []; use resnet50_v2"
        )
    return _resnet50_v2.build(params, image_shape, params.cut_after or END_OF_CONV4)
