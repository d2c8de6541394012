"""Fitting, its monitors and losses: reproducible, honest about the kept epoch, and able to learn a planted cue."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from mammo import batches, inference, losses, metrics, models, monitors, training
from mammo.batches import Samples
from mammo.monitors import Epoch, TrainingError
from mammo.params import FocalParams, ModelParams
from mammo.training import Fitted
from tests import arrays

QUIET = arrays.light(augmentation_strength=0.0)
BREAKING = arrays.light(augmentation_strength=0.0, learning_rate=1e38)


def ignore(epoch: int, values: Epoch) -> None:
    """A log that keeps nothing."""


@pytest.fixture(scope="module", autouse=True)
def deterministic_kernels() -> None:
    training.use_deterministic_kernels()


@pytest.fixture(scope="module")
def samples() -> Samples:
    index = arrays.index(patients=60)
    return Samples(index, arrays.images(index["label"].to_numpy())[0])


@pytest.fixture(scope="module")
def noise(samples: Samples) -> Samples:
    """The same rows with images that say nothing."""
    return Samples(samples.index, arrays.images(np.zeros(len(samples.index), np.int64), seed=1)[0])


def fit(
    model: keras.Model,
    samples: Samples,
    seed: int = 5,
    log: Callable[[int, Epoch], None] = ignore,
    own: ModelParams = arrays.LIGHT,
    **changes: object,
) -> Fitted:
    return training.fit(
        model,
        samples.take("train"),
        samples.take("val"),
        arrays.recipe(**changes),
        own,
        arrays.FOCAL,
        seed,
        log,
    )


def light(seed: int = 5) -> keras.Model:
    return models.build("light_cnn", arrays.LIGHT, arrays.SHAPE, seed)


def disturb_global_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 the global generator is what must not matter
    keras.utils.set_random_seed(seed)


def test_the_seed_decides_the_predictions_to_the_byte_whatever_the_test_images(samples):
    images = samples.images.copy()
    images[samples.take("test").index.index] = 255

    def probabilities(seen: Samples) -> bytes:
        model = light()
        fit(model, seen, epochs=2)
        return inference.probabilities(model, samples.take("test")).tobytes()

    first = probabilities(samples)
    disturb_global_generators(99)
    assert probabilities(Samples(samples.index, images)) == first


def test_training_a_saved_model_on_does_not_depend_on_global_generators(samples, tmp_path):
    models.save(light(), tmp_path / "light.keras")

    def continued(global_seed: int) -> bytes:
        disturb_global_generators(global_seed)
        model = models.load(tmp_path / "light.keras")
        fit(model, samples, own=QUIET, epochs=2)
        return inference.probabilities(model, samples.take("test")).tobytes()

    assert continued(global_seed=1) == continued(global_seed=2)


def test_building_seeds_the_global_generators_because_keras_draws_weights_from_them():
    disturb_global_generators(1)
    light(seed=5)
    after_build = np.random.random()  # noqa: NPY002
    disturb_global_generators(5)
    assert after_build == np.random.random()  # noqa: NPY002


@dataclass(frozen=True)
class Learned:
    """A training on the planted blob and what was seen of it."""

    model: keras.Model
    fitted: Fitted
    logged: list[tuple[int, Epoch]]
    batches: list[int]
    layers: tuple[list[str], list[str]]
    numpy_state: tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]


def numpy_state() -> npt.NDArray[np.uint32]:
    return np.random.get_state()[1].copy()  # noqa: NPY002


def layer_names(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers]


@pytest.fixture(scope="module")
def learned(samples: Samples) -> Learned:
    asked: list[int] = []
    logged: list[tuple[int, Epoch]] = []
    whole = batches.TrainingBatches.__getitem__

    def recorded(data: batches.TrainingBatches, number: int) -> tuple[npt.NDArray[np.float32], ...]:
        asked.append(number)
        return whole(data, number)

    model = light()
    layers, state = layer_names(model), numpy_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches.TrainingBatches, "__getitem__", recorded)
        fitted = fit(model, samples, log=lambda epoch, values: logged.append((epoch, values)))
    return Learned(model, fitted, logged, asked, (layers, layer_names(model)), (state, numpy_state()))


def test_a_planted_blob_is_learned(learned, samples):
    test = samples.take("test")
    assert learned.fitted.history[-1]["val_auc"] > 0.9
    assert metrics.auc(test.labels, inference.probabilities(learned.model, test)) > 0.9


def test_keras_sees_the_batches_in_the_order_of_their_seed(learned, samples):
    count = -(-len(samples.take("train").index) // arrays.RECIPE.batch_size)
    # Keras looks at the first batches once more beforehand, to learn their shapes.
    assert learned.batches[-arrays.RECIPE.epochs * count :] == arrays.RECIPE.epochs * list(range(count))


def test_every_epoch_is_logged_once_and_in_order(learned):
    history = learned.fitted.history
    assert learned.logged == list(enumerate(history))
    assert set(history[0]) == {
        "loss",
        "val_auc",
        "val_collapsed",
        "val_loss",
        "val_sensitivity",
        "val_specificity",
    }
    assert all(type(value) is float for epoch in history for value in epoch.values())


def test_augmentation_is_no_part_of_the_trained_model(learned):
    assert learned.layers[0] == learned.layers[1]


def test_fitting_leaves_the_global_numpy_generator_alone(learned):
    np.testing.assert_array_equal(*learned.numpy_state)


def val_auc(model: keras.Model, samples: Samples) -> float:
    return metrics.auc(samples.take("val").labels, inference.probabilities(model, samples.take("val")))


@pytest.fixture(scope="module")
def stopped(noise: Samples) -> tuple[keras.Model, Fitted]:
    """A training that has nothing to learn, stopped early and set back to its best epoch."""
    model = light()
    return model, fit(model, noise, own=QUIET, keep="best", epochs=25, patience=3)


def test_the_best_weights_are_those_of_the_best_validation_auc(stopped, noise):
    model, fitted = stopped
    aucs = [epoch["val_auc"] for epoch in fitted.history]
    assert fitted.kept_epoch == int(np.argmax(aucs)) < len(aucs) - 1
    assert val_auc(model, noise) == aucs[fitted.kept_epoch] != aucs[-1]


def test_training_stops_when_patience_is_spent(stopped):
    _, fitted = stopped
    assert len(fitted.history) == fitted.kept_epoch + 1 + 3 < 25


def test_the_last_weights_are_those_of_the_last_epoch(noise):
    model = light()
    fitted = fit(model, noise, own=QUIET, keep="last", epochs=5, patience=1)
    assert len(fitted.history) == 5
    assert fitted.kept_epoch == 4
    assert val_auc(model, noise) == fitted.history[-1]["val_auc"]


def test_a_broken_loss_stops_the_training(samples):
    model = light()
    logit = model.get_layer("logit")
    logit.set_weights([np.full_like(weights, np.nan) for weights in logit.get_weights()])
    with pytest.raises(TrainingError, match="epoch 1: the training loss is nan; lower the learning rate"):
        fit(model, samples, own=QUIET)


def test_weights_that_break_in_the_last_step_stop_the_training_too(samples):
    one_step_an_epoch = len(samples.index)
    with pytest.raises(TrainingError, match=r"epoch 1: .*lower the learning rate"):
        fit(light(), samples, own=BREAKING, batch_size=one_step_an_epoch, warmup_fraction=0.0)


@pytest.fixture
def four() -> Samples:
    index = arrays.index(patients=2).assign(label=[1, 1, 0, 0])
    return Samples(index, np.zeros((4, 2, 2), np.uint8))


def test_validation_metrics_by_hand(four):
    found = monitors.validation_metrics(four, np.array([0.9, 0.2, 0.6, 0.1]))
    assert found == pytest.approx(
        {
            "val_auc": 3 / 4,
            "val_loss": -np.log([0.9, 0.2, 0.4, 0.9]).mean(),
            "val_sensitivity": 1 / 2,
            "val_specificity": 1 / 2,
            "val_called_malignant": 1 / 2,
        }
    )


def test_a_certain_error_has_a_finite_loss(four):
    assert np.isfinite(monitors.validation_metrics(four, np.array([0.0, 0.0, 1.0, 1.0]))["val_loss"])


@pytest.mark.parametrize(("probs", "collapsed"), [((0.9, 0.9), 1.0), ((0.1, 0.1), 1.0), ((0.9, 0.1), 0.0)])
def test_a_model_that_calls_all_the_same_is_marked_collapsed(four, monkeypatch, probs, collapsed):
    monkeypatch.setattr(inference, "probabilities", lambda model, samples: np.repeat(probs, 2))
    watch = monitors.ValidationMetrics(four, light(), 0.98, ignore)
    watch.on_epoch_end(0, {"loss": 0.5})
    assert watch.history[0]["val_collapsed"] == collapsed


def test_probabilities_do_not_depend_on_the_batch_size(samples, monkeypatch):
    model = light()
    whole = inference.probabilities(model, samples)
    monkeypatch.setattr(inference, "BATCH", 7)
    np.testing.assert_allclose(inference.probabilities(model, samples), whole, atol=1e-6)


def test_predictions_keep_the_rows_and_their_order(samples):
    test = samples.take("test")
    predicted = inference.predict(light(), test)
    pd.testing.assert_frame_equal(predicted.drop(columns="prob"), test.index)
    assert predicted["prob"].between(0, 1).all()


LABEL = np.array([[1.0], [0.0], [1.0]])
PROB = np.array([[0.9], [0.4], [0.2]])


def value(loss: keras.losses.Loss) -> float:
    return float(loss(LABEL, PROB))


def test_focal_loss_by_its_formula():
    """Lin et al., ICCV 2017, equation 5."""
    right = np.where(LABEL == 1, PROB, 1 - PROB)
    alpha = np.where(LABEL == 1, 0.3, 0.7)
    by_hand = (-alpha * (1 - right) ** 2 * np.log(right)).mean()
    assert value(losses.get("focal", FocalParams(gamma=2, alpha=0.3))) == pytest.approx(by_hand, rel=1e-4)


def test_focal_loss_without_focus_is_half_the_crossentropy():
    plain = value(losses.get("binary_crossentropy", arrays.FOCAL))
    assert value(losses.get("focal", FocalParams(gamma=0, alpha=0.5))) == pytest.approx(plain / 2, rel=1e-4)


def test_every_loss_that_params_allow_exists():
    for name in get_args(ModelParams.model_fields["loss"].annotation):
        assert isinstance(losses.get(name, arrays.FOCAL), keras.losses.Loss)
