"""Settings of the Keras backend: deterministic kernels and precision."""

import keras

from mammo.core.config import TrainConfig


def configure_backend(train_config: TrainConfig) -> None:
    """Set deterministic kernels and `train.precision`; call it before a model is built."""
    use_deterministic_kernels()
    use_precision(train_config.precision)


def use_deterministic_kernels() -> None:
    """Switch TensorFlow to its deterministic kernels, without which one seed gives different weights."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def use_precision(precision: str) -> None:
    """Set the arithmetic of models built from here on.

    precision: `mixed` is 16-bit arithmetic with 32-bit weights where there is a GPU; all else is 32 bits.
    """
    policy = "mixed_bfloat16" if precision == "mixed" and _has_gpu() else "float32"
    keras.config.set_dtype_policy(policy)


def _has_gpu() -> bool:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    if backend == "jax":
        import jax

        return bool(jax.default_backend() == "gpu")
    if backend == "torch":
        import torch

        return bool(torch.cuda.is_available())
    return False
