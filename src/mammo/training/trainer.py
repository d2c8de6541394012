"""Fitting one model: phases, optimiser, schedule, what monitors ask for, and which epoch is kept."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from mammo.core.config import Balance, FocalConfig, ModelConfig, TrainConfig
from mammo.data.samples import Samples
from mammo.training import augmentation, feature_cache, health, loader, losses, predict
from mammo.training.checkpoint import Checkpoints, Epoch, State
from mammo.training.health import TrainingError
from mammo.training.loader import Inputs
from mammo.training.logistic_head import fit_logistic_head
from mammo.training.optimizer import build_optimizer
from mammo.training.phases import Phase, training_phases
from mammo.training.result import EpochCallback, TrainingResult


@dataclass(frozen=True)
class Trainee:
    """What a phase trains: the network that is fed, where its inputs come from, and what is asked of validation."""

    network: keras.Model
    inputs: Inputs | None
    random_layers: list[keras.layers.Layer]
    probabilities: Callable[[], npt.NDArray[np.float64]]


def fit(
    model: keras.Model,
    train: Samples,
    validation: Samples,
    recipe: TrainConfig,
    own: ModelConfig,
    focal: FocalConfig,
    seed: int,
    log: EpochCallback,
    folder: Path,
) -> TrainingResult:
    """Train `model` in place and leave it at the epoch that `recipe.keep` names.

    "best" stops early and keeps the epoch of the best validation AUC; on a few dozen patients that is mostly the
    luckiest one, so "last" keeps the last epoch, when the learning rate has faded out.
    `log(epoch, values)` is called for every epoch. What `folder` holds of an earlier, killed call is gone on from: the
    result is the same. Test rows are never seen here. Raises TrainingError where restarts did not help.
    """
    if own.solver == "logistic_regression":
        return fit_logistic_head(model, train, validation, recipe, own, seed, log)
    history: list[Epoch] = []
    kept = -1
    for number, phase in enumerate(training_phases(recipe, own)):
        with _frozen_base(model, phase.frozen):
            trainee = _trainee(model, train, validation, recipe, own, seed + number, phase.frozen)
            run = _Run(trainee, train, validation, recipe, own, focal, phase, seed + number, folder / phase.name)
            offset = len(history)
            state = run.finish(partial(_log_from, log, offset))
        history += state.rows
        kept = offset + (state.best_row if recipe.keep == "best" else len(state.rows) - 1)
    return TrainingResult(history, kept)


def _log_from(log: EpochCallback, offset: int, row: int, values: Epoch) -> None:
    log(offset + row, values)


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


def _trainee(
    model: keras.Model,
    train: Samples,
    validation: Samples,
    recipe: TrainConfig,
    own: ModelConfig,
    seed: int,
    frozen: bool,
) -> Trainee:
    """The head on vectors of the frozen base, or the whole model behind its augmentation, on the device."""
    if not frozen:
        layers = augmentation.layers(recipe.augmentation, own.augmentation_strength, seed)
        network = with_augmentation(layers, model)
        return Trainee(network, None, [*layers, *model.layers], lambda: predict.probabilities(model, validation))
    head = feature_cache.head(model)
    copies = feature_cache.AugmentedFeatures(
        model, train, recipe.augmentation, own.augmentation_strength, seed, recipe.feature_copies
    )
    seen = feature_cache.extract_features(model, validation)
    return Trainee(
        head,
        lambda epoch, positions: copies(epoch)[positions],
        list(head.layers),
        lambda: keras.ops.convert_to_numpy(head.predict_on_batch(seen))[:, 0].astype(np.float64),
    )


def with_augmentation(layers: Sequence[keras.layers.Layer], model: keras.Model) -> keras.Model:
    """`model` behind `layers`; it shares the weights, and `model` itself stays bare."""
    image = keras.Input(model.input_shape[1:], name="image")
    x = image
    for layer in layers:
        x = layer(x)
    return keras.Model(image, model(x))


class _Run:
    """One phase: attempts until one of them reaches its end."""

    def __init__(
        self,
        trainee: Trainee,
        train: Samples,
        validation: Samples,
        recipe: TrainConfig,
        own: ModelConfig,
        focal: FocalConfig,
        phase: Phase,
        seed: int,
        folder: Path,
    ):
        self.trainee, self.train, self.validation = trainee, train, validation
        self.recipe, self.own, self.focal, self.phase, self.seed = recipe, own, focal, phase, seed
        self.checkpoints = Checkpoints(folder)

    def finish(self, log: EpochCallback) -> State:
        """Train to the end, or fail; leaves the network with the weights that are kept."""
        state = self.checkpoints.state()
        for row, values in enumerate(state.rows if state else []):
            log(row, values)
        self._compile(state or State())
        if state is None:
            state = State()
            self.checkpoints.save(state, self._variables())
        while not state.finished:
            self._compile(state)
            self.checkpoints.restore(state.epoch, self._variables())
            state = self._attempt(state, log)
        self.checkpoints.restore(state.best if self.recipe.keep == "best" else state.epoch, self._variables())
        self.trainee.network.optimizer.finalize_variable_values(self.trainee.network.trainable_variables)
        return state

    def _attempt(self, state: State, log: EpochCallback) -> State:
        balance: Balance = "sampling" if state.restarts else self.recipe.balance
        data = loader.TrainingBatches(
            self.train,
            self.recipe.batch_size,
            balance,
            self.seed + 10_000 * state.restarts,
            mixup=self.recipe.mixup,
            inputs=self.trainee.inputs,
            epoch=state.epoch,
        )
        watch = _Watch(self, state, log)
        # Keras would shuffle the batches once more, with Python's global generator.
        self.trainee.network.fit(
            data,
            initial_epoch=state.epoch,
            epochs=self.phase.epochs,
            callbacks=[watch],
            shuffle=False,
            verbose=2,
        )
        return watch.state

    def _compile(self, state: State) -> None:
        steps = -(-len(self.train.index) // self.recipe.batch_size)
        rate = self.phase.learning_rate * self.recipe.monitors.slowdown**state.restarts
        optimizer = build_optimizer(rate, self.recipe, steps * self.phase.epochs)
        optimizer.build(self.trainee.network.trainable_variables)
        loss = losses.get_loss(self.own.loss, self.focal, self.recipe.label_smoothing)
        self.trainee.network.compile(optimizer, loss, jit_compile=self.recipe.xla)

    def _variables(self) -> list[keras.Variable]:
        network = self.trainee.network
        return [*network.weights, *network.optimizer.variables]

    def after(self, state: State, loss: float, log: EpochCallback) -> State:
        """What the epoch that has just ended leads to; its snapshot is on disk when this returns."""
        settings = self.recipe.monitors
        with self._averaged():
            values = health.measure_epoch(self.validation.labels, self.trainee.probabilities(), loss, settings)
        rate = float(keras.ops.convert_to_numpy(self.trainee.network.optimizer.learning_rate))
        values |= {"loss": loss, "learning_rate": rate, "restarts": float(state.restarts)}
        values = dict(sorted(values.items()))
        rows = [*state.rows, values]
        log(len(state.rows), values)
        health.warn(rows)
        since_restart = [row for row in rows if row["restarts"] == state.restarts]
        objection = health.restart_reason(since_restart, settings)
        if objection is not None:
            return self._restarted(state.but(rows=rows), objection)
        epoch = state.epoch + 1
        better = state.best == 0 or values["val_auc"] > rows[state.best_row]["val_auc"]
        state = state.but(
            epoch=epoch,
            rows=rows,
            good=state.good if values["val_collapsed"] else epoch,
            best=epoch if better else state.best,
            best_row=len(rows) - 1 if better else state.best_row,
        )
        out_of_patience = self.recipe.keep == "best" and epoch - state.best >= self.recipe.patience
        state = state.but(finished=epoch == self.phase.epochs or out_of_patience)
        self.checkpoints.save(state, self._variables())
        return state

    def _restarted(self, state: State, objection: str) -> State:
        """Back at the last good epoch, or TrainingError when that has been tried often enough."""
        if state.restarts == self.recipe.monitors.restarts:
            raise TrainingError(
                f"epoch {state.epoch + 1}: {objection}; lower the learning rate "
                f"({state.restarts} restarts with lower ones did not help), or look at data/data_report/data.html"
            )
        health.log.warning(
            "epoch %d: %s; back to epoch %d with a lower learning rate", state.epoch + 1, objection, state.good
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
        if not self.recipe.ema:
            yield
            return
        weights = self.trainee.network.trainable_variables
        own = [keras.ops.convert_to_numpy(variable.value) for variable in weights]
        self.trainee.network.optimizer.finalize_variable_values(weights)
        for variable in weights:  # on JAX they are the optimiser's own arrays, which the next step would delete
            variable.assign(keras.ops.convert_to_numpy(variable.value).copy())
        try:
            yield
        finally:
            for variable, value in zip(weights, own, strict=True):
                variable.assign(value)


class _Watch(keras.callbacks.Callback):
    """Between Keras' epochs: draws new seeds, hands the epoch to the run, and stops where the run says so."""

    def __init__(self, run: _Run, state: State, log: EpochCallback):
        super().__init__()
        self.run, self.state, self.log = run, state, log

    def on_epoch_begin(self, epoch: int, logs: Epoch | None = None) -> None:
        """Randomness depends on the seed and the epoch alone, so that a resumed training repeats an unbroken one."""
        _reseed(self.run.trainee.random_layers, [self.run.seed, self.state.restarts, epoch])

    def on_epoch_end(self, epoch: int, logs: Epoch) -> None:
        """Measure, judge, save."""
        restarts = self.state.restarts
        self.state = self.run.after(self.state, float(logs["loss"]), self.log)
        self.model.stop_training = self.state.finished or self.state.restarts > restarts


def _reseed(layers: list[keras.layers.Layer], seed: list[int]) -> None:
    """Keras saves no seeds: a loaded model's dropout has drawn its own from Python's global generator."""
    generators = [getattr(layer, "seed_generator", None) or getattr(layer, "generator", None) for layer in layers]
    for number, generator in enumerate(filter(None, generators)):
        drawn = np.random.SeedSequence([*seed, number]).generate_state(1)[0]
        generator.state.assign([int(drawn), 0])
