"""The model that stands for several gives the mean of their probabilities, saved and loaded, and has its own maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from mammo import models
from mammo.core.errors import InputError
from mammo.explain.saliency import Explainer
from mammo.models import averaging
from tests import arrays

pytestmark = pytest.mark.usefixtures("shallow_light_cnn")
IMAGES = np.random.default_rng(0).integers(0, 255, (4, *arrays.SHAPE)).astype(np.uint8)


def members(share_base: bool, **changes: Any) -> list[keras.Model]:
    """Return three models of other weights; share_base: other weights of the logit alone, as on a frozen base."""
    config = arrays.light(**changes)
    built = [models.build(config, arrays.SHAPE, seed=0 if share_base else number) for number in range(3)]
    for number, model in enumerate(built):
        kernel, bias = model.get_layer("logit").get_weights()
        model.get_layer("logit").set_weights([kernel * (1 + number), bias + number])
    return built


def predict(model: keras.Model) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(IMAGES.astype(np.float32), training=False))


def mean_prob(built: Sequence[keras.Model]) -> np.ndarray:
    return np.mean([predict(model) for model in built], axis=0)


@pytest.mark.parametrize("share_base", [False, True], ids=["own bases", "one base"])
@pytest.mark.parametrize("crops", [[1.0], [1.0, 0.5]], ids=["one crop", "two crops"])
def test_its_probability_is_the_mean_also_after_loading(share_base: bool, crops: list[float], tmp_path: Path) -> None:
    built = members(share_base, crops=crops)
    average = averaging.average_members(built)
    np.testing.assert_allclose(predict(average), mean_prob(built), atol=1e-6)
    models.save(average, tmp_path / "average.keras")
    loaded = models.load(tmp_path / "average.keras")
    np.testing.assert_allclose(predict(loaded), mean_prob(built), atol=1e-6)
    odds = keras.Model(loaded.inputs, loaded.get_layer("logit").output)(IMAGES.astype(np.float32), training=False)
    np.testing.assert_allclose(1 / (1 + np.exp(-keras.ops.convert_to_numpy(odds))), mean_prob(built), atol=1e-6)


def test_equal_bases_are_there_once() -> None:
    built = members(share_base=True)
    head = keras.Model(built[0].get_layer("pool").output, built[0].output)
    assert averaging.average_members(built).count_params() == built[0].count_params() + 2 * head.count_params()


def test_its_map_is_that_of_the_members_together() -> None:
    """Of two members that are the same but for the last digit of a base, which therefore is there twice."""
    one, twin = (models.build(arrays.light(), arrays.SHAPE, seed=1) for _ in range(2))
    first, *others = twin.get_weights()
    twin.set_weights([first * (1 + 1e-6), *others])
    average = averaging.average_members([one, twin])
    assert average.get_layer("features").output.shape[-1] == 2 * one.get_layer("features").output.shape[-1]
    for method in ("gradcam", "layercam"):
        np.testing.assert_allclose(
            Explainer(average).maps(IMAGES, method), Explainer(one).maps(IMAGES, method), atol=1e-3
        )


def test_members_of_other_inputs_are_refused() -> None:
    large = models.build(arrays.light(), (64, 64, 1), seed=0)
    with pytest.raises(InputError, match="members take inputs of 2 shapes"):
        averaging.average_members([members(share_base=False)[0], large])
