"""The training of one model: phases, restarts, checkpoints, and the choice of the epoch that is kept."""

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
    """The network that a phase trains, its inputs, its random layers, and its validation probabilities."""

    network: keras.Model
    inputs: Inputs | None
    random_layers: list[keras.layers.Layer]
    probabilities: Callable[[], npt.NDArray[np.float64]]


def fit(
    model: keras.Model, samples: Samples, config: TrainingConfig, checkpoint_dir: Path, on_epoch_end: EpochCallback
) -> TrainingResult:
    """Train `model` in place on the rows of split train, monitored on those of split val; no test row is read.

    config.train.keep: "best" stops early and keeps the epoch of the best validation AUC; on a few dozen patients that
    is mostly the luckiest one, so "last" keeps the last epoch, where the learning rate has faded out.
    checkpoint_dir: a killed call resumes from it, with the same result. on_epoch_end(epoch, metrics): called for every
    epoch. Raise TrainingError where restarts did not help.
    """
    data = TrainingData.without_test(samples)
    if config.model.optimizer == LOGISTIC_REGRESSION:
        if config.model.trainable:
            raise TrainingError(f"optimizer: {LOGISTIC_REGRESSION} needs `trainable: []`; else set it as `head_start`")
        return fit_logistic_head(model, data, config, on_epoch_end)
    history: list[Epoch] = []
    if config.model.head_start == LOGISTIC_REGRESSION:
        history += fit_logistic_head(model, data, config, on_epoch_end).history
    best_epoch = len(history) - 1
    for number, phase in enumerate(training_phases(config)):
        phase_config = replace(config, seed=config.seed + number)
        with _frozen_base(model, phase.frozen):
            trainee = _build_trainee(model, data, phase_config, phase.frozen)
            run = _PhaseRun(trainee, data, phase_config, phase, Checkpoints(checkpoint_dir / phase.name))
            offset = len(history)
            state = run.train(partial(_report_epoch, on_epoch_end, offset))
        history += state.rows
        best_epoch = offset + (state.best_row if config.train.keep == "best" else len(state.rows) - 1)
    return TrainingResult(history, best_epoch)


def _report_epoch(on_epoch_end: EpochCallback, offset: int, row: int, metrics: Epoch) -> None:
    on_epoch_end(offset + row, metrics)


@contextmanager
def _frozen_base(model: keras.Model, frozen: bool) -> Iterator[None]:
    """Keep the base's layers from learning, and its normalisation's statistics, while the block runs."""
    layers = feature_cache.base_layers(model) if frozen else []
    before = [layer.trainable for layer in layers]
    for layer in layers:
        layer.trainable = False
    try:
        yield
    finally:
        for layer, trainable in zip(layers, before, strict=True):
            layer.trainable = trainable


def _build_trainee(model: keras.Model, data: TrainingData, config: TrainingConfig, frozen: bool) -> Trainee:
    """Return what learns, on stored features of what does not; or the whole model behind its augmentation."""
    if frozen:
        return _build_trainee_on_features(model, data, config, feature_cache.VECTOR)
    if config.model.cache_frozen:
        return _build_trainee_on_features(model, data, config, feature_cache.find_cut(model))
    layers = augmentation.build_layers(config.train.augmentation, config.model.augmentation_strength, config.seed)
    network = prepend_augmentation(layers, model)
    return Trainee(
        network, None, [*layers, *model.layers], lambda: predict.predict_probabilities(model, data.validation)
    )


def _build_trainee_on_features(model: keras.Model, data: TrainingData, config: TrainingConfig, cut: str) -> Trainee:
    """Return the part of `model` behind its layer `cut`, on the stored output of that layer."""
    network, base = feature_cache.build_head(model, cut), feature_cache.FrozenBase(model, cut)
    features, validation = feature_cache.AugmentedFeatures(base, data, config), base.extract(data.validation)
    return Trainee(
        network,
        lambda epoch, positions: features(epoch)[positions],
        list(network.layers),
        lambda: predict.predict_stored(network, [validation]),
    )


def prepend_augmentation(layers: Sequence[keras.layers.Layer], model: keras.Model) -> keras.Model:
    """Return a model of `layers` and then `model`; it shares the weights of `model`, which stays without them."""
    image = keras.Input(model.input_shape[1:], name="image")
    x = image
    for layer in layers:
        x = layer(x)
    return keras.Model(image, model(x))


