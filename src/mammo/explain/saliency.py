"""Saliency maps by eight methods under one signature, for any architecture here and any Keras backend.

A map is (h, w) in 0..1, scaled by its own maximum; it is 0 everywhere if nothing speaks for malignancy. Every method
explains the logit: the sigmoid's gradient vanishes for confident predictions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import cv2
import keras
import numpy as np
import numpy.typing as npt

from mammo.core.errors import InputError
from mammo.data.samples import Samples

BACKENDS = ("tensorflow", "jax", "torch")
BATCH = 16  # samples that are explained together
# A base of 512 to 2,048 channels would cost as many predictions per image, and most channels are silent.
SCORE_CHANNELS = 64
NOISE_SAMPLES = 16
NOISE_SD = 0.15  # of the image's range; Smilkov et al. use 0.1 to 0.2
PATH_STEPS = 32
PATCHES_ACROSS = 8  # an occluding patch is this part of a side, and moves by half of itself
ROUNDING = 1e-5  # a smaller change of the logit, as a share of it, is none: scaled up, it would look like a finding

Floats = npt.NDArray[np.float32]
Images = npt.NDArray[Any]  # (n, h, w, 1), 0..255
Tensor = Any  # of the Keras backend
Array = TypeVar("Array", bound=npt.NDArray[Any])
Method = Callable[["Explainer", Images, int], Floats]


class Explainer:
    """A model cut at `features`, with its compiled gradients; build it once per model and use it for every batch.

    It follows the model's weights when these change. batch: how many changed images are predicted at a time by the
    methods that need many predictions per image. Raises InputError for a model without `features` or `logit`, and on a
    Keras backend without gradients.
    """

    def __init__(self, model: keras.Model, batch: int = 64):
        _check_backend()
        features, logit = (_get_layer(model, name).output for name in ("features", "logit"))
        self.image_shape = tuple(model.input_shape[1:])
        self.visible_px = _visible_size(model)
        self.batch = batch
        self.model = model
        self.to_features = keras.Model(model.inputs, features)
        # Other crops than the first need the image too.
        self.features_to_logit = keras.Model([*model.inputs, features], logit)
        self.to_logit = keras.Model(model.inputs, logit)
        self._pixel_gradient = _compile(model, lambda images: _gradient(self._logit, images))
        self._feature_gradient = _compile(model, self._features_and_gradient)

    def maps(self, images: Images, method: str, seed: int = 0) -> Floats:
        """Return maps (n, h, w) of images (n, h, w, 1) by a method of METHODS; only `seed` decides what is random.

        Raises InputError for an unknown method, or images of another shape than the model takes.
        """
        return self.maps_by_method(images, [method], seed)[method]

    def maps_by_method(self, images: Images, methods: Iterable[str], seed: int = 0) -> dict[str, Floats]:
        """Return `maps` by each of several methods; those of CAMS share one gradient."""
        methods = list(methods)
        for method in methods:
            if method not in CAMS and method not in PERTURBING:
                raise InputError(f"unknown saliency method {method!r}; there are {', '.join(METHODS)}")
        if images.shape[1:] != self.image_shape:
            raise InputError(
                f"images are {images.shape}, but the model takes (n, {', '.join(map(str, self.image_shape))}); "
                "preprocess to that size (preprocess.size_px), or train the model on this one"
            )
        images = images.astype(np.float32)
        coarse = self.compute_cams(images, [method for method in methods if method in CAMS])
        return {
            method: self.place(coarse[method]) if method in coarse else PERTURBING[method](self, images, seed)
            for method in methods
        }

    def compute_cams(self, images: Images, names: Sequence[str]) -> dict[str, Floats]:
        """Return coarse maps (n, rows, columns) by methods of CAMS, in the size of `features`."""
        if not names:
            return {}
        features, gradient = self._feature_gradient(images)
        return {name: _to_array(CAMS[name](features, gradient)) for name in names}

    def pixel_gradient(self, images: Images) -> Floats:
        """Return d logit / d pixel, shaped as images (n, h, w, 1)."""
        return _to_array(self._pixel_gradient(images))

    def features(self, images: Images) -> Floats:
        """Return the output of the layer `features` for images, (n, rows, columns, channels)."""
        return np.asarray(self.to_features.predict_on_batch(images), np.float32)

    def logits(self, images: Images) -> Floats:
        """Return logits (n,), `batch` images at a time."""
        starts = range(0, len(images), self.batch)
        parts = [self.to_logit.predict_on_batch(images[start : start + self.batch]) for start in starts]
        return np.concatenate(parts)[:, 0].astype(np.float32)

    def place(self, coarse: Floats) -> Floats:
        """Enlarge coarse maps (n, rows, columns) to where the first crop lies; each is scaled by its maximum."""
        return _scale(np.stack([_enlarge(cell, self.visible_px, self.image_shape[:2]) for cell in coarse]))

    def crop_visible(self, maps: Array) -> Array:
        """Crop maps or images (n, h, w) to the part that `features` covers: around it all maps are 0, and so alike."""
        (height, width), (rows, columns) = self.image_shape[:2], self.visible_px
        top, left = (height - rows) // 2, (width - columns) // 2
        return cast(Array, maps[:, top : top + rows, left : left + columns])

    def _logit(self, images: Tensor) -> Tensor:
        return self.to_logit(images, training=False)

    def _features_and_gradient(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.to_features(images, training=False)
        gradient = _gradient(lambda at: self.features_to_logit([images, at], training=False), features)
        return keras.ops.cast(features, "float32"), keras.ops.cast(gradient, "float32")


def _get_layer(model: keras.Model, name: str) -> keras.layers.Layer:
    if name not in {layer.name for layer in model.layers}:
        raise InputError(
            f"the model {model.name!r} has no layer named {name!r}, which saliency maps need; name its last spatial "
            "feature map `features` and its score before the sigmoid `logit`, as src/mammo/models/ does"
        )
    return model.get_layer(name)


def _visible_size(model: keras.Model) -> tuple[int, int]:
    """Return height and width of the centre of the image that `features` covers."""
    cropping = [layer for layer in model.layers if layer.name == "crop"]
    height, width = (cropping[0].height, cropping[0].width) if cropping else model.input_shape[1:3]
    return height, width


def _check_backend() -> None:
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise InputError(
            f"saliency maps need gradients, which the Keras backend {backend!r} has not; "
            f"set KERAS_BACKEND to one of {', '.join(BACKENDS)}"
        )


def _gradient(score: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Return d score(at) / d at, where row i of the score (n, 1) depends on row i of `at` alone."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(at)
            value = score(at)
        return tape.gradient(value, at)
    if backend == "jax":
        import jax

        return jax.grad(lambda x: score(x).sum())(at)
    import torch

    with torch.enable_grad():
        inputs = at.detach().requires_grad_(True)
        return torch.autograd.grad(score(inputs).sum(), inputs)[0]


def _compile(model: keras.Model, function: Callable[[Tensor], Any]) -> Callable[[Images], Any]:
    """Compile `function` of images (n, h, w, 1), which calls `model`, to one graph of the backend; torch has none."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
        return cast(Callable[[Images], Any], tf.function(function, input_signature=signature))
    if backend == "jax":
        import jax

        def call_with_values(values: list[Tensor], images: Images) -> Any:
            with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))):
                return function(images)

        compiled = jax.jit(call_with_values)
        return lambda images: compiled([variable.value for variable in model.variables], images)

    def call_eagerly(images: Images) -> Any:
        import torch

        with torch.no_grad():
            return function(keras.ops.convert_to_tensor(images))

    return call_eagerly


