"""Loss functions by the name that params.yaml gives them."""

import keras

from mammo.params import FocalParams


def get(name: str, focal: FocalParams) -> keras.losses.Loss:
    """`binary_crossentropy`, or `focal` (Lin et al., ICCV 2017), which weighs easy samples down."""
    losses = {
        "binary_crossentropy": keras.losses.BinaryCrossentropy(),
        "focal": keras.losses.BinaryFocalCrossentropy(apply_class_balancing=True, alpha=focal.alpha, gamma=focal.gamma),
    }
    return losses[name]
