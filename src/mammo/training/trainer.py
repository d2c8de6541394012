"""Fitting one model: phases, optimiser, schedule, what monitors ask for, and which epoch is kept."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from mammo.core.config import Balance, TrainingConfig
from mammo.data.samples import Samples
from mammo.training import augmentation, feature_cache, health, loader, losses, predict
from mammo.training.checkpoint import Checkpoints, Epoch, State
from mammo.training.health import TrainingError
from mammo.training.loader import Inputs
from mammo.training.logistic_head import LOGISTIC_REGRESSION, fit_logistic_head
from mammo.training.optimizer import build_optimizer
from mammo.training.phases import Phase, training_phases
from mammo.training.result import EpochCallback, TrainingData, TrainingResult


@dataclass(frozen=True)
class Trainee:
    """What a phase trains: the network that is fed, where its inputs come from, and what is asked of validation."""

    network: keras.Model
    inputs: Inputs | None
    random_layers: list[keras.layers.Layer]
    probabilities: Callable[[], npt.NDArray[np.float64]]


def fit(
    model: keras.Model, samples: Samples, config: TrainingConfig, checkpoint_dir: Path, on_epoch_end: EpochCallback
) -> TrainingResult:
    """Train `model` in place on the rows of split train, watched on those of split val; other rows are never seen.

    The model is left at the epoch that `config.train.keep` names: "best" stops early and keeps the epoch of the best
    validation AUC; on a few dozen patients that is mostly the luckiest one, so "last" keeps the last epoch, when the
    learning rate has faded out. `on_epoch_end(epoch, values)` is called for every epoch. A call that was killed is
    resumed from `checkpoint_dir`, with the same result. Raise TrainingError where restarts did not help.
    """
    data = TrainingData(samples.take("train"), samples.take("val"))
    if config.model.optimizer == LOGISTIC_REGRESSION:
        return fit_logistic_head(model, data, config, on_epoch_end)
    history: list[Epoch] = []
    best_epoch = -1
    for number, phase in enumerate(training_phases(config)):
        phase_config = replace(config, seed=config.seed + number)
        with _frozen_base(model, phase.frozen):
            trainee = _trainee(model, data, phase_config, phase.frozen)
            run = _PhaseRun(trainee, data, phase_config, phase, Checkpoints(checkpoint_dir / phase.name))
            offset = len(history)
            state = run.finish(partial(_report_from, on_epoch_end, offset))
        history += state.rows
        best_epoch = offset + (state.best_row if config.train.keep == "best" else len(state.rows) - 1)
    return TrainingResult(history, best_epoch)


def _report_from(on_epoch_end: EpochCallback, offset: int, row: int, values: Epoch) -> None:
    on_epoch_end(offset + row, values)


@contextmanager
def _frozen_base(model: keras.Model, frozen: bool) -> Iterator[None]:
    """The base's layers do not learn, and its normalisation keeps its statistics, while the block runs."""
    layers = feature_cache.base_layers(model) if frozen else []
    before = [layer.trainable for layer in layers]
    for layer in layers:
        layer.trainable = False
    try:
        yield
    finally:
        for layer, trainable in zip(layers, before, strict=True):
            layer.trainable = trainable


def _trainee(model: keras.Model, data: TrainingData, config: TrainingConfig, frozen: bool) -> Trainee:
    """Return the head on vectors of the frozen base, or the whole model behind its augmentation, on the device."""
    if not frozen:
        strength = config.model.augmentation_strength
        layers = augmentation.layers(config.train.augmentation, strength, config.seed)
        network = with_augmentation(layers, model)
        return Trainee(network, None, [*layers, *model.layers], lambda: predict.probabilities(model, data.validation))
    head = feature_cache.head(model)
    features = feature_cache.AugmentedFeatures(model, data.train, config)
    vectors = feature_cache.extract_features(model, data.validation)
    return Trainee(
        head,
        lambda epoch, positions: features(epoch)[positions],
        list(head.layers),
        lambda: keras.ops.convert_to_numpy(head.predict_on_batch(vectors))[:, 0].astype(np.float64),
    )


def with_augmentation(layers: Sequence[keras.layers.Layer], model: keras.Model) -> keras.Model:
    """`model` behind `layers`; it shares the weights, and `model` itself stays bare."""
    image = keras.Input(model.input_shape[1:], name="image")
    x = image
    for layer in layers:
        x = layer(x)
    return keras.Model(image, model(x))


