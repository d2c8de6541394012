"""ResNet50V2 (He et al. 2016), whole, or ended early (`cut_after`) where its features are of fine texture."""

import keras

from mammo.models import Shape, _resnet50_v2
from mammo.params import ModelParams


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """ResNet50V2 up to `cut_after`, e.g. conv5_block1_preact_relu (all of conv4, stride 16); null: all of it."""
    return _resnet50_v2.build(params, image_shape, params.cut_after or _resnet50_v2.WHOLE)
