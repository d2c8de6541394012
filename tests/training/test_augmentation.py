"""Each change is in training alone, seeded, within the range of pixels, and does what its name says."""

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.core.config import AugmentationConfig, load_config
from mammo.training import augmentation, augmentation_examples
from tests import arrays
from tests.examples import examples

Floats = npt.NDArray[np.float32]
NOTHING = AugmentationConfig(
    flip=False,
    rotation_degrees=0,
    shear_degrees=0,
    zoom=0,
    translation=0,
    gamma=0,
    contrast=0,
    blur=0,
    noise=0,
    artifacts=0,
)
ALONE: dict[str, float] = {
    "flip": True,
    "rotation_degrees": 20,
    "shear_degrees": 15,
    "zoom": 0.2,
    "translation": 0.2,
    "gamma": 0.5,
    "contrast": 0.3,
    "blur": 0.5,
    "noise": 0.05,
    "artifacts": 1.0,
}
EVERYTHING = NOTHING.model_copy(update=ALONE | {"blur": 0.3, "artifacts": 0.3})


def raw(count: int = 12) -> Floats:
    return arrays.images(np.arange(count) % 2)[0][..., np.newaxis].astype(np.float32)


def changed(
    params: AugmentationConfig,
    images: Floats | None = None,
    strength: float = 1.0,
    seed: int = 0,
    training: bool = True,
) -> Floats:
    x = raw() if images is None else images
    for layer in augmentation.build_layers(params, strength, seed):
        x = layer(x, training=training)
    return np.asarray(keras.ops.convert_to_numpy(x))


def alone(name: str, **keywords: object) -> Floats:
    return changed(NOTHING.model_copy(update={name: ALONE[name]}), **keywords)  # type: ignore[arg-type]


def test_every_change_of_params_is_tried_here():
    assert set(ALONE) == set(AugmentationConfig.model_fields)


@pytest.mark.parametrize("name", ALONE)
def test_a_change_alone_changes_images_within_shape_and_range(name):
    images_after = alone(name)
    assert images_after.shape == raw().shape
    assert np.isfinite(images_after).all()
    assert (images_after >= 0).all()
    assert (images_after <= 255.001).all()
    assert (np.abs(images_after - raw()).max(axis=(1, 2, 3)) > 1).any()


@pytest.mark.parametrize("name", ALONE)
def test_a_change_depends_on_its_seed_and_differs_between_images(name):
    np.testing.assert_array_equal(alone(name, seed=1), alone(name, seed=1))
    same = np.repeat(raw(1), 12, axis=0)
    images_after = alone(name, images=same, seed=1)
    assert (images_after != alone(name, images=same, seed=2)).any()
    assert any((images_after[0] != other).any() for other in images_after[1:])


def test_inference_is_left_alone():
    np.testing.assert_allclose(changed(EVERYTHING, training=False), raw(), atol=1e-3)


def test_nothing_and_strength_zero_are_no_layer():
    assert augmentation.build_layers(NOTHING, 1.0, seed=0) == []
    assert augmentation.build_layers(EVERYTHING, 0.0, seed=0) == []


@examples(15)
@given(strength=st.floats(0.1, 2), seed=st.integers(0, 2**31 - 100))
def test_all_changes_together_stay_in_the_range(strength, seed):
    images_after = changed(EVERYTHING, strength=strength, seed=seed)
    assert np.isfinite(images_after).all()
    assert images_after.min() >= 0
    assert images_after.max() <= 255


def test_flips_keep_the_pixels_of_each_image():
    np.testing.assert_allclose(
        np.sort(alone("flip").reshape(12, -1), axis=1), np.sort(raw().reshape(12, -1), axis=1), atol=1e-2
    )


def test_gamma_is_a_power_within_its_bounds():
    grey = np.full((200, 4, 4, 1), 255 * 0.5, np.float32)
    power = np.log(alone("gamma", images=grey)[:, 0, 0, 0] / 255) / np.log(0.5)
    assert power.min() >= 1 / 1.5 - 1e-3
    assert power.max() <= 1.5 + 1e-3
    assert power.min() < 0.8 < 1.2 < power.max()


