"""MobileNetV2 (Sandler et al. 2018): small and quick, with pretrained weights."""

import keras

from mammo.models import Shape, _parts
from mammo.params import ModelParams


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """MobileNetV2, of which the layers named in `trainable` learn, and a classifier."""
    image = _parts.grey_input(image_shape)
    first = _parts.seen(image, params)
    base = _parts.pretrained(keras.applications.MobileNetV2, params, _parts.symmetric_scale(first))
    return _parts.finish(image, first, base.output, params)
