"""VGG16 (Simonyan & Zisserman 2015): frozen (`trainable: []`, Basic VGG16), or with upper blocks that learn."""

from pathlib import Path

import keras

from mammo.core.config import ModelConfig
from mammo.models import Shape
from mammo.models.layers import inputs, pretrained
from mammo.models.layers.head import build_classifier

IMAGENET_MEAN = [123.68, 116.779, 103.939]  # RGB; the published weights expect BGR less this mean, unscaled
LAST_CONVOLUTION = "block5_conv3"  # before the last pooling, where the map is twice as fine


def build(config: ModelConfig, image_shape: Shape, weights_path: Path | None) -> keras.Model:
    """Return VGG16's convolutions, of which `trainable` learn, and a classifier on their last feature map."""
    image = inputs.grey_input(image_shape)
    first = inputs.crop_and_resize(image, config)
    offset = [-mean for mean in reversed(IMAGENET_MEAN)]
    # A mean per colour: padded borders differ by colour, so a single grey channel would not give the same.
    bgr = keras.layers.Rescaling(1.0, offset=offset, name="less_mean")(inputs.grey_to_rgb(first))
    base = pretrained.pretrained_base(keras.applications.VGG16, config, bgr, weights_path)
    features = base.get_layer(config.cut_after or LAST_CONVOLUTION).output
    return build_classifier(image, first, features, config, keras.layers.MaxPooling2D(2))