def _to_array(tensor: Tensor) -> Floats:
    return np.asarray(keras.ops.convert_to_numpy(tensor), np.float32)


def _grad_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Selvaraju et al., ICCV 2017."""
    return _positive(keras.ops.mean(gradient, axis=(1, 2), keepdims=True) * features)


def _grad_cam_pp(features: Tensor, gradient: Tensor) -> Tensor:
    """Chattopadhay et al., WACV 2018, for the score exp(logit), whose own value cancels in a scaled map.

    The paper's g^2 / (2 g^2 + g^3 sum A) is written as 1 / (2 + g sum A), which does not underflow. It assumes
    features after a ReLU; of others (ConvNeXt, EfficientNet) the positive ones are summed, so that no weight explodes.
    """
    gained = keras.ops.relu(gradient)
    total = keras.ops.sum(keras.ops.relu(features), axis=(1, 2), keepdims=True)
    weights = keras.ops.sum(gained / (2 + gained * total), axis=(1, 2), keepdims=True)
    return _positive(weights * features)


def _hires_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Draelos & Carin, arXiv:2011.08891, 2020."""
    return _positive(gradient * features)


def _layer_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Jiang et al., IEEE Trans Image Process 2021."""
    return _positive(keras.ops.relu(gradient) * features)


def _positive(evidence: Tensor) -> Tensor:
    return keras.ops.relu(keras.ops.sum(evidence, axis=-1))


CAMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradcam": _grad_cam,
    "gradcam_pp": _grad_cam_pp,
    "hirescam": _hires_cam,
    "layercam": _layer_cam,
}


def score_cam(explainer: Explainer, images: Images, seed: int) -> Floats:
    """Weight features by the softmax of the logit of the image masked by each of them.

    Wang et al., CVPR Workshops 2020. Only the SCORE_CHANNELS channels that vary most over the image are tried: one
    that is flat masks nothing.
    """
    pairs = zip(images, explainer.features(images), strict=True)
    return explainer.place(np.stack([_score_cam(explainer, image, features) for image, features in pairs]))


def _score_cam(explainer: Explainer, image: Images, features: Floats) -> Floats:
    """Return the coarse map (rows, columns) of one image (h, w, 1)."""
    varied = np.argsort(-features.std(axis=(0, 1)), kind="stable")[:SCORE_CHANNELS]
    channels = np.moveaxis(features[..., varied], -1, 0)
    low, high = (limit(channels, axis=(1, 2), keepdims=True) for limit in (np.min, np.max))
    scaled = np.divide(channels - low, high - low, out=np.zeros_like(channels), where=high > low)
    masks = np.stack([_enlarge(mask, explainer.visible_px, explainer.image_shape[:2]) for mask in scaled])
    logits = explainer.logits(masks[..., np.newaxis] * image)
    weights = np.exp(logits - logits.max())
    return np.asarray(np.maximum(np.tensordot(weights / weights.sum(), channels, axes=1), 0), np.float32)


def smoothgrad(explainer: Explainer, images: Images, seed: int) -> Floats:
    """Map the size of the mean gradient over noisy copies of each image. Smilkov et al., arXiv:1706.03825, 2017.

    Unlike the other methods it shows evidence against malignancy too. The noise is the same for every image, so that
    a map does not depend on its batch.
    """
    span = np.ptp(images, axis=(1, 2, 3), keepdims=True)
    total = np.zeros_like(images)
    for noise in np.random.default_rng(seed).normal(0, NOISE_SD, (NOISE_SAMPLES, *explainer.image_shape)):
        total += explainer.pixel_gradient((images + span * noise).astype(np.float32))
    return _scale(np.abs(total[..., 0]))


def integrated_gradients(explainer: Explainer, images: Images, seed: int) -> Floats:
    """Map what speaks for malignancy in `attribute_pixels`."""
    return _scale(np.maximum(attribute_pixels(explainer, images)[..., 0], 0))


def attribute_pixels(explainer: Explainer, images: Images) -> Floats:
    """Return each pixel's part of logit(image) - logit(black), signed, (n, h, w, 1). Sundararajan et al., ICML 2017."""
    total = np.zeros(images.shape, np.float32)
    for share in (np.arange(PATH_STEPS) + 0.5) / PATH_STEPS:
        total += explainer.pixel_gradient((share * images).astype(np.float32))
    return np.asarray(images * total / PATH_STEPS, np.float32)


