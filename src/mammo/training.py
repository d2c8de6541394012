"""Fitting one model: phases, optimiser, schedule, what monitors ask for, and which epoch is kept."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mammo import augmentation, batches, features, inference, losses, monitors
from mammo.batches import Inputs, Samples
from mammo.checkpoints import Checkpoints, Epoch, State
from mammo.monitors import TrainingError
from mammo.params import Balance, FocalParams, ModelParams, TrainParams

Log = Callable[[int, Epoch], None]


@dataclass(frozen=True)
class Fitted:
    """What `fit` returns beside the trained weights: all epochs, and the one whose weights were kept (from 0)."""

    history: list[Epoch]
    kept_epoch: int


@dataclass(frozen=True)
class Phase:
    """Some epochs under one learning rate; frozen: the base stays as it is, and the head trains on its vectors."""

    name: str
    epochs: int
    learning_rate: float
    frozen: bool


@dataclass(frozen=True)
class Trainee:
    """What a phase trains: the network that is fed, where its inputs come from, and what is asked of validation."""

    network: keras.Model
    inputs: Inputs | None
    random_layers: list[keras.layers.Layer]
    probabilities: Callable[[], npt.NDArray[np.float64]]


def use_deterministic_kernels() -> None:
    """The same seed gives the same weights: on TensorFlow that needs its deterministic kernels."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def use_precision(precision: str) -> None:
    """`mixed`: 16-bit arithmetic with 32-bit weights from here on, where there is a GPU; else 32 bits."""
    policy = "mixed_bfloat16" if precision == "mixed" and _has_gpu() else "float32"
    keras.config.set_dtype_policy(policy)


def _has_gpu() -> bool:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    if backend == "jax":
        import jax

        return bool(jax.default_backend() == "gpu")
    if backend == "torch":
        import torch

        return bool(torch.cuda.is_available())
    return False


def phases(recipe: TrainParams, own: ModelParams) -> list[Phase]:
    """The head alone first, where `head_epochs` says so, or all the time, where nothing of the base is `trainable`."""
    epochs = own.epochs or recipe.epochs
    if not own.trainable:
        return [Phase("head", epochs, own.learning_rate, frozen=True)]
    head = [Phase("head", own.head_epochs, own.head_learning_rate, frozen=True)] if own.head_epochs else []
    return [*head, Phase("all", epochs, own.learning_rate, frozen=False)]


def fit(
    model: keras.Model,
    train: Samples,
    validation: Samples,
    recipe: TrainParams,
    own: ModelParams,
    focal: FocalParams,
    seed: int,
    log: Log,
    folder: Path,
) -> Fitted:
    """Train `model` in place and leave it at the epoch that `recipe.keep` names.

    "best" stops early and keeps the epoch of the best validation AUC; on a few dozen patients that is mostly the
    luckiest one, so "last" keeps the last epoch, when the learning rate has faded out.
    `log(epoch, values)` is called for every epoch. What `folder` holds of an earlier, killed call is gone on from: the
    result is the same. Test rows are never seen here. Raises TrainingError where restarts did not help.
    """
    if own.solver == "logistic_regression":
        return _regress(model, train, validation, recipe, own, seed, log)
    history: list[Epoch] = []
    kept = -1
    for number, phase in enumerate(phases(recipe, own)):
        with _frozen_base(model, phase.frozen):
            trainee = _trainee(model, train, validation, recipe, own, seed + number, phase.frozen)
            run = _Run(trainee, train, validation, recipe, own, focal, phase, seed + number, folder / phase.name)
            offset = len(history)
            state = run.finish(partial(_log_from, log, offset))
        history += state.rows
        kept = offset + (state.best_row if recipe.keep == "best" else len(state.rows) - 1)
    return Fitted(history, kept)


def _log_from(log: Log, offset: int, row: int, values: Epoch) -> None:
    log(offset + row, values)


@contextmanager
def _frozen_base(model: keras.Model, frozen: bool) -> Iterator[None]:
    """The base's layers do not learn, and its normalisation keeps its statistics, while the block runs."""
    layers = features.base_layers(model) if frozen else []
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
    recipe: TrainParams,
    own: ModelParams,
    seed: int,
    frozen: bool,
) -> Trainee:
    """The head on vectors of the frozen base, or the whole model behind its augmentation, on the device."""
    if not frozen:
        layers = augmentation.layers(recipe.augmentation, own.augmentation_strength, seed)
        network = behind(layers, model)
        return Trainee(network, None, [*layers, *model.layers], lambda: inference.probabilities(model, validation))
    head = features.head(model)
    copies = features.Copies(model, train, recipe.augmentation, own.augmentation_strength, seed, recipe.feature_copies)
    seen = features.of(model, validation)
    return Trainee(
        head,
        lambda epoch, positions: copies(epoch)[positions],
        list(head.layers),
        lambda: keras.ops.convert_to_numpy(head.predict_on_batch(seen))[:, 0].astype(np.float64),
    )


