"""Training is reproducible and resumable, keeps the epoch that it names, and learns a planted cue."""

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mammo import models
from mammo.core.config import FocalConfig, HealthConfig, ModelConfig
from mammo.data.samples import Samples
from mammo.metrics import discrimination
from mammo.training import feature_cache, health, loader, losses, predict, trainer
from mammo.training.backend import use_deterministic_kernels
from mammo.training.checkpoint import Epoch
from mammo.training.health import TrainingError
from mammo.training.optimizer import build_optimizer
from mammo.training.phases import training_phases
from mammo.training.predict import predict_probabilities
from mammo.training.result import TrainingResult
from tests import arrays, imports

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("shallow_light_cnn")

QUIET = arrays.light(augmentation_strength=0.0)
BREAKING = arrays.light(augmentation_strength=0.0, learning_rate=1e38)


def ignore(epoch: int, values: Epoch) -> None:
    """Ignore an epoch's metrics."""


@pytest.fixture(scope="module", autouse=True)
def deterministic_kernels() -> None:
    use_deterministic_kernels()


@pytest.fixture(scope="module")
def samples() -> Samples:
    index = arrays.index(patients=60)
    return Samples(index, arrays.images(index["label"].to_numpy())[0])


@pytest.fixture(scope="module")
def noise(samples: Samples) -> Samples:
    """The same rows with images that are noise alone."""
    return Samples(samples.index, arrays.images(np.zeros(len(samples.index), np.int64), seed=1)[0])


def fit(
    model: keras.Model,
    samples: Samples,
    seed: int = 5,
    log: Callable[[int, Epoch], None] = ignore,
    model_config: ModelConfig = arrays.LIGHT,
    folder: Path | None = None,
    **changes: object,
) -> TrainingResult:
    with tempfile.TemporaryDirectory() as temporary_folder:
        return trainer.fit(
            model, samples, arrays.training(model_config, seed, **changes), folder or Path(temporary_folder), log
        )


def light(seed: int = 5) -> keras.Model:
    return models.build(arrays.LIGHT, arrays.SHAPE, seed)


def disturb_global_generators(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 the global generator is what must not matter
    keras.utils.set_random_seed(seed)


def test_the_seed_decides_the_predictions_to_the_byte_whatever_the_test_images(samples):
    images = samples.images.copy()
    images[samples.take("test").index.index] = 255

    def test_predictions(training_samples: Samples) -> bytes:
        model = light()
        fit(model, training_samples, epochs=2)
        return predict_probabilities(model, samples.take("test")).tobytes()

    first = test_predictions(samples)
    disturb_global_generators(99)
    assert test_predictions(Samples(samples.index, images)) == first


def test_training_a_saved_model_on_does_not_depend_on_global_generators(samples, tmp_path):
    models.save(light(), tmp_path / "light.keras")

    def continued(global_seed: int) -> bytes:
        disturb_global_generators(global_seed)
        model = models.load(tmp_path / "light.keras")
        fit(model, samples, model_config=QUIET, epochs=2)
        return predict_probabilities(model, samples.take("test")).tobytes()

    assert continued(global_seed=1) == continued(global_seed=2)


def test_building_seeds_the_global_generators_because_keras_draws_weights_from_them():
    disturb_global_generators(1)
    light(seed=5)
    after_build = np.random.random()  # noqa: NPY002
    disturb_global_generators(5)
    assert after_build == np.random.random()  # noqa: NPY002


@dataclass(frozen=True)
class Learned:
    """A training on the planted blob, its log and its side effects."""

    model: keras.Model
    result: TrainingResult
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
    batches: list[int] = []
    logged: list[tuple[int, Epoch]] = []
    whole = loader.TrainingBatches.__getitem__

    def recorded(data: loader.TrainingBatches, number: int) -> tuple[npt.NDArray[np.float32], ...]:
        batches.append(number)
        return whole(data, number)

    model = light()
    layers, state = layer_names(model), numpy_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader.TrainingBatches, "__getitem__", recorded)
        result = fit(model, samples, log=lambda epoch, values: logged.append((epoch, values)))
    return Learned(model, result, logged, batches, (layers, layer_names(model)), (state, numpy_state()))


def test_a_planted_blob_is_learned(learned, samples):
    test = samples.take("test")
    assert learned.result.history[-1]["val_auc"] > 0.9
    assert discrimination.auc(test.labels, predict_probabilities(learned.model, test)) > 0.9


