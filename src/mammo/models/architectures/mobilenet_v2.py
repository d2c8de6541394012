"""MobileNetV2 (Sandler et al. 2018), a small and quick architecture with pretrained weights."""

from pathlib import Path

import keras

from mammo.core.config import ModelConfig
from mammo.models import Shape
from mammo.models.layers import inputs, pretrained
from mammo.models.layers.head import build_classifier


def build(config: ModelConfig, image_shape: Shape, weights_path: Path | None) -> keras.Model:
    """Return MobileNetV2, of which the layers named in `trainable` learn, and a classifier."""
    image = inputs.grey_input(image_shape)
    first = inputs.crop_and_resize(image, config)
    base = pretrained.pretrained_base(
        keras.applications.MobileNetV2, config, inputs.symmetric_scale(first), weights_path
    )
    return build_classifier(image, first, base.output, config)
