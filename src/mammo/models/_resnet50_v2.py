"""ResNet50V2 (He et al. 2016), whole or up to a layer, shared by the fine-tuned and the frozen variant."""

import keras

from mammo.models import Shape, _parts
from mammo.params import ModelParams

WHOLE = "post_relu"


def build(params: ModelParams, image_shape: Shape, cut_after: str) -> keras.Model:
    """ResNet50V2 up to `cut_after`, of which the layers named in `trainable` learn, and a classifier."""
    image = _parts.grey_input(image_shape)
    first = _parts.seen(image, params)
    base = _parts.pretrained(keras.applications.ResNet50V2, params, _parts.symmetric_scale(first), cut_after)
    return _parts.finish(image, first, base.output, params)