def test_blur_lowers_the_contrast_of_neighbours_and_keeps_the_mean():
    images_after = changed(NOTHING.model_copy(update={"blur": 1.0}))
    assert np.abs(np.diff(images_after, axis=1)).mean() < 0.7 * np.abs(np.diff(raw(), axis=1)).mean()
    np.testing.assert_allclose(images_after[:, 4:-4, 4:-4].mean(), raw()[:, 4:-4, 4:-4].mean(), rtol=0.03)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_artifacts_hit_their_share_of_images_and_little_of_each(share):
    images = np.full((400, 32, 32, 1), 100, np.float32)
    images_after = changed(NOTHING.model_copy(update={"artifacts": share}), images=images)
    touched = np.abs(images_after - images) > 1
    assert touched.any(axis=(1, 2, 3)).mean() == pytest.approx(share, abs=0.07)
    assert touched.mean(axis=(1, 2, 3)).max() < 0.3


def test_artifacts_are_of_four_kinds():
    images = np.full((400, 32, 32, 1), 100, np.float32)
    images_after = alone("artifacts", images=images).round()
    values = {round(float(value)) for image in images_after for value in np.unique(image)}
    assert values == {100, round(0.95 * 255), round(65 + 0.3 * 255), 0, 255, round(40 + 0.55 * 255)}


def test_layers_work_inside_a_compiled_model():
    image = keras.Input(arrays.SHAPE)
    x = image
    for layer in augmentation.build_layers(EVERYTHING, 1.0, seed=0):
        x = layer(x)
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
    model.compile("sgd", "mse")
    for count in (4, 7):
        assert np.isfinite(model.train_on_batch(raw(count) / 255, np.zeros((count, 1))))


def test_random_layers_show_their_generator_so_that_training_can_reseed_them():
    chain = augmentation.build_layers(EVERYTHING, 1.0, seed=0)
    generators = [getattr(layer, "seed_generator", None) or getattr(layer, "generator", None) for layer in chain]
    assert len([generator for generator in generators if generator is not None]) == len(ALONE)


def test_examples_force_each_change_to_its_limits_and_name_the_value():
    default = load_config(Path(__file__).resolve().parents[2] / "params.yaml").train.augmentation
    images = raw(3)[..., 0].astype(np.uint8)
    images[1] = images[0]  # at a limit nothing is drawn: equal images stay equal
    versions = augmentation_examples.show_changes(default, 1.0, images, seed=1)
    limited = [
        *("flip, left to right", "flip, top to bottom"),
        *("rotation, +10 degrees", "zoom, out 10%", "shift, 5% down and right"),
        *("rotation, -10 degrees", "zoom, in 10%", "shift, 5% up and left"),
        *("contrast, times 1.15", "contrast, times 0.85"),
    ]
    assert list(versions) == ["original", *limited, "noise, SD 0.02", "all, at random"]
    assert all(version.shape == images.shape and version.dtype == np.uint8 for version in versions.values())
    np.testing.assert_array_equal(versions["original"], images)
    for name in limited:
        np.testing.assert_array_equal(versions[name][0], versions[name][1])
        assert not np.array_equal(versions[name], images), name
    np.testing.assert_array_equal(versions["flip, left to right"], images[:, :, ::-1])
    spread = {name: float(versions[name][0].std()) for name in ("contrast, times 1.15", "contrast, times 0.85")}
    assert spread["contrast, times 0.85"] < images[0].std() < spread["contrast, times 1.15"]


def test_examples_scale_with_the_strength_and_show_what_only_some_images_get():
    images = raw(2)[..., 0].astype(np.uint8)
    everything = NOTHING.model_copy(update=ALONE)
    versions = augmentation_examples.show_changes(everything, 0.5, images, seed=1)
    assert {"rotation, +10 degrees", "gamma, 1.25", "gamma, 0.80", "blur", "artifact"} <= set(versions)
    assert all((versions[name] != images).any(axis=(1, 2)).all() for name in ("blur", "artifact"))
    assert list(augmentation_examples.show_changes(everything, 0.0, images, seed=1)) == ["original", "all, at random"]