class _PhaseRun:
    """The training of one phase: attempts until one of them reaches the last epoch."""

    def __init__(
        self, trainee: Trainee, data: TrainingData, config: TrainingConfig, phase: Phase, checkpoints: Checkpoints
    ):
        self.trainee, self.data, self.config = trainee, data, config
        self.phase, self.checkpoints = phase, checkpoints

    def train(self, on_epoch_end: EpochCallback) -> State:
        """Train to the end and leave the network with the weights of the kept epoch; raise TrainingError."""
        state = self.checkpoints.read_state()
        for row, metrics in enumerate(state.rows if state else []):
            on_epoch_end(row, metrics)
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
        callback = _EpochEnd(self, state, on_epoch_end)
        # Keras would shuffle the batches once more, with Python's global generator.
        self.trainee.network.fit(
            batches,
            initial_epoch=state.epoch,
            epochs=self.phase.epochs,
            callbacks=[callback],
            shuffle=False,
            verbose=2,
        )
        return callback.state

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

    def end_epoch(self, state: State, loss: float, on_epoch_end: EpochCallback) -> State:
        """Measure the epoch that has just ended and return the state after it, which is then on disk."""
        settings = self.config.train.health
        with self._averaged_weights():
            metrics = health.measure_epoch(self.data.validation.labels, self.trainee.probabilities(), loss, settings)
        rate = float(keras.ops.convert_to_numpy(self.trainee.network.optimizer.learning_rate))
        metrics |= {"loss": loss, "learning_rate": rate, "restarts": float(state.restarts)}
        metrics = dict(sorted(metrics.items()))
        rows = [*state.rows, metrics]
        on_epoch_end(len(state.rows), metrics)
        health.log_warnings(rows)
        since_restart = [row for row in rows if row["restarts"] == state.restarts]
        reason = health.restart_reason(since_restart, settings)
        if reason is not None:
            return self._restart(replace(state, rows=rows), reason)
        epoch = state.epoch + 1
        better = state.best == 0 or metrics["val_auc"] > rows[state.best_row]["val_auc"]
        state = replace(
            state,
            epoch=epoch,
            rows=rows,
            good=state.good if metrics["val_collapsed"] else epoch,
            best=epoch if better else state.best,
            best_row=len(rows) - 1 if better else state.best_row,
        )
        out_of_patience = self.config.train.keep == "best" and epoch - state.best >= self.config.train.patience
        state = replace(state, finished=epoch == self.phase.epochs or out_of_patience)
        self.checkpoints.save(state, self._variables())
        return state

    def _restart(self, state: State, reason: str) -> State:
        """Return the state of the last good epoch; raise TrainingError where no restart is left."""
        if state.restarts == self.config.train.health.restarts:
            raise TrainingError(
                f"epoch {state.epoch + 1}: {reason}; lower the learning rate "
                f"({state.restarts} restarts with lower ones did not help), or look at data/data_report/data.html"
            )
        health.log.warning(
            "epoch %d: %s; back to epoch %d with a lower learning rate", state.epoch + 1, reason, state.good
        )
        forget = state.best > state.good
        state = replace(
            state,
            epoch=state.good,
            restarts=state.restarts + 1,
            best=0 if forget else state.best,
            best_row=-1 if forget else state.best_row,
        )
        self.checkpoints.save(state)
        return state

    @contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """Give the network the moving average of its weights, with `train.ema`, while the block runs."""
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


class _EpochEnd(keras.callbacks.Callback):
    """A callback that reseeds random layers before an epoch, and measures and saves after it."""

    def __init__(self, run: _PhaseRun, state: State, on_epoch_end: EpochCallback):
        super().__init__()
        self.run, self.state, self.report = run, state, on_epoch_end

    def on_epoch_begin(self, epoch: int, logs: Epoch | None = None) -> None:
        """Reseed by seed, restarts and epoch alone, so that a resumed training repeats an uninterrupted one."""
        augmentation.reseed(self.run.trainee.random_layers, [self.run.config.seed, self.state.restarts, epoch])

    def on_epoch_end(self, epoch: int, logs: Epoch) -> None:
        """Measure and save the epoch, and stop where it was the last or needs a restart."""
        restarts = self.state.restarts
        self.state = self.run.end_epoch(self.state, float(logs["loss"]), self.report)
        self.model.stop_training = self.state.finished or self.state.restarts > restarts
