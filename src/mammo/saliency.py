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
    pixels = images.astype(np.float32)
    features = up_to_features.predict_on_batch(pixels)
    gradient = _gradient(to_logit, keras.ops.convert_to_tensor(pixels), features)
    importance = gradient.mean(axis=(1, 2), keepdims=True)
    maps = np.maximum((importance * keras.ops.convert_to_numpy(features)).sum(axis=-1), 0)
    return np.stack([_placed(found, _seen(model), images.shape[1:3]) for found in maps])


def _halves(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """`model` cut at `features`: image -> features, and image and features -> logit (other crops need the image)."""
    features = model.get_layer("features").output
    return keras.Model(model.inputs, features), keras.Model([*model.inputs, features], model.get_layer("logit").output)


def _seen(model: keras.Model) -> tuple[int, int]:
    """Height and width of the centre of the image that `features` shows."""
    cropping = [layer for layer in model.layers if layer.name == "crop"]
    height, width = (cropping[0].height, cropping[0].width) if cropping else model.input_shape[1:3]
    return height, width


def _gradient(to_logit: keras.Model, images: keras.KerasTensor, features: Floats) -> Floats:
    """d logit / d features, shaped as features (n, h, w, channels)."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        inputs = tf.convert_to_tensor(features)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            logit = to_logit([images, inputs], training=False)
        return np.asarray(tape.gradient(logit, inputs))
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: to_logit([images, x], training=False).sum())(jax.numpy.asarray(features)))
    if backend == "torch":
        import torch

        inputs = torch.tensor(features, requires_grad=True)
        (gradient,) = torch.autograd.grad(to_logit([images, inputs], training=False).sum(), inputs)
        return np.asarray(gradient.cpu())
    raise NotImplementedError(f"Grad-CAM has no gradient for the Keras backend {backend!r}")


def _placed(found: Floats, seen: tuple[int, int], shape: tuple[int, ...]) -> Floats:
    """The map, enlarged to the centre of the image that was seen, with nothing around it; its maximum is 1."""
    large = np.zeros(shape, np.float32)
    top, left = (shape[0] - seen[0]) // 2, (shape[1] - seen[1]) // 2
    centre = cv2.resize(found, (seen[1], seen[0]), interpolation=cv2.INTER_LINEAR)
    large[top : top + seen[0], left : left + seen[1]] = centre
    peak = float(large.max())
    return np.asarray(large / peak if peak > 0 else large, np.float32)