def occlusion(explainer: Explainer, images: Images, seed: int) -> Floats:
    """Map the mean loss of the logit over the patches that hide a pixel. Zeiler & Fergus, ECCV 2014.

    A patch has the mean grey of its image.
    """
    return _scale(np.stack([_occlusion(explainer, image) for image in images]))


def _occlusion(explainer: Explainer, image: Images) -> Floats:
    """Return the map (h, w) of one image (h, w, 1)."""
    patches = _patches(*image.shape[:2])
    hidden = np.repeat(image[np.newaxis], len(patches), axis=0)
    for copy, patch in zip(hidden, patches, strict=True):
        copy[patch] = image.mean()
    logit = explainer.logits(image[np.newaxis])
    lost = logit - explainer.logits(hidden)
    lost[np.abs(lost) < ROUNDING * np.maximum(1, np.abs(logit))] = 0
    total, times = np.zeros(image.shape[:2], np.float32), np.zeros(image.shape[:2], np.float32)
    for patch, loss in zip(patches, lost, strict=True):
        total[patch] += loss
        times[patch] += 1
    return np.asarray(np.maximum(total / times, 0), np.float32)


def _patches(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return overlapping squares that cover an image; those at its far sides may be smaller."""
    side = max(2, round(min(height, width) / PATCHES_ACROSS))
    return [
        (slice(top, top + side), slice(left, left + side))
        for top in range(0, height, side // 2)
        for left in range(0, width, side // 2)
    ]


PERTURBING: dict[str, Method] = {
    "scorecam": score_cam,
    "smoothgrad": smoothgrad,
    "integrated_gradients": integrated_gradients,
    "occlusion": occlusion,
}
METHODS = (*CAMS, *PERTURBING)


def _enlarge(coarse: Floats, visible_px: tuple[int, int], shape: tuple[int, ...]) -> Floats:
    """Enlarge a map (rows, columns) to the visible centre of the image, with 0 around it."""
    large = np.zeros(shape, np.float32)
    top, left = (shape[0] - visible_px[0]) // 2, (shape[1] - visible_px[1]) // 2
    centre = cv2.resize(coarse, (visible_px[1], visible_px[0]), interpolation=cv2.INTER_LINEAR)
    large[top : top + visible_px[0], left : left + visible_px[1]] = centre
    return large


def _scale(maps: Floats) -> Floats:
    """Return maps (n, h, w) >= 0, each divided by its maximum; an empty map stays empty."""
    peak = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(maps, peak, out=np.zeros_like(maps), where=peak > 0), np.float32)


def map_batches(
    explainer: Explainer, samples: Samples, methods: Sequence[str], seed: int
) -> Iterator[tuple[npt.NDArray[np.int64], dict[str, Floats]]]:
    """Yield positions of a batch of samples, and its maps (n, h, w) by method; every sample once, in their order."""
    for start in range(0, len(samples.index), BATCH):
        positions = np.arange(start, min(start + BATCH, len(samples.index)))
        yield positions, explainer.maps_by_method(samples.pixels(positions), methods, seed)
