"""Sanity checks: a method that ignores the model fails, one that follows a planted cue passes."""

from functools import cache

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from mammo import models
from mammo.explain import saliency, sanity_checks
from mammo.explain import verdicts as rules
from mammo.explain.saliency import Explainer
from mammo.metrics.clustered_means import clustered_means
from mammo.metrics.resampling import Resampling
from tests import arrays

MAP = of_numpy.arrays(np.float32, (12, 12), elements=st.floats(0, 1, width=16))


def edges(explainer: Explainer, images: saliency.Images, seed: int) -> saliency.Floats:
    """What Adebayo et al. warn of: it looks like an explanation and never asks the model."""
    steps = np.abs(np.diff(images[..., 0], axis=1, append=0))
    return steps / steps.max(axis=(1, 2), keepdims=True)


@pytest.fixture
def with_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(saliency.PERTURBING, "edges", edges)


def bright_model() -> keras.Model:
    """Malignant where the image is brighter than noise is."""
    image = keras.Input(arrays.SHAPE, name="image")
    x = keras.layers.AveragePooling2D(4)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Identity(name="features")(keras.layers.ReLU(threshold=0.4)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    kernel = keras.initializers.Constant(40.0)
    x = keras.layers.Dense(
        1, kernel_initializer=kernel, bias_initializer=keras.initializers.Constant(-2), name="logit"
    )(x)
    return keras.Model(image, keras.layers.Activation("sigmoid")(x))


def images() -> saliency.Images:
    return arrays.images(np.ones(3, np.int64))[0][..., np.newaxis]


def checked(model: keras.Model, method: str) -> sanity_checks.MethodChecks:
    return sanity_checks.check_method(
        Explainer(model), sanity_checks.PatientImages(images(), ["a", "b", "b"]), method, 0, Resampling(100, seed=0)
    )


@cache
def bright_checks() -> sanity_checks.MethodChecks:
    """The checks of a method that follows the cue, run once."""
    return checked(bright_model(), "hirescam")


def verdicts(found: sanity_checks.MethodChecks) -> dict[str, str]:
    return found.verdicts.set_index("check")["verdict"].to_dict()


def test_a_method_that_ignores_the_model_fails_the_cascade(with_edges):
    model = models.build(arrays.LIGHT, arrays.SHAPE, seed=1)
    found = checked(model, "edges")
    np.testing.assert_allclose(found.cascade[["rank_correlation", "ssim"]], 1, atol=1e-6)
    assert verdicts(found)[rules.CASCADE] == rules.FAILED


def test_the_cascade_reaches_every_layer_and_leaves_the_model_alone():
    model = models.build(arrays.LIGHT, arrays.SHAPE, seed=1)
    before = model.get_weights()
    found = sanity_checks.average_by_layer(sanity_checks.randomize_cascade(model, images(), "smoothgrad", seed=0))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    weighted = [layer.name for layer in model.layers if layer.weights]
    assert len(found) == sanity_checks.CUTS
    assert (found["layer"].iloc[0], found["layers"].iloc[0]) == ("logit", 1)
    assert (found["layer"].iloc[-1], found["layers"].iloc[-1]) == (weighted[0], len(weighted))
    assert found["rank_correlation"].iloc[-1] < 0.9
    again = sanity_checks.average_by_layer(sanity_checks.randomize_cascade(model, images(), "smoothgrad", seed=0))
    pd.testing.assert_frame_equal(found, again, atol=1e-4)


def gain(explainer: Explainer, maps: saliency.Floats) -> float:
    areas = sanity_checks.measure_insertion_deletion(explainer, images(), maps)
    return float((areas["insertion"] - areas["deletion"]).mean())


def test_a_map_of_the_cue_moves_the_probability():
    explainer = Explainer(bright_model())
    assert gain(explainer, explainer.maps(images(), "hirescam")) > 0.1


@pytest.mark.parametrize("seed", range(3))
def test_reversing_a_map_swaps_insertion_and_deletion(seed):
    maps = np.random.default_rng(seed).permuted(np.tile(np.linspace(0, 1, 1024), (3, 1)), axis=1).reshape(3, 32, 32)
    explainer = Explainer(bright_model())
    assert gain(explainer, 1 - maps) == pytest.approx(-gain(explainer, maps), abs=1e-5)


def test_the_perturbation_rule_marks_a_map_that_avoids_the_cue(monkeypatch):
    monkeypatch.setitem(
        saliency.PERTURBING, "avoid", lambda explainer, images, seed: 1 - explainer.maps(images, "hirescam")
    )
    assert verdicts(bright_checks())[rules.PERTURBATION] == rules.PASSED
    assert verdicts(checked(bright_model(), "avoid"))[rules.PERTURBATION] == rules.FAILED


def test_verdicts_have_limits_over_patients():
    found = bright_checks()
    gain = found.verdicts.set_index("check").loc[rules.PERTURBATION]
    areas = found.perturbation["insertion"] - found.perturbation["deletion"]
    assert gain["value"] == pytest.approx(areas.mean())
    # Two patients, of one and of two images: the resamples are either alone, or both.
    of_patients = [areas[0], areas[1:].mean()]
    assert [gain["low"], gain["high"]] == pytest.approx([min(of_patients), max(of_patients)])
    assert (gain["n"], gain["n_patients"]) == (3, 2)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_an_even_map_has_no_order_and_passes_nothing(monkeypatch, level):
    monkeypatch.setitem(
        saliency.PERTURBING, "even", lambda explainer, images, seed: np.full(images.shape[:3], level, np.float32)
    )
    found = checked(bright_model(), "even")
    assert found.perturbation.isna().all(axis=None)
    assert verdicts(found)[rules.PERTURBATION] == rules.UNDECIDED


@pytest.mark.parametrize("seed", range(2))
def test_an_untrained_network_does_not_pass(seed):
    found = checked(models.build(arrays.LIGHT, arrays.SHAPE, seed=seed), "gradcam")
    assert verdicts(found)[rules.PERTURBATION] != rules.PASSED


def test_an_image_that_the_model_does_not_see_has_flat_curves():
    explainer = Explainer(bright_model())
    ramp = np.linspace(0, 1, arrays.SHAPE[0] * arrays.SHAPE[1]).reshape(1, *arrays.SHAPE[:2])
    areas = sanity_checks.measure_insertion_deletion(explainer, np.zeros((1, *arrays.SHAPE)), ramp)
    np.testing.assert_allclose(areas, 1 / (1 + np.exp(2)), atol=1e-6)  # the bias alone


@given(MAP, MAP)
def test_likeness_is_symmetric_and_one_of_a_map_with_itself(a, b):
    assume(np.ptp(a) and np.ptp(b))
    for measure in (sanity_checks.rank_correlation, sanity_checks.ssim):
        assert measure(a, b) == pytest.approx(measure(b, a), abs=1e-6)
        assert measure(a, b) <= 1 + 1e-6
        assert measure(a, a) == pytest.approx(1, abs=1e-6)


def test_without_a_map_to_tell_by_the_cascade_is_undecided(monkeypatch):
    def none(explainer: Explainer, images: saliency.Images, seed: int) -> saliency.Floats:
        return np.zeros(images.shape[:3], np.float32)

    monkeypatch.setitem(saliency.PERTURBING, "none", none)
    found = checked(bright_model(), "none")
    assert (found.cascade["compared"] == 0).all()
    assert verdicts(found)[rules.CASCADE] == rules.UNDECIDED


@pytest.mark.parametrize("method", saliency.CAMS)
@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_logit_that_speaks_against_malignancy_everywhere_leaves_a_map_too(method, seed):
    found = sanity_checks.randomize_cascade(bright_model(), images(), method, seed)
    assert found["rank_correlation"].notna().all()
    np.testing.assert_allclose(found["rank_correlation"], 1, atol=1e-6)  # one channel, whatever its weight's size


def test_the_reversed_logit_is_put_back():
    model = bright_model()
    model.get_layer("logit").set_weights([np.full((1, 1), -1.0), np.zeros(1)])
    explainer = Explainer(model)
    assert not explainer.maps(images(), "gradcam", 0).any()
    maps = sanity_checks._map_random_logit(explainer, images(), "gradcam", 0)
    np.testing.assert_allclose(maps, Explainer(bright_model()).maps(images(), "gradcam"), atol=1e-6)
    assert not explainer.maps(images(), "gradcam", 0).any()


def of_values(values: list[float], patients: str, must: str, limit: float) -> str:
    found = clustered_means(values, list(patients), Resampling(400, seed=0))
    return str(rules.judge_check("any", found, must, limit)["verdict"])


@pytest.mark.parametrize(
    ("values", "patients", "limit", "below"),
    [
        ([0.1, 0.2, 0.3, 0.2], "abcd", 0.5, rules.PASSED),
        (
            [0.1, 0.2, 0.3, 0.9],
            "abcd",
            0.5,
            rules.UNDECIDED,
        ),  # the mean is below, a resample of the last is not
        ([0.7, 0.8, 0.9, 0.8], "abcd", 0.5, rules.FAILED),
        ([0.1, 0.9, 0.1, 0.9], "aabb", 0.5, rules.UNDECIDED),  # patients agree, on the limit itself
        ([0.2, 0.2, 0.2, 0.2], "aabb", 0.5, rules.PASSED),  # they agree, and have no interval
        ([0.1, 0.2, 0.1, 0.2], "aaaa", 0.5, rules.UNDECIDED),  # one patient
        ([np.nan, np.nan], "ab", 0.5, rules.UNDECIDED),
    ],
)
def test_a_check_is_decided_by_its_whole_interval(values, patients, limit, below):
    assert of_values(values, patients, rules.BELOW, limit) == below
    other_way = {rules.PASSED: rules.FAILED, rules.FAILED: rules.PASSED}
    assert of_values(values, patients, rules.ABOVE, limit) == other_way.get(below, below)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(-1, 1))
