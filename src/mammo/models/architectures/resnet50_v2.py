"""ResNet50V2 (He et al. 2016), whole or cut early (`cut_after`), where its features are of fine texture."""

from pathlib import Path

import keras

from mammo.core.config import ModelConfig
from mammo.models import Shape
from mammo.models.layers import inputs, pretrained
from mammo.models.layers.head import build_classifier


def build(config: ModelConfig, image_shape: Shape, weights_path: Path | None) -> keras.Model:
    """Return ResNet50V2 up to `cut_after`, e.g. conv5_block1_preact_relu (all of conv4), and a classifier."""
    image = inputs.grey_input(image_shape)
    first = inputs.crop_and_resize(image, config)
    scaled = inputs.symmetric_scale(first)
    base = pretrained.pretrained_base(keras.applications.ResNet50V2, config, scaled, weights_path)
    return build_classifier(image, first, base.output, config)
