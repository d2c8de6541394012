"""ConvNeXt-Tiny (Liu et al. 2022): a convolutional network with a transformer's recipe, as a modern comparison."""

import keras

from mammo.models import Shape, _parts
from mammo.params import ModelParams


def build(params: ModelParams, image_shape: Shape) -> keras.Model:
    """ConvNeXt-Tiny, of which the layers named in `trainable` learn, and a classifier.

    Its first layer normalises each colour by its own mean, so that grey goes in three times; its first convolution
    (stride 4) is a hundredth of the work.
    """
    image = _parts.grey_input(image_shape)
    first = _parts.seen(image, params)
    base = _parts.pretrained(keras.applications.ConvNeXtTiny, params, _parts.grey_to_rgb(first))
    return _parts.finish(image, first, base.output, params)
