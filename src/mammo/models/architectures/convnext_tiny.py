"""ConvNeXt-Tiny (Liu et al. 2022): a convolutional network designed like a transformer, as a modern comparison."""

from pathlib import Path

import keras

from mammo.core.config import ModelConfig
from mammo.models import Shape
from mammo.models.layers import inputs, pretrained
from mammo.models.layers.head import build_classifier


def build(config: ModelConfig, image_shape: Shape, weights_path: Path | None) -> keras.Model:
    """Return ConvNeXt-Tiny, of which the layers named in `trainable` learn, and a classifier.

    Its first layer normalises each colour by its own mean, so the grey channel goes in three times; its first
    convolution (stride 4) is a hundredth of the work.
    """
    image = inputs.grey_input(image_shape)
    first = inputs.crop_and_resize(image, config)
    base = pretrained.pretrained_base(keras.applications.ConvNeXtTiny, config, inputs.grey_to_rgb(first), weights_path)
    return build_classifier(image, first, base.output, config)