class _PhaseRun:
    """One phase: attempts until one of them reaches its end."""

    def __init__(
        self, trainee: Trainee, data: TrainingData, config: TrainingConfig, phase: Phase, checkpoints: Checkpoints
    ):
        self.trainee, self.data, self.config = trainee, data, config
        self.phase, self.checkpoints = phase, checkpoints

    def finish(self, on_epoch_end: EpochCallback) -> State:
        """Train to the end, or fail; leaves the network with the weights that are kept."""
        state = self.checkpoints.state()
        for row, values in enumerate(state.rows if state else []):
            on_epoch_end(row, values)
        self._compile(state or State())
        if state is None:
            state = State()
            self.checkpoints.save(state, self._variables())
        while not state.finished:
            self._compile(state)
            self.checkpoints.restore(state.epoch, self._variables())
            state = self._attempt(state, on_epoch_end)
        self.checkpoints.restore(state.best if self.config.train.keep == "best" else state.epoch, self._variables())
        self.trainee.network.optimizer.finalize_variable_values(self.trainee.network.trainable_variables)
        return state

    def _attempt(self, state: State, on_epoch_end: EpochCallback) -> State:
        balance: Balance = "sampling" if state.restarts else self.config.train.balance
        batches = loader.TrainingBatches(
            self.data.train,
            self.config.train.model_copy(update={"balance": balance}),
            self.config.seed + 10_000 * state.restarts,
            inputs=self.trainee.inputs,
            epoch=state.epoch,
        )
        watch = _EpochWatch(self, state, on_epoch_end)
        # Keras would shuffle the batches once more, with Python's global generator.
        self.trainee.network.fit(
            batches,
            initial_epoch=state.epoch,
            epochs=self.phase.epochs,
            callbacks=[watch],
            shuffle=False,
            verbose=2,
        )
        return watch.state

    def _compile(self, state: State) -> None:
        steps = -(-len(self.data.train.index) // self.config.train.batch_size)
        rate = self.phase.learning_rate * self.config.train.health.slowdown**state.restarts
        optimizer = build_optimizer(self.config, rate, steps * self.phase.epochs)
        optimizer.build(self.trainee.network.trainable_variables)
        loss = losses.get_loss(self.config.model.loss, self.config.focal, self.config.train.label_smoothing)
        self.trainee.network.compile(optimizer, loss, jit_compile=self.config.train.xla)

    def _variables(self) -> list[keras.Variable]:
        network = self.trainee.network
        return [*network.weights, *network.optimizer.variables]

    def after(self, state: State, loss: float, on_epoch_end: EpochCallback) -> State:
        """What the epoch that has just ended leads to; its snapshot is on disk when this returns."""
        settings = self.config.train.health
        with self._averaged():
            values = health.measure_epoch(self.data.validation.labels, self.trainee.probabilities(), loss, settings)
        rate = float(keras.ops.convert_to_numpy(self.trainee.network.optimizer.learning_rate))
        values |= {"loss": loss, "learning_rate": rate, "restarts": float(state.restarts)}
        values = dict(sorted(values.items()))
        rows = [*state.rows, values]
        on_epoch_end(len(state.rows), values)
        health.warn(rows)
        since_restart = [row for row in rows if row["restarts"] == state.restarts]
        reason = health.restart_reason(since_restart, settings)
        if reason is not None:
            return self._restarted(state.but(rows=rows), reason)
        epoch = state.epoch + 1
        better = state.best == 0 or values["val_auc"] > rows[state.best_row]["val_auc"]
        state = state.but(
            epoch=epoch,
            rows=rows,
            good=state.good if values["val_collapsed"] else epoch,
            best=epoch if better else state.best,
            best_row=len(rows) - 1 if better else state.best_row,
        )
        out_of_patience = self.config.train.keep == "best" and epoch - state.best >= self.config.train.patience
        state = state.but(finished=epoch == self.phase.epochs or out_of_patience)
        self.checkpoints.save(state, self._variables())
        return state

    def _restarted(self, state: State, reason: str) -> State:
        """Back at the last good epoch, or TrainingError when that has been tried often enough."""
        if state.restarts == self.config.train.health.restarts:
            raise TrainingError(
                f"epoch {state.epoch + 1}: {reason}; lower the learning rate "
                f"({state.restarts} restarts with lower ones did not help), or look at data/data_report/data.html"
            )
        health.log.warning(
            "epoch %d: %s; back to epoch %d with a lower learning rate", state.epoch + 1, reason, state.good
        )
        forget = state.best > state.good
        state = state.but(
            epoch=state.good,
            restarts=state.restarts + 1,
            best=0 if forget else state.best,
            best_row=-1 if forget else state.best_row,
        )
        self.checkpoints.save(state)
        return state

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The network with the moving average of its weights, where there is one, while the block runs."""
        if not self.config.train.ema:
            yield
            return
        weights = self.trainee.network.trainable_variables
        current = [keras.ops.convert_to_numpy(variable.value) for variable in weights]
        self.trainee.network.optimizer.finalize_variable_values(weights)
        for variable in weights:  # on JAX they are the optimiser's own arrays, which the next step would delete
            variable.assign(keras.ops.convert_to_numpy(variable.value).copy())
        try:
            yield
        finally:
            for variable, value in zip(weights, current, strict=True):
                variable.assign(value)


class _EpochWatch(keras.callbacks.Callback):
    """Between Keras' epochs: draws new seeds, hands the epoch to the run, and stops where the run says so."""

    def __init__(self, run: _PhaseRun, state: State, on_epoch_end: EpochCallback):
        super().__init__()
        self.run, self.state, self.report = run, state, on_epoch_end

    def on_epoch_begin(self, epoch: int, logs: Epoch | None = None) -> None:
        """Randomness depends on the seed and the epoch alone, so that a resumed training repeats an unbroken one."""
        _reseed(self.run.trainee.random_layers, [self.run.config.seed, self.state.restarts, epoch])

    def on_epoch_end(self, epoch: int, logs: Epoch) -> None:
        """Measure, judge, save."""
        restarts = self.state.restarts
        self.state = self.run.after(self.state, float(logs["loss"]), self.report)
        self.model.stop_training = self.state.finished or self.state.restarts > restarts


def _reseed(layers: list[keras.layers.Layer], seed: list[int]) -> None:
    """Keras saves no seeds: a loaded model's dropout has drawn its own from Python's global generator."""
    generators = [getattr(layer, "seed_generator", None) or getattr(layer, "generator", None) for layer in layers]
    for number, generator in enumerate(filter(None, generators)):
        value = np.random.SeedSequence([*seed, number]).generate_state(1)[0]
        generator.state.assign([int(value), 0])
