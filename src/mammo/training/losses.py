"""Loss functions by the name that params.yaml gives them."""

import keras

from mammo.core.config import FocalConfig


def get_loss(name: str, focal: FocalConfig, label_smoothing: float = 0.0) -> keras.losses.Loss:
    """Return `binary_crossentropy`, or `focal` (Lin et al., ICCV 2017), which gives easy samples less weight."""
    losses = {
        "binary_crossentropy": keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing),
        "focal": keras.losses.BinaryFocalCrossentropy(
            apply_class_balancing=True, alpha=focal.alpha, gamma=focal.gamma, label_smoothing=label_smoothing
        ),
    }
    return losses[name]
