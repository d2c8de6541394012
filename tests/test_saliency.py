"""Grad-CAM against a plain reference, for every architecture, and on models whose cue is known."""

from pathlib import Path

import cv2
import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from mammo import models, registry, saliency
from tests import arrays

NAMES = registry.names(models)
ROOT = Path(__file__).resolve().parents[1]

Floats = npt.NDArray[np.float32]


def pixels(labels: list[int], seed: int = 0) -> npt.NDArray[np.uint8]:
    return arrays.images(np.array(labels), seed)[0][..., np.newaxis]


def reference(model: keras.Model, image: npt.NDArray[np.uint8]) -> Floats:
    """Grad-CAM of one image (h, w, 1) by the paper's formula, with one tape through the whole model."""
    outputs = [model.get_layer(name).output for name in ("features", "logit")]
    with tf.GradientTape() as tape:
        features, logit = keras.Model(model.inputs, outputs)(image[np.newaxis].astype(np.float32), training=False)
    alpha = tf.reduce_mean(tape.gradient(logit, features), axis=(0, 1, 2))
    found = tf.nn.relu(tf.reduce_sum(alpha * features[0], axis=-1)).numpy()
    large = cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return large / large.max() if large.max() > 0 else large


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> keras.Model:
    return models.build(request.param, arrays.own(request.param), arrays.SHAPE, seed=1)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the reference is a tape of TensorFlow")
def test_maps_agree_with_one_tape_through_the_whole_model(model):
    images = pixels([1, 0, 1])
    maps = saliency.gradcam(model, images)
    assert maps.shape == (3, arrays.SIZE_PX, arrays.SIZE_PX)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, [reference(model, image) for image in images], atol=1e-5)


def test_maps_are_scaled_by_their_own_maximum(model):
    maps = saliency.gradcam(model, pixels([1, 0, 1]))
    assert maps.min() >= 0
    assert set(maps.max(axis=(1, 2))) <= {0.0, 1.0}


def brightness_model(sign: float) -> keras.Model:
    """Malignant where it is bright (sign 1) or dark (-1): features (8, 8, 1) are the mean brightness."""
    image = keras.Input(arrays.SHAPE, name="image")
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.AveragePooling2D(4)(x)
    x = keras.layers.Identity(name="features")(keras.layers.ReLU(threshold=0.4)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    logit = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(sign), name="logit")(x)
    return keras.Model(image, keras.layers.Activation("sigmoid")(logit))


@pytest.mark.parametrize("reloaded", [False, True])
def test_a_model_with_a_planted_cue_points_at_it(reloaded, tmp_path):
    model = brightness_model(sign=1)
    if reloaded:
        models.save(model, tmp_path / "cue.keras")
        model = models.load(tmp_path / "cue.keras")
    images, masks = arrays.images(np.ones(6, np.int64))
    maps = saliency.gradcam(model, images[..., np.newaxis])
    inside = [heat[mask].mean() for heat, mask in zip(maps, masks, strict=True)]
    outside = [heat[~mask].mean() for heat, mask in zip(maps, masks, strict=True)]
    assert min(inside) > 5 * max(outside)
    peaks = [np.unravel_index(heat.argmax(), heat.shape) for heat in maps]
    assert all(mask[peak] for mask, peak in zip(masks, peaks, strict=True))


def test_what_speaks_against_malignancy_is_not_shown():
    np.testing.assert_array_equal(saliency.gradcam(brightness_model(sign=-1), pixels([1, 1])), 0)


def test_an_image_without_a_cue_has_an_empty_map():
    np.testing.assert_array_equal(saliency.gradcam(brightness_model(sign=1), np.zeros((2, *arrays.SHAPE), np.uint8)), 0)


def test_maps_are_the_same_after_save_and_load(tmp_path):
    model = models.build("light_cnn", arrays.LIGHT, arrays.SHAPE, seed=2)
    models.save(model, tmp_path / "light.keras")
    images = pixels([1, 0, 1])
    np.testing.assert_allclose(
        saliency.gradcam(models.load(tmp_path / "light.keras"), images), saliency.gradcam(model, images), atol=1e-5
    )


def test_a_map_does_not_depend_on_the_other_images():
    model = models.build("light_cnn", arrays.LIGHT, arrays.SHAPE, seed=2)
    images = pixels([1, 0, 1])
    together = saliency.gradcam(model, images)
    apart = np.concatenate([saliency.gradcam(model, image[np.newaxis]) for image in images])
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_a_map_has_the_shape_of_its_image():
    model = models.build("light_cnn", arrays.LIGHT, (32, 48, 1), seed=2)
    assert saliency.gradcam(model, np.zeros((1, 32, 48, 1), np.uint8)).shape == (1, 32, 48)


@pytest.mark.parametrize("crops", [[0.5], [1.0, 0.5]])
def test_a_map_lies_where_its_crop_lies(crops):
    model = models.build("light_cnn", arrays.light(crops=crops, input_px=32), (64, 64, 1), seed=0)
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 1)).astype(np.uint8)
    model.get_layer("logit").set_weights([np.ones((128 * len(crops), 1)), np.zeros(1)])
    maps = saliency.gradcam(model, images)
    assert maps.shape == (4, 64, 64)
    outside = maps.copy()
    outside[:, 16:48, 16:48] = 0
    assert (outside.max() == 0) == (crops[0] == 0.5)
    assert maps.max() == 1