def test_keras_sees_the_batches_in_the_order_of_their_seed(learned, samples):
    count = -(-len(samples.take("train").index) // arrays.TRAIN.batch_size)
    # Keras looks at the first batches once more beforehand, to learn their shapes.
    assert learned.batches[-arrays.TRAIN.epochs * count :] == arrays.TRAIN.epochs * list(range(count))


def test_every_epoch_is_logged_once_and_in_order(learned):
    history = learned.result.history
    assert learned.logged == list(enumerate(history))
    assert set(history[0]) == {
        "loss",
        "val_auc",
        "val_collapsed",
        "val_loss",
        "val_sensitivity",
        "val_specificity",
        "val_spread",
        "val_low_sensitivity",
        "overfitting",
        "learning_rate",
        "restarts",
    }
    assert all(type(value) is float for epoch in history for value in epoch.values())


def test_augmentation_is_no_part_of_the_trained_model(learned):
    assert learned.layers[0] == learned.layers[1]


def test_fitting_leaves_the_global_numpy_generator_alone(learned):
    np.testing.assert_array_equal(*learned.numpy_state)


def val_auc(model: keras.Model, samples: Samples) -> float:
    return discrimination.auc(samples.take("val").labels, predict_probabilities(model, samples.take("val")))


@pytest.fixture(scope="module")
def stopped(noise: Samples) -> tuple[keras.Model, TrainingResult]:
    """A training that has nothing to learn, stopped early and set back to its best epoch."""
    model = light()
    return model, fit(model, noise, model_config=QUIET, keep="best", epochs=25, patience=3, health=monitored())


def test_the_best_weights_are_those_of_the_best_validation_auc(stopped, noise):
    model, result = stopped
    aucs = [epoch["val_auc"] for epoch in result.history]
    assert result.best_epoch == int(np.argmax(aucs)) < len(aucs) - 1
    assert val_auc(model, noise) == aucs[result.best_epoch] != aucs[-1]


def test_training_stops_when_patience_is_spent(stopped):
    _, result = stopped
    assert len(result.history) == result.best_epoch + 1 + 3 < 25


def test_the_last_weights_are_those_of_the_last_epoch(noise):
    model = light()
    result = fit(model, noise, model_config=QUIET, keep="last", epochs=5, patience=1, health=monitored())
    assert len(result.history) == 5
    assert result.best_epoch == 4
    assert val_auc(model, noise) == result.history[-1]["val_auc"]


def test_a_broken_loss_stops_the_training(samples):
    model = light()
    logit = model.get_layer("logit")
    logit.set_weights([np.full_like(weights, np.nan) for weights in logit.get_weights()])
    with pytest.raises(TrainingError, match="epoch 1: the training loss is nan; lower the learning rate"):
        fit(model, samples, model_config=QUIET, health=monitored(restarts=0))


def test_weights_that_break_in_the_last_step_stop_the_training_too(samples):
    one_step_an_epoch = len(samples.index)
    with pytest.raises(TrainingError, match=r"epoch 1: .*lower the learning rate"):
        fit(
            light(),
            samples,
            model_config=BREAKING,
            batch_size=one_step_an_epoch,
            warmup_fraction=0.0,
            health=monitored(restarts=0),
        )


class KilledError(Exception):
    """The process ends within an epoch: nothing of that epoch is kept."""


def resumable(phases: str) -> ModelConfig:
    return arrays.light(trainable=["all"], head_epochs=2 if phases == "two" else 0)


def train_until(folder: Path, phases: str, die_at: int, die: Callable[[], None]) -> tuple[bytes, list[float]]:
    """Train for four epochs, or until `die` within epoch `die_at`; return the probabilities' bytes and the losses."""

    def log(row: int, values: Epoch) -> None:
        if row == die_at:
            die()

    model_config, samples = resumable(phases), arrays_samples()
    model = models.build(model_config, arrays.SHAPE, 5)
    result = fit(
        model, samples, log=log, model_config=model_config, folder=folder, epochs=4, ema=0.9, keep="best", mixup=0.2
    )
    return predict_probabilities(model, samples).tobytes(), [row["loss"] for row in result.history]


def raise_killed() -> None:
    raise KilledError


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arrays_samples() -> Samples:
    index = arrays.index(patients=30)
    return Samples(index, arrays.images(index["label"].to_numpy())[0])


def train_in_a_process(folder: Path, phases: str, die_at: int) -> int:
    script = "; ".join(
        [
            "from pathlib import Path",
            "from mammo.models.architectures import light_cnn",
            "from tests.training import test_trainer as tests",
            "tests.use_deterministic_kernels()",
            "light_cnn.WIDTHS = tests.arrays.SHALLOW",
            f"tests.train_until(Path({str(folder)!r}), {phases!r}, {die_at}, tests.kill_this_process)",
        ]
    )
    environment = os.environ | {"PYTHONPATH": imports.python_path(ROOT, ROOT / "src"), "DVC_ROOT": str(folder)}
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True).returncode


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[bytes, list[float]]]:
    """Return what a training of one or two phases ends with when nothing kills it."""
    return cache(lambda phases: train_until(tmp_path_factory.mktemp(phases), phases, -1, raise_killed))


