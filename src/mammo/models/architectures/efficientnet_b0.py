"""EfficientNetB0 (Tan & Le 2019); its own first layers scale raw RGB pixels."""

from pathlib import Path

import keras

from mammo.core.config import ModelConfig
from mammo.models import Shape
from mammo.models.layers import inputs, pretrained
from mammo.models.layers.head import build_classifier

IMAGENET_STD = (0.229, 0.224, 0.225)  # RGB


def build(config: ModelConfig, image_shape: Shape, weights_path: Path | None) -> keras.Model:
    """Return EfficientNetB0, of which the layers named in `trainable` learn, and a classifier."""
    image = inputs.grey_input(image_shape)
    first = inputs.crop_and_resize(image, config)
    base = pretrained.pretrained_base(
        keras.applications.EfficientNetB0, config, inputs.grey_to_rgb(first), weights_path
    )
    if _is_published(config, weights_path):
        _complete_scaling(base)
    return build_classifier(image, first, base.output, config)


def _is_published(config: ModelConfig, weights_path: Path | None) -> bool:
    """Return whether the weights are those that Keras publishes, not a model of ours (a .keras file)."""
    return config.weights == "imagenet" or (weights_path is not None and weights_path.suffix != ".keras")


def _complete_scaling(base: keras.Model) -> None:
    """Add to a base the division by sqrt(SD) that Keras adds as a layer where it loads "imagenet" itself.

    The published weights were trained with it; here it goes into the variance by which the base normalises.
    """
    layer = next(layer for layer in base.layers if isinstance(layer, keras.layers.Normalization))
    layer.adapt_variance.assign(layer.adapt_variance * keras.ops.convert_to_tensor(IMAGENET_STD, layer.variance.dtype))
    layer.finalize_state()
