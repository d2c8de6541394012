"""EfficientNetB0 (Tan & Le 2019); its own first layers scale raw RGB pixels."""

import keras

from mammo.models import Shape, _parts
from mammo.params import ModelParams


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """EfficientNetB0, of which the layers named in `trainable` learn, and a classifier."""
    image = _parts.grey_input(image_shape)
    base = _parts.pretrained(keras.applications.EfficientNetB0, params.weights, _parts.grey_to_rgb(image))
    _parts.set_trainable(base, params.trainable)
    features = keras.layers.Identity(name="features")(base.output)
    return keras.Model(image, _parts.classifier(features, params))
