"""VGG16 (Simonyan & Zisserman 2015) up to its last convolution, shared by the basic and the medical variant."""

import keras

from mammo.models import Shape, _parts
from mammo.params import ModelParams

IMAGENET_MEAN = [123.68, 116.779, 103.939]  # RGB; the published weights expect BGR less this mean, unscaled


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """VGG16's convolutions, of which `trainable` learn, and a classifier on their last feature map."""
    image = _parts.grey_input(image_shape)
    bgr = keras.layers.Rescaling(1.0, offset=[-mean for mean in reversed(IMAGENET_MEAN)], name="less_mean")(
        _parts.grey_to_rgb(image)
    )
    base = _parts.pretrained(keras.applications.VGG16, params.weights, bgr)
    _parts.set_trainable(base, params.trainable)
    # Before the last pooling, where the map is twice as fine.
    features = keras.layers.Identity(name="features")(base.get_layer("block5_conv3").output)
    x = keras.layers.MaxPooling2D(2, name="features_pool")(features)
    return keras.Model(image, _parts.classifier(x, params))
