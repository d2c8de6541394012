"""Pooling and the classifier on top of a base."""

from collections.abc import Callable

import keras

from mammo.core.config import ModelConfig
from mammo.models.layers.inputs import crop_and_resize

# Keras' 0.99 needs hundreds of steps before validation sees the statistics that training used; small data have fewer.
NORM_MOMENTUM = 0.9


def build_classifier(
    image: keras.KerasTensor,
    first: keras.KerasTensor,
    features: keras.KerasTensor,
    config: ModelConfig,
    reduce: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None,
) -> keras.Model:
    """Return the whole model, from `image` to the probability of malignancy.

    features: the feature map of `first`, the first crop of `image`; its layer is named `features`. The other
    `crops` go through the same layers, and the vectors of all are concatenated in `pool`. reduce: a layer for each
    feature map before it is pooled.
    """
    others = [crop_and_resize(image, config, number) for number in range(1, len(config.crops))]
    # The base's own `call` puts its layers into the graph; calling the base would nest it.
    maps = [
        keras.layers.Identity(name="features")(features),
        *[keras.Model(first, features).call(crop) for crop in others],
    ]
    vectors = [
        pooled for feature_map in maps for pooled in _pool(reduce(feature_map) if reduce else feature_map, config)
    ]
    if len(vectors) == 1:
        vector = keras.layers.Identity(name="pool")(vectors[0])
    else:
        vector = keras.layers.Concatenate(name="pool")(vectors)
    return keras.Model(image, _classifier(vector, config))


def _pool(feature_map: keras.KerasTensor, config: ModelConfig) -> list[keras.KerasTensor]:
    """Return the average of every channel and, with `pool_max`, its maximum."""
    average = keras.layers.GlobalAveragePooling2D()(feature_map)
    return [average, keras.layers.GlobalMaxPooling2D()(feature_map)] if config.pool_max else [average]


def _classifier(vector: keras.KerasTensor, config: ModelConfig) -> keras.KerasTensor:
    """Return the probability of a vector: normalisation, `head_units` hidden layers, one logit, the sigmoid."""
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name="pool_norm")(vector)
    for number, units in enumerate(config.head_units, start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"head_{number}")(x)
        x = keras.layers.Dropout(config.dropout, name=f"head_{number}_dropout")(x)
    if not config.head_units:
        x = keras.layers.Dropout(config.dropout, name="dropout")(x)
    logit = keras.layers.Dense(1, name="logit")(x)
    return keras.layers.Activation("sigmoid", dtype="float32", name="prob")(logit)
