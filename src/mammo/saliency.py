"""Where a model looked: Grad-CAM on the layer `features`, for any architecture here and any Keras backend."""

import cv2
import keras
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def gradcam(model: keras.Model, images: npt.NDArray[np.uint8]) -> Floats:
    """Grad-CAM for malignancy: maps (n, h, w) in 0..1, each scaled by its own maximum.

    images: (n, h, w, 1). Selvaraju et al., ICCV 2017. The gradient is that of the logit: the sigmoid's vanishes for
    confident predictions.
    """
    up_to_features, to_logit = _halves(model)
    features = up_to_features.predict_on_batch(images.astype(np.float32))
    gradient = _gradient(to_logit, features)
    importance = gradient.mean(axis=(1, 2), keepdims=True)
    maps = np.maximum((importance * keras.ops.convert_to_numpy(features)).sum(axis=-1), 0)
    return np.stack([_enlarge(found, images.shape[1:3]) for found in maps])


def _halves(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """`model` cut at `features`: image -> features, and features -> logit."""
    features = model.get_layer("features").output
    return keras.Model(model.inputs, features), keras.Model(features, model.get_layer("logit").output)


def _gradient(to_logit: keras.Model, features: Floats) -> Floats:
    """d logit / d features, shaped as features (n, h, w, channels)."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        inputs = tf.convert_to_tensor(features)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            logit = to_logit(inputs, training=False)
        return np.asarray(tape.gradient(logit, inputs))
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: to_logit(x, training=False).sum())(jax.numpy.asarray(features)))
    if backend == "torch":
        import torch

        inputs = torch.tensor(features, requires_grad=True)
        (gradient,) = torch.autograd.grad(to_logit(inputs, training=False).sum(), inputs)
        return np.asarray(gradient.cpu())
    raise NotImplementedError(f"Grad-CAM has no gradient for the Keras backend {backend!r}")


def _enlarge(found: Floats, shape: tuple[int, ...]) -> Floats:
    large = cv2.resize(found, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    peak = float(large.max())
    return np.asarray(large / peak if peak > 0 else large, np.float32)
