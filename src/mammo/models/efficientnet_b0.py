"""EfficientNetB0 (Tan & Le 2019); its own first layers scale raw RGB pixels."""

import keras

from mammo import tracking
from mammo.models import Shape, _parts
from mammo.params import ModelParams

IMAGENET_STD = (0.229, 0.224, 0.225)  # RGB


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """EfficientNetB0, of which the layers named in `trainable` learn, and a classifier."""
    image = _parts.grey_input(image_shape)
    first = _parts.seen(image, params)
    base = _parts.pretrained(keras.applications.EfficientNetB0, params, _parts.grey_to_rgb(first))
    if params.weights != "none" and not tracking.is_uri(params.weights):
        _complete_scaling(base)
    return _parts.finish(image, first, base.output, params)


def _complete_scaling(base: keras.Model) -> None:
    """Give a base the division by sqrt(SD) that Keras adds as a layer where it loads "imagenet" itself.

    The published weights were trained with it; here it goes into the variance by which the base normalises.
    """
    layer = next(layer for layer in base.layers if isinstance(layer, keras.layers.Normalization))
    layer.adapt_variance.assign(layer.adapt_variance * keras.ops.convert_to_tensor(IMAGENET_STD, layer.variance.dtype))
    layer.finalize_state()
