"""VGG16 (Simonyan & Zisserman 2015) up to its last convolution, shared by the basic and the medical variant."""

import keras

from mammo.models import Shape, _parts
from mammo.params import ModelParams

IMAGENET_MEAN = [123.68, 116.779, 103.939]  # RGB; the published weights expect BGR less this mean, unscaled


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """VGG16's convolutions, of which `trainable` learn, and a classifier on their last feature map."""
    image = _parts.grey_input(image_shape)
    first = _parts.seen(image, params)
    offset = [-mean for mean in reversed(IMAGENET_MEAN)]
    # Each colour loses another mean, so that at padded borders grey in one channel would not be the same.
    bgr = keras.layers.Rescaling(1.0, offset=offset, name="less_mean")(_parts.grey_to_rgb(first))
    base = _parts.pretrained(keras.applications.VGG16, params, bgr)
    # Before the last pooling, where the map is twice as fine.
    return _parts.finish(image, first, base.get_layer("block5_conv3").output, params, keras.layers.MaxPooling2D(2))
