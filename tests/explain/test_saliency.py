"""Saliency maps against a plain reference, for every architecture, and on models whose cue is known."""

from functools import cache
from pathlib import Path

import cv2
import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from mammo import models
from mammo.core import plugins
from mammo.core.errors import InputError
from mammo.explain import saliency
from mammo.explain.saliency import CAMS, METHODS, Explainer
from tests import arrays

NAMES = plugins.plugin_names("mammo.models.architectures")
ROOT = Path(__file__).resolve().parents[2]
CELL_PX = 4
# The others show evidence of either sign, or (occlusion) put a grey that is itself evidence beside what they hide.
SIGNED = [name for name in METHODS if name not in {"smoothgrad", "scorecam", "occlusion"}]

Floats = npt.NDArray[np.float32]


def pixels(labels: list[int], seed: int = 0) -> npt.NDArray[np.uint8]:
    return arrays.images(np.array(labels), seed)[0][..., np.newaxis]


def maps(model: keras.Model, images: npt.NDArray[np.uint8], method: str = "gradcam") -> Floats:
    return Explainer(model).maps(images, method)


def plain_map(method: str, features: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """The papers' formulas of one image, features and gradient (rows, columns, channels)."""
    if method == "gradcam":
        evidence = tf.reduce_mean(gradient, axis=(0, 1)) * features
    elif method == "gradcam_pp":
        total = tf.reduce_sum(tf.nn.relu(features), axis=(0, 1))
        alpha = tf.math.divide_no_nan(gradient**2, 2 * gradient**2 + total * gradient**3)
        evidence = tf.reduce_sum(alpha * tf.nn.relu(gradient), axis=(0, 1)) * features
    elif method == "hirescam":
        evidence = gradient * features
    else:
        evidence = tf.nn.relu(gradient) * features
    return tf.nn.relu(tf.reduce_sum(evidence, axis=-1))


def reference(model: keras.Model, image: npt.NDArray[np.uint8]) -> dict[str, Floats]:
    """Maps of one image (h, w, 1) by method, with one tape through the whole model."""
    outputs = [model.get_layer(name).output for name in ("features", "logit")]
    with tf.GradientTape() as tape:
        features, logit = keras.Model(model.inputs, outputs)(image[np.newaxis].astype(np.float32), training=False)
    exact = [tf.cast(found[0], tf.float64) for found in (features, tape.gradient(logit, features))]
    return {method: scaled(plain_map(method, *exact).numpy(), image.shape) for method in CAMS}


def scaled(found: Floats, shape: tuple[int, ...]) -> Floats:
    large = cv2.resize(found, shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return large / large.max() if large.max() > 0 else large


@pytest.fixture(scope="module", params=arrays.deep_ones_slow(NAMES))
def explainer(request: pytest.FixtureRequest) -> Explainer:
    config = arrays.cut(arrays.model_config(request.param, crops=[1.0], input_px=None))
    return Explainer(models.build(config, arrays.SHAPE, seed=1))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the reference is a tape of TensorFlow")
def test_cams_agree_with_one_tape_through_the_whole_model(explainer):
    images = pixels([1, 0])
    expected = [reference(explainer.model, image) for image in images]
    for method in CAMS:
        found = explainer.maps(images, method)
        assert found.shape == (2, arrays.SIZE_PX, arrays.SIZE_PX)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [one[method] for one in expected], atol=1e-5, err_msg=method)


def test_methods_asked_together_are_those_asked_alone(explainer, monkeypatch):
    monkeypatch.setattr(saliency, "NOISE_SAMPLES", 2)
    images, methods = pixels([1, 0]), ["layercam", "smoothgrad", "gradcam"]
    together = explainer.maps_by_method(images, methods, seed=3)
    assert list(together) == methods
    for method in methods:
        np.testing.assert_array_equal(together[method], explainer.maps(images, method, seed=3))


def test_maps_are_scaled_by_their_own_maximum(explainer):
    found = explainer.maps(pixels([1, 0, 1]), "gradcam")
    assert found.min() >= 0
    assert set(found.max(axis=(1, 2))) <= {0.0, 1.0}


def brightness_model(sign: float) -> keras.Model:
    """Malignant where it is bright (sign 1) or dark (-1): features (8, 8, 1) are the mean brightness."""
    image = keras.Input(arrays.SHAPE, name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.AveragePooling2D(CELL_PX)(x)
    x = keras.layers.Identity(name="features")(keras.layers.ReLU(threshold=0.4)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    logit = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(sign), name="logit")(x)
    return keras.Model(image, keras.layers.Activation("sigmoid")(logit))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_points_at_a_planted_cue(method):
    images, masks = arrays.images(np.ones(4, np.int64))
    found = cue_explainer(1).maps(images[..., np.newaxis], method)
    assert found.shape == masks.shape
    assert set(found.max(axis=(1, 2))) == {1.0}
    inside = [heat[mask].mean() for heat, mask in zip(found, masks, strict=True)]
    outside = [heat[~mask].mean() for heat, mask in zip(found, masks, strict=True)]
    assert min(inside) > 4 * max(outside)
    cell = np.ones((2 * CELL_PX - 1, 2 * CELL_PX - 1))
    near = [cv2.dilate(mask.astype(np.uint8), cell) for mask in masks]
    peaks = [np.unravel_index(heat.argmax(), heat.shape) for heat in found]
    assert all(mask[peak] for mask, peak in zip(near, peaks, strict=True))


def test_a_reloaded_model_points_at_its_cue_too(tmp_path):
    models.save(brightness_model(sign=1), tmp_path / "cue.keras")
    images = pixels([1, 1])
    np.testing.assert_array_equal(
        maps(models.load(tmp_path / "cue.keras"), images), cue_explainer(1).maps(images, "gradcam")
    )


@pytest.mark.parametrize("method", SIGNED)
def test_what_speaks_against_malignancy_is_not_shown(method):
    np.testing.assert_array_equal(cue_explainer(-1).maps(pixels([1, 1]), method), 0)


@pytest.mark.parametrize("method", METHODS)
def test_an_image_without_a_cue_has_an_empty_map(method):
    black = np.zeros((2, *arrays.SHAPE), np.uint8)
    np.testing.assert_array_equal(cue_explainer(1).maps(black, method), 0)


@cache
def cue_explainer(sign: float) -> Explainer:
    """The explainer of `brightness_model`, compiled once."""
    return Explainer(brightness_model(sign))


def light() -> keras.Model:
    """With the same weights on every backend: each draws its own."""
    model, rng = models.build(arrays.LIGHT, arrays.SHAPE, seed=2), np.random.default_rng(2)
    for weight in model.trainable_weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(0, np.sqrt(2 / np.prod(weight.shape[:-1])), weight.shape))
    return model


@cache
def light_explainer() -> Explainer:
    """The explainer of `light`, compiled once; leave its weights alone."""
    return Explainer(light(), batch=24)


def test_maps_are_the_same_after_save_and_load(tmp_path):
    model = light()
    models.save(model, tmp_path / "light.keras")
    images = pixels([1, 0, 1])
    np.testing.assert_allclose(maps(models.load(tmp_path / "light.keras"), images), maps(model, images), atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_does_not_depend_on_the_other_images(method):
    explainer = light_explainer()
    images = pixels([1, 0])
    together = explainer.maps(images, method)
    apart = np.concatenate([explainer.maps(image[np.newaxis], method) for image in images])
    np.testing.assert_allclose(together, apart, atol=1e-3)


def test_the_seed_alone_decides_what_is_random():
    explainer, images = light_explainer(), pixels([1])
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global one is what must stay untouched
    first, again, other = (explainer.maps(images, "smoothgrad", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_attributions_add_up_to_the_difference_from_a_black_image():
    explainer, images = light_explainer(), pixels([1, 0, 1]).astype(np.float32)
    total = saliency.attribute_pixels(explainer, images).sum(axis=(1, 2, 3))
    gained = explainer.logits(images) - explainer.logits(np.zeros_like(images))
    np.testing.assert_allclose(total, gained, atol=0.05 * np.abs(gained).max())


def test_an_explainer_follows_its_model_s_weights():
    model, images = light(), pixels([1, 0])
    explainer = Explainer(model)
    before = explainer.maps(images, "hirescam")
    kernel, bias = model.get_layer("logit").get_weights()
    model.get_layer("logit").set_weights([-kernel, bias])
    after = explainer.maps(images, "hirescam")
    assert np.abs(before - after).max() > 0.1
    np.testing.assert_allclose(after, Explainer(model).maps(images, "hirescam"), atol=1e-5)


def test_a_map_has_the_shape_of_its_image():
    model = models.build(arrays.LIGHT, (32, 48, 1), seed=2)
    for method in ("gradcam", "occlusion"):
        assert maps(model, np.zeros((1, 32, 48, 1), np.uint8), method).shape == (1, 32, 48)


@cache
def crop_explainer(crops: tuple[float, ...]) -> Explainer:
    """The explainer of a model of some crops, compiled once."""
    model = models.build(arrays.light(crops=list(crops), input_px=32), (64, 64, 1), seed=0)
    model.get_layer("logit").set_weights([np.ones((128 * len(crops), 1)), np.zeros(1)])
    return Explainer(model)


@pytest.mark.parametrize("method", ["gradcam", "scorecam", "smoothgrad", "integrated_gradients"])
@pytest.mark.parametrize("crops", [(0.5,), (1.0, 0.5)])
def test_a_map_lies_where_its_crop_lies(crops, method):
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1)).astype(np.uint8)
    found = crop_explainer(crops).maps(images, method)
    assert found.shape == (2, 64, 64)
    outside = found.copy()
    outside[:, 16:48, 16:48] = 0
    assert (outside.max() == 0) == (crops[0] == 0.5)
    assert found.max() == 1


def test_an_unknown_method_lists_the_others():
    with pytest.raises(InputError, match=r"'gradcam\+\+'.*gradcam_pp, hirescam"):
        cue_explainer(1).maps(pixels([1]), "gradcam++")


def test_images_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"\(1, 16, 16, 1\).*\(n, 32, 32, 1\).*size_px"):
        cue_explainer(1).maps(np.zeros((1, 16, 16, 1), np.uint8), "gradcam")


@pytest.mark.parametrize("name", ["features", "logit"])
def test_a_model_without_a_needed_layer_is_refused(name):
    given = brightness_model(sign=1)
    lacking = keras.models.clone_model(
        given, clone_function=lambda layer: layer.__class__.from_config(_renamed(layer, name))
    )
    with pytest.raises(InputError, match=rf"no layer named '{name}'.*`features`"):
        Explainer(lacking)


def _renamed(layer: keras.layers.Layer, name: str) -> dict[str, object]:
    return layer.get_config() | {"name": "other" if layer.name == name else layer.name}


def test_a_backend_without_gradients_is_refused_with_those_that_have_them(monkeypatch):
    model = brightness_model(sign=1)
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(InputError, match=r"'openvino'.*KERAS_BACKEND to one of tensorflow, jax, torch"):
        saliency.Explainer(model)