def test_a_verdict_does_not_depend_on_the_sign_of_what_is_measured(values, limit):
    patients = "abcdefgh"[: len(values)]
    turned = of_values([-value for value in values], patients, rules.ABOVE, -limit)
    assert of_values(values, patients, rules.BELOW, limit) == turned


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=30))
def test_the_other_sample_is_of_another_patient_while_none_has_more_than_half(patients):
    found = sanity_checks._pair_patients(np.array(patients, object))
    assert sorted(found) == list(range(len(patients)))
    if max(patients.count(one) for one in patients) <= len(patients) // 2:
        assert all(patients[at] != patients[other] for at, other in enumerate(found))


def checked_images(maps: saliency.Floats) -> dict[str, object]:
    patients = [f"P{number // 2}" for number in range(len(maps))]
    return sanity_checks.check_images(maps, patients, Resampling(100, seed=0))


def test_a_pattern_that_every_map_has_fails_and_maps_of_their_own_image_pass():
    rng = np.random.default_rng(0)
    own = rng.random((12, 16, 16)).astype(np.float32)
    corner = np.maximum.outer(np.arange(16), np.arange(16)).astype(np.float32) / 16
    assert checked_images(own)["verdict"] == rules.PASSED
    pattern = checked_images(corner + 0.1 * own)
    assert (pattern["verdict"], pattern["n"], pattern["n_patients"]) == (rules.FAILED, 12, 6)
