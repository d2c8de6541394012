"""A frozen base sees each image once, whichever folds, flips and trainings ask for its vector."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from mammo import models
from mammo.core.config import TrainingConfig
from mammo.data.samples import Samples
from mammo.training import feature_cache, folds, predict, split_predictions
from mammo.training.backend import use_deterministic_kernels
from mammo.training.feature_cache import AugmentedFeatures, FrozenBase
from mammo.training.health import TrainingError
from mammo.training.result import TrainingData
from tests import arrays

pytestmark = pytest.mark.usefixtures("shallow_light_cnn")
FOLDS, COPIES = 3, 2
FROZEN = arrays.light(trainable=[])


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> None:
    use_deterministic_kernels()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))


@pytest.fixture(scope="module")
def samples() -> Samples:
    index = arrays.index(patients=25)
    return Samples(index, arrays.images(index["label"].to_numpy())[0])


@pytest.fixture
def computed(monkeypatch) -> list[int]:
    """The number of rows of each batch that a base computes, as it grows."""
    counts: list[int] = []
    whole = FrozenBase._run

    def counted(base, images):
        counts.append(len(images))
        return whole(base, images)

    monkeypatch.setattr(FrozenBase, "_run", counted)
    return counts


def frozen() -> keras.Model:
    """light_cnn, of which the head alone learns."""
    model = models.build(arrays.LIGHT, arrays.SHAPE, 5)
    for layer in feature_cache.base_layers(model):
        layer.trainable = False
    return model


def parameters(**changes: object) -> TrainingConfig:
    return arrays.training(FROZEN, feature_copies=COPIES, **changes)


def fold_data(samples: Samples, fold: int) -> TrainingData:
    return TrainingData.without_test(folds.fold_samples(samples, fold, 0.25, 5))


def test_folds_share_the_augmented_vectors_of_every_row(samples, computed):
    model, trained = frozen(), {}
    for fold in range(FOLDS):
        data, config = fold_data(samples, fold), replace(parameters(), seed=5 + fold)
        features = AugmentedFeatures(FrozenBase(model), data, config)
        trained[fold] = [dict(zip(data.train.index.index, features(copy)[:], strict=True)) for copy in range(COPIES)]
    assert sum(computed) == COPIES * len(set().union(*(versions[0] for versions in trained.values())))
    for copy in range(COPIES):
        for row in set(trained[0][copy]) & set(trained[1][copy]):
            np.testing.assert_array_equal(trained[0][copy][row], trained[1][copy][row])
    first, second = (np.stack(list(trained[0][copy].values())) for copy in range(COPIES))
    assert np.abs(first - second).max() > 1e-3


def test_a_vector_does_not_depend_on_what_was_cached_before(samples, tmp_path, monkeypatch):
    def vectors(earlier_folds: list[int]) -> bytes:
        monkeypatch.setenv("DVC_ROOT", str(tmp_path / f"after{len(earlier_folds)}"))
        base = FrozenBase(frozen())
        parts = [AugmentedFeatures(base, fold_data(samples, fold), parameters())(0)[:] for fold in [*earlier_folds, 0]]
        return parts[-1].tobytes()

    assert vectors([]) == vectors([2, 1])


def test_another_seed_of_the_base_draws_other_copies_and_another_fold_does_not(samples):
    features = [
        AugmentedFeatures(FrozenBase(frozen()), fold_data(samples, 0), config)(0)[:]
        for config in (parameters(), replace(parameters(), seed=9), parameters().reseed(9))
    ]
    np.testing.assert_array_equal(features[0], features[1])
    assert np.abs(features[0] - features[2]).max() > 1e-3


def test_a_version_is_what_the_random_layers_make_of_the_images(samples):
    """Without a cache: the layers, seeded anew for each batch of all rows, and the base on all rows at once."""
    model, data, config = frozen(), fold_data(samples, 0), parameters()
    features = AugmentedFeatures(FrozenBase(model), data, config)
    rows = len(data.all_rows.index)
    images = np.concatenate([features._augment(1, batch) for batch in range(-(-rows // feature_cache.BATCH))])
    whole = feature_cache.build_base(model).predict(images, verbose=0)
    train = (data.all_rows.index["split"] == "train").to_numpy()
    np.testing.assert_allclose(features(1)[:], whole[train], rtol=1e-4, atol=1e-5)


def test_cached_predictions_are_those_of_the_whole_model_and_cost_another_head_nothing(samples, computed):
    first, other = frozen(), frozen()
    other.get_layer("logit").set_weights([-weights for weights in other.get_layer("logit").get_weights()])
    reported = samples.take("test")
    np.testing.assert_allclose(
        split_predictions.predict_cached(first, reported, True),
        predict.predict_probabilities(first, reported, True),
        atol=1e-6,
    )
    assert sum(computed) == len(predict.FLIPS) * len(reported.index)
    computed.clear()
    split_predictions.predict_cached(other, reported, True)
    assert not computed


def test_an_unmirrored_image_is_computed_once_for_monitoring_and_for_predictions(samples, computed):
    model = frozen()
    FrozenBase(model).extract(samples.take("val"))
    split_predictions.predict_cached(model, samples.take("val"), flips=False)
    assert sum(computed) == len(samples.take("val").index)


def test_a_base_that_learns_is_not_cached(samples, tmp_path):
    model = models.build(arrays.light(), arrays.SHAPE, 5)
    split_predictions.predict_cached(model, samples.take("val"), flips=False)
    assert not list(tmp_path.rglob("*.bin"))


def test_what_may_learn_changes_no_vector(samples, computed):
    """The head's start and the head's phase of a base that learns later see one base."""
    learning = models.build(arrays.light(), arrays.SHAPE, 5)
    FrozenBase(learning).extract(samples.take("val"))
    count = sum(computed)
    FrozenBase(frozen()).extract(samples.take("val"))
    assert sum(computed) == count


def test_a_killed_computation_keeps_its_batches(samples, computed, tmp_path, monkeypatch):
    model, whole = frozen(), FrozenBase._run

    def killed(base, images):
        if computed:
            raise KeyboardInterrupt
        return whole(base, images)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FrozenBase, "_run", killed)
        FrozenBase(model).extract(samples)
    vectors = FrozenBase(model).extract(samples)[:]
    assert sum(computed) == len(samples.index)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "cold"))
    np.testing.assert_array_equal(FrozenBase(model).extract(samples)[:], vectors)


@pytest.mark.slow
def test_a_cross_validation_of_a_frozen_model_runs_its_base_once_an_image(samples, computed, tmp_path, monkeypatch):
    model, rows = frozen(), (samples.index["split"] != "test").sum()
    start = model.get_weights()
    monkeypatch.setattr(models, "build", lambda *words: model.set_weights(start) or model)
    logistic = FROZEN.model_copy(update={"optimizer": "logistic_regression"})

    def cross_validate(folder: Path) -> list[bytes]:
        predictions = []
        for fold in range(2):
            roles, config = folds.fold_samples(samples, fold, 0.25, 5), replace(parameters(), seed=5 + fold)
            config = replace(config, model=logistic)
            member, _ = folds.fit_fold(roles, config, None, folder / str(fold), lambda row, values: None)
            predictions.append(folds.predict_held_out(member, roles, flips=True)["prob"].to_numpy().tobytes())
        return predictions

    first = cross_validate(tmp_path / "first")
    assert 0 < sum(computed) <= rows * (COPIES + len(predict.FLIPS))
    computed.clear()
    assert cross_validate(tmp_path / "again") == first
    assert not computed
    assert len(set(first)) == 2


def test_the_folds_of_a_random_frozen_base_have_one_base_and_the_seeds_have_one_each():
    fold_config = replace(parameters(), seed=7)
    assert folds.initial_seed(fold_config) == 5
    assert folds.initial_seed(replace(fold_config, model=arrays.LIGHT)) == 7
    assert folds.initial_seed(parameters().reseed(7)) == 7


def residual(learning: str) -> keras.Model:
    """A block that adds to its input what a normalisation and a convolution make of it, before a head."""
    image = keras.Input(arrays.SHAPE)
    x = keras.layers.Conv2D(2, 3, name="stem")(image)
    y = keras.layers.Conv2D(2, 3, padding="same", name="inner")(keras.layers.BatchNormalization(name="norm")(x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(keras.layers.Add(name="sum")([x, y]))
    model = keras.Model(image, keras.layers.Dense(1, name="logit")(x))
    for layer in model.layers:
        layer.trainable = layer.name in (learning, "logit")
    return model


@pytest.mark.parametrize(("learning", "cut"), [("inner", "stem"), ("logit", "pool")])
def test_features_are_stored_where_the_image_has_one_way_to_all_that_learns(learning, cut):
    assert feature_cache.find_cut(residual(learning)) == cut


def test_a_model_that_learns_from_its_first_layer_on_has_no_stored_features():
    model = residual("stem")
    with pytest.raises(TrainingError, match=r"cache_frozen.*`trainable`"):
        feature_cache.find_cut(model)


def test_feature_maps_are_stored_in_half_the_bytes_and_read_as_they_were_computed(samples):
    model = residual("inner")
    base = FrozenBase(model, "stem")
    stored = base.extract(samples.take("val"))
    whole = base.network.predict(samples.take("val").pixels(np.arange(len(stored))).astype(np.float32), verbose=0)
    assert stored[:].shape == whole.shape
    np.testing.assert_allclose(stored[:], whole, rtol=1e-3, atol=1e-3)
    assert base.table.vectors_path.stat().st_size == whole.size * 2


def test_features_too_large_for_16_bits_or_for_the_disk_are_refused_with_the_cure(samples, monkeypatch):
    model = residual("inner")
    model.get_layer("stem").set_weights([weight + 1e4 for weight in model.get_layer("stem").get_weights()])
    with pytest.raises(TrainingError, match=r"stem.*16 bits.*cache_frozen: false"):
        FrozenBase(model, "stem").extract(samples.take("val"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(TrainingError, match=r"GB are free at .*train\.feature_copies"):
        FrozenBase(residual("inner"), "stem").extract(samples.take("val"))