def behind(layers: Sequence[keras.layers.Layer], model: keras.Model) -> keras.Model:
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
        recipe: TrainParams,
        own: ModelParams,
        focal: FocalParams,
        phase: Phase,
        seed: int,
        folder: Path,
    ):
        self.trainee, self.train, self.validation = trainee, train, validation
        self.recipe, self.own, self.focal, self.phase, self.seed = recipe, own, focal, phase, seed
        self.checkpoints = Checkpoints(folder)

    def finish(self, log: Log) -> State:
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

    def _attempt(self, state: State, log: Log) -> State:
        balance: Balance = "sampling" if state.restarts else self.recipe.balance
        data = batches.TrainingBatches(
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
        optimizer = _optimizer(rate, self.recipe, steps * self.phase.epochs)
        optimizer.build(self.trainee.network.trainable_variables)
        loss = losses.get(self.own.loss, self.focal, self.recipe.label_smoothing)
        self.trainee.network.compile(optimizer, loss, jit_compile=self.recipe.xla)

    def _variables(self) -> list[keras.Variable]:
        network = self.trainee.network
        return [*network.weights, *network.optimizer.variables]

    def after(self, state: State, loss: float, log: Log) -> State:
        """What the epoch that has just ended leads to; its snapshot is on disk when this returns."""
        settings = self.recipe.monitors
        with self._averaged():
            values = monitors.measure(self.validation.labels, self.trainee.probabilities(), loss, settings)
        rate = float(keras.ops.convert_to_numpy(self.trainee.network.optimizer.learning_rate))
        values |= {"loss": loss, "learning_rate": rate, "restarts": float(state.restarts)}
        values = dict(sorted(values.items()))
        rows = [*state.rows, values]
        log(len(state.rows), values)
        monitors.warn(rows)
        since_restart = [row for row in rows if row["restarts"] == state.restarts]
        objection = monitors.objection(since_restart, settings)
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
        monitors.log.warning(
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

    def __init__(self, run: _Run, state: State, log: Log):
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


def _optimizer(learning_rate: float, recipe: TrainParams, steps: int) -> keras.optimizers.Optimizer:
    """AdamW under a linear warm-up and a cosine decay over all steps."""
    warmup = int(steps * recipe.warmup_fraction)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / 10 if warmup else learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=learning_rate if warmup else None,
        warmup_steps=warmup,
        alpha=0.01,
    )
    average = {"use_ema": True, "ema_momentum": recipe.ema} if recipe.ema else {}
    return keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, clipnorm=recipe.clip_norm, **average)


def _regress(
    model: keras.Model,
    train: Samples,
    validation: Samples,
    recipe: TrainParams,
    own: ModelParams,
    seed: int,
    log: Log,
) -> Fitted:
    """Logistic regression with an L2 penalty on the frozen base's vectors, written into the model's own layers.

    All augmented copies are rows; `inverse_l2` is divided by their number, so that it means the same for any.
    """
    if own.trainable or own.head_units:
        raise TrainingError("solver: logistic_regression needs `trainable: []` and `head_units: []`")
    copies = features.Copies(model, train, recipe.augmentation, own.augmentation_strength, seed, recipe.feature_copies)
    vectors = np.concatenate([copies(copy) for copy in range(copies.count)])
    labels = np.tile(train.labels, copies.count)
    scaler = StandardScaler().fit(vectors)
    weights = None if recipe.balance == "none" else "balanced"
    regression = LogisticRegression(C=own.inverse_l2 / copies.count, class_weight=weights, max_iter=2000)
    regression.fit(scaler.transform(vectors), labels)
    norm = model.get_layer("pool_norm")
    gamma = np.sqrt((scaler.var_ + norm.epsilon) / np.where(scaler.var_ > 0, scaler.var_, 1))
    norm.set_weights([gamma, np.zeros_like(scaler.mean_), scaler.mean_, scaler.var_])
    model.get_layer("logit").set_weights([regression.coef_.T, regression.intercept_])
    loss = float(
        keras.ops.mean(
            keras.losses.binary_crossentropy(
                train.labels[:, np.newaxis].astype(np.float32), features.head(model).predict_on_batch(copies(0))
            )
        )
    )
    prob = inference.probabilities(model, validation)
    values = monitors.measure(validation.labels, prob, loss, recipe.monitors) | {"loss": loss}
    log(0, values)
    return Fitted([values], 0)