@pytest.mark.slow
@pytest.mark.parametrize("phases", ["one", "two"])
def test_a_broken_training_ends_as_an_unbroken_one(phases, tmp_path, unbroken, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    for die_at in (1, 3):
        with pytest.raises(KilledError):
            train_until(tmp_path, phases, die_at, raise_killed)
    assert train_until(tmp_path, phases, -1, raise_killed) == unbroken(phases)


@pytest.mark.slow
def test_a_killed_process_is_resumed_by_another_one_with_the_same_result(tmp_path, unbroken, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert train_in_a_process(tmp_path, "two", 3) == -signal.SIGKILL
    assert train_until(tmp_path, "two", -1, raise_killed) == unbroken("two")


def test_a_finished_training_is_not_done_again(samples, tmp_path, monkeypatch):
    first, again = light(), light()
    result = fit(first, samples, folder=tmp_path, epochs=2)
    monkeypatch.setattr(keras.Model, "fit", lambda *args, **kwargs: pytest.fail("trained again"))
    logged: list[int] = []
    assert fit(again, samples, log=lambda row, values: logged.append(row), folder=tmp_path, epochs=2) == result
    assert logged == [0, 1]
    np.testing.assert_array_equal(predict_probabilities(first, samples), predict_probabilities(again, samples))


def collapse(monkeypatch, epochs: int) -> list[float]:
    """Make the first `epochs` epochs predict the same for all; return the list of learning rates, as it grows."""
    whole, losses_so_far, rates = health.measure_epoch, [], []

    def measure(label, prob, loss, settings):
        losses_so_far.append(loss)
        return whole(label, np.full_like(prob, 0.1) if len(losses_so_far) <= epochs else prob, loss, settings)

    optimizer = build_optimizer

    def recorded(config, rate, steps):
        rates.append(rate)
        return optimizer(config, rate, steps)

    monkeypatch.setattr(health, "measure_epoch", measure)
    monkeypatch.setattr(trainer, "build_optimizer", recorded)
    return rates


def monitored(**changes: object) -> HealthConfig:
    return arrays.TRAIN.health.model_copy(update={"collapse_epochs": 2, "collapse_spread": 1e-6, **changes})


def test_a_collapse_restarts_with_a_lower_rate_and_balanced_sampling(samples, monkeypatch, caplog):
    rates, balances = collapse(monkeypatch, epochs=2), []
    whole = loader.TrainingBatches.__init__

    def recorded(data, *args, **kwargs):
        balances.append(args[1].balance)
        whole(data, *args, **kwargs)

    monkeypatch.setattr(loader.TrainingBatches, "__init__", recorded)
    result = fit(light(), samples, epochs=3, health=monitored(restarts=1, slowdown=0.5))
    assert [row["restarts"] for row in result.history] == [0, 0, 1, 1, 1]
    assert [row["val_collapsed"] for row in result.history] == [1, 1, 0, 0, 0]
    assert result.best_epoch == 4
    assert (balances, {rates[0], rates[-1]}) == (["class_weights", "sampling"], {0.003, 0.0015})
    assert "epoch 2: the model has collapsed" in caplog.text
    assert "back to epoch 0 with a lower learning rate" in caplog.text


def test_a_collapse_that_stays_fails_loudly(samples, monkeypatch):
    collapse(monkeypatch, epochs=99)
    with pytest.raises(TrainingError, match=r"epoch 2: the model has collapsed.*lower the learning rate \(1 restarts"):
        fit(light(), samples, epochs=9, health=monitored(restarts=1))


def test_the_average_of_the_weights_is_kept_where_asked(samples):
    plain, averaged, weightless = light(), light(), light()
    for model, ema in ((plain, 0.0), (averaged, 0.95), (weightless, 0.001)):
        fit(model, samples, model_config=QUIET, epochs=3, ema=ema)
    kernels = [model.get_layer("logit").get_weights()[0] for model in (plain, averaged, weightless)]
    assert np.abs(kernels[1] - kernels[0]).max() > 1e-3
    np.testing.assert_allclose(kernels[2], kernels[0], atol=1e-3)


def basic(**changes: object) -> ModelConfig:
    return arrays.light(architecture="vgg16", trainable=[], head_units=[8], augmentation_strength=1.0, **changes)


def frozen_model() -> keras.Model:
    return models.build(basic(), arrays.SHAPE, 5)


def test_training_on_vectors_leaves_the_base_alone(samples, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    model = frozen_model()
    before = [layer.get_weights() for layer in feature_cache.base_layers(model)]
    head = model.get_layer("logit").get_weights()[0].copy()
    result = fit(model, arrays_samples(), model_config=basic(), epochs=2)
    after = [layer.get_weights() for layer in feature_cache.base_layers(model)]
    assert all(
        np.array_equal(a, b) for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True)
    )
    assert (model.get_layer("logit").get_weights()[0] != head).any()
    assert len(result.history) == 2


def test_the_head_goes_first_where_asked(samples, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    model_config = arrays.light(head_epochs=2, head_learning_rate=0.01, learning_rate=0.001)
    model = light()
    result = fit(model, samples, model_config=model_config, epochs=3, warmup_fraction=0.0)
    assert [phase.name for phase in training_phases(arrays.training(model_config))] == ["head", "all"]
    assert len(result.history) == 5
    assert result.best_epoch == 4
    assert result.history[0]["learning_rate"] > 0.004 > 0.001 >= result.history[2]["learning_rate"]
    assert all(layer.trainable for layer in model.layers)


def test_a_head_on_a_frozen_base_learns_at_its_own_rate_and_for_its_own_epochs():
    frozen = arrays.light(trainable=[], learning_rate=1e-6, head_learning_rate=0.01)
    (phase,) = training_phases(arrays.training(frozen, epochs=6))
    assert (phase.epochs, phase.learning_rate, phase.frozen) == (6, 0.01, True)
    (phase,) = training_phases(arrays.training(frozen.model_copy(update={"head_epochs": 30}), epochs=6))
    assert phase.epochs == 30


def test_a_head_that_starts_as_the_logistic_solution_is_there_before_the_base_learns(samples, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    config = arrays.light(head_start="logistic_regression", learning_rate=1e-9, augmentation_strength=0.0)
    model, solution = light(), light()
    result = fit(model, samples, model_config=config, epochs=2)
    fit(solution, samples, model_config=config.model_copy(update={"optimizer": "logistic_regression", "trainable": []}))
    assert len(result.history) == 3
    assert result.best_epoch == 2
    assert result.history[0]["val_auc"] > 0.8
    head = [weight for name in ("logit",) for weight in model.get_layer(name).get_weights()]
    expected = [weight for name in ("logit",) for weight in solution.get_layer(name).get_weights()]
    for weight, other in zip(head, expected, strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


def partly_frozen() -> keras.Model:
    """light_cnn whose first block does not learn."""
    model = light()
    for name in ("block1_conv", "block1_norm"):
        model.get_layer(name).trainable = False
    return model


def test_stored_features_of_frozen_blocks_train_the_same_model_within_16_bits(samples, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    whole, stored = partly_frozen(), partly_frozen()
    settings = arrays.light(augmentation_strength=0.0, learning_rate=0.001)
    expected = fit(whole, samples, model_config=settings, epochs=2)
    result = fit(stored, samples, model_config=settings.model_copy(update={"cache_frozen": True}), epochs=2)
    for row, other in zip(result.history, expected.history, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=2e-3)
    assert any(not np.array_equal(a, b) for a, b in zip(light().get_weights(), stored.get_weights(), strict=True))
    np.testing.assert_array_equal(
        stored.get_layer("block1_conv").get_weights(), light().get_layer("block1_conv").get_weights()
    )
    np.testing.assert_allclose(predict_probabilities(stored, samples), predict_probabilities(whole, samples), atol=5e-3)


def test_logistic_regression_ends_up_in_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    samples = arrays_samples()
    model_config = basic(optimizer="logistic_regression", inverse_l2=0.01).model_copy(
        update={"head_units": [], "augmentation_strength": 0.0}
    )
    model = models.build(model_config, arrays.SHAPE, 5)
    result = fit(model, samples, model_config=model_config)
    vectors, train = feature_cache.FrozenBase(model).extract(samples)[:], (samples.index["split"] == "train").to_numpy()
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000))
    reference.fit(vectors[train], samples.labels[train])
    np.testing.assert_allclose(predict_probabilities(model, samples), reference.predict_proba(vectors)[:, 1], atol=1e-4)
    assert len(result.history) == 1


def test_mirror_images_are_rows_of_the_logistic_regression(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    samples = arrays_samples()
    changes = {"head_units": [], "augmentation_strength": 0.0, "mirrored_rows": True}
    model_config = basic(optimizer="logistic_regression", inverse_l2=0.01).model_copy(update=changes)
    model = models.build(model_config, arrays.SHAPE, 5)
    fit(model, samples, model_config=model_config)
    train = samples.take("train")
    views = feature_cache.FrozenBase(model).extract_mirrored(train, predict.FLIPS)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.01 / 4, class_weight="balanced", max_iter=2000))
    reference.fit(np.concatenate([vectors[:] for vectors in views]), np.tile(train.labels, 4))
    expected = reference.predict_proba(views[0][:])[:, 1]
    np.testing.assert_allclose(predict_probabilities(model, train), expected, atol=1e-4)


def test_logistic_regression_needs_a_frozen_base(samples):
    with pytest.raises(TrainingError, match="trainable"):
        fit(light(), samples, model_config=arrays.light(optimizer="logistic_regression"))


def test_probabilities_do_not_depend_on_the_batch_size(samples, monkeypatch):
    model = light()
    whole = predict_probabilities(model, samples)
    monkeypatch.setattr(predict, "BATCH", 7)
    np.testing.assert_allclose(predict_probabilities(model, samples), whole, atol=1e-6)


def test_the_graph_is_built_once_for_all_sizes_of_batches(samples, monkeypatch):
    model, sizes = light(), []
    whole = predict.predict_probabilities(model, samples)
    original = model.predict_on_batch

    def recorded(inputs):
        sizes.append(len(inputs))
        return original(inputs)

    monkeypatch.setattr(model, "predict_on_batch", recorded)
    for count in (60, 37, 64):
        first = Samples(samples.index.iloc[:count], samples.images)
        np.testing.assert_allclose(predict.predict_probabilities(model, first), whole[:count], atol=1e-6)
    assert set(sizes) == {64}
    monkeypatch.setattr(predict, "BATCH", 1)
    predict.predict_probabilities(model, Samples(samples.index.iloc[:1], samples.images))
    assert sizes[-1] == 1  # one film costs no more than one


def test_flips_are_averaged(samples):
    model, test = light(), samples.take("test")
    mirrored = [Samples(samples.index, np.flip(samples.images, axes)).take("test") for axes in ((), 1, 2, (1, 2))]
    alone = [predict_probabilities(model, each) for each in mirrored]
    np.testing.assert_allclose(predict_probabilities(model, test, flips=True), np.mean(alone, axis=0), atol=1e-6)
    assert np.ptp(alone, axis=0).max() > 1e-4


def test_predictions_keep_the_rows_and_their_order(samples):
    test = samples.take("test")
    predicted = predict.predict_table(light(), test)
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
    assert value(losses.get_loss("focal", FocalConfig(gamma=2, alpha=0.3))) == pytest.approx(by_hand, rel=1e-4)


def test_focal_loss_without_focus_is_half_the_crossentropy():
    plain = value(losses.get_loss("binary_crossentropy", arrays.FOCAL))
    assert value(losses.get_loss("focal", FocalConfig(gamma=0, alpha=0.5))) == pytest.approx(plain / 2, rel=1e-4)


def test_every_loss_that_params_allow_exists():
    for name in get_args(ModelConfig.model_fields["loss"].annotation):
        assert isinstance(losses.get_loss(name, arrays.FOCAL), keras.losses.Loss)
