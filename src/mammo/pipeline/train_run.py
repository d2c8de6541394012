"""One training as a stage runs it: samples, the folder to resume from, the tracked run, and the files it writes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from mammo import models, training
from mammo.core import resume, schemas
from mammo.core.config import Config, ModelConfig, TrainConfig, TrainingConfig
from mammo.core.files import atomic_write, write_table, write_text
from mammo.core.paths import AUGMENTED, HISTORY, MODELS, PIXELS, PREDICTIONS, data_fingerprint, resolve_path
from mammo.data.samples import Samples, open_store, open_without_lesion
from mammo.tracking import live_run, mlflow_client, model_uri
from mammo.tracking.live_run import StageRun, StageSpec
from mammo.training import augmentation_examples, health, split_predictions
from mammo.training.backend import configure_backend
from mammo.training.result import TrainingResult

MONITORED = ("val_auc", "val_loss", "val_sensitivity", "val_specificity")  # on validation rows, at a threshold of 0.5

EXAMPLES = 4  # training images that the report shows augmented


@dataclass(frozen=True)
class TrainingTask:
    """A training by a stage of dvc.yaml.

    model: its entry under `models`; None for continue_training. weights: the initial weights, as tables show them.
    parameters: of the run, beside those of `config`. foundations: further inputs, which decide whether unfinished
    work still counts.
    """

    stage: str
    model: str | None
    config: TrainingConfig
    weights: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    foundations: tuple[str, ...] = ()

    def spec(self, experiment: str) -> StageSpec:
        """Return the specification of the task's run in an MLflow experiment."""
        parameters, tags = {**self.config.parameters(), **self.parameters}, {"weights": self.weights}
        return StageSpec(self.stage, self.model, experiment, parameters, {"data": data_fingerprint()} | tags)

    def resume_key(self) -> str:
        """Return a hash of all inputs of the training: data, parameters, code, backend."""
        config = self.config
        settings = [part.model_dump_json() for part in (config.model, config.train, config.focal)]
        backend = f"{keras.backend.backend()} {keras.__version__}"
        name = f"{self.stage} {self.model or ''}"
        identity = [name, str(config.seed), data_fingerprint(), backend, *settings, *self.foundations]
        return resume.content_key(*identity, *resume.source_texts(models, training))


@dataclass(frozen=True)
class TrainingRun:
    """A training in progress: its samples, with and without their lesions, its checkpoints, and its tracked run."""

    config: TrainingConfig
    samples: Samples
    without_lesion: Samples
    checkpoint_dir: Path
    log: StageRun

    def save_examples(self, name: str) -> None:
        """Write a few training images under each augmentation, one field each, for the report to draw."""
        train = self.samples.take("train")
        rows = np.random.default_rng(self.config.seed).permutation(len(train.index))[:EXAMPLES]
        images = train.pixels(np.sort(rows))[..., 0].astype(np.uint8)
        strength = self.config.model.augmentation_strength
        changed = augmentation_examples.show_changes(self.config.train.augmentation, strength, images, self.config.seed)
        table = np.zeros(len(images), [(change, np.uint8, images.shape[1:]) for change in changed])
        for change, examples in changed.items():
            table[change] = examples
        with atomic_write(AUGMENTED / f"{name}.npy") as unfinished, unfinished.open("wb") as file:
            np.save(file, table)

    def save_predictions(self, name: str, model: keras.Model) -> pd.DataFrame:
        """Write and return the predictions of the validation and test rows (schemas.PREDICTIONS)."""
        flips = self.config.predict.flips
        predictions = split_predictions.add_scores_without_lesion(
            model,
            split_predictions.predict_splits(model, self.samples, split_predictions.HELD_OUT, flips),
            self.without_lesion,
            flips,
        )
        table = schemas.select_columns(predictions, schemas.PREDICTIONS)
        write_table(PREDICTIONS / f"{name}.csv", table, schemas.PREDICTIONS)
        return table

    def save(self, name: str, model: keras.Model, result: TrainingResult) -> None:
        """Write the model, predictions and history of `name`, and log them."""
        models.save(model, MODELS / f"{name}.keras")
        predictions = self.save_predictions(name, model)
        self.save_examples(name)
        write_text(HISTORY / f"{name}.csv", history_table(result).to_csv(index=False, lineterminator="\n"))
        self.log.log_metrics({"best_epoch": result.best_epoch + 1, "parameters": model.count_params()})
        self.log.log_metrics(validation_metrics(predictions))
        self.log.log_model(MODELS / f"{name}.keras")
        self.log.log_artifact(PREDICTIONS / f"{name}.csv")


def task_for(stage: str, name: str, config: Config) -> TrainingTask:
    """Return the task of training `models.<name>`; an unknown name lists the others."""
    training_config = config.for_model(name)
    return TrainingTask(stage, name, training_config, training_config.model.weights_name)


@contextmanager
def start(task: TrainingTask, experiment: str) -> Iterator[TrainingRun]:
    """Open the samples, the folder of unfinished work and the tracked run of a training.

    A killed task resumes from its folder, which is deleted when the block ends without an error.
    """
    samples = open_samples(task.config.train)
    with (
        resume_folder(task) as folder,
        live_run.resumable_run(task.spec(experiment), folder) as run,
    ):
        yield TrainingRun(task.config, samples, open_without_lesion(PIXELS), folder, run)


def open_samples(train_config: TrainConfig) -> Samples:
    """Return the samples of the array store, after configuring the Keras backend by `train_config`."""
    configure_backend(train_config)
    return open_store(PIXELS)


@contextmanager
def resume_folder(task: TrainingTask) -> Iterator[Path]:
    """Yield the folder of a task's unfinished work; it is deleted when the block ends without an error."""
    with resume.resumable_folder("training", task.resume_key()) as folder:
        yield folder


def find_weights(model_config: ModelConfig) -> Path | None:
    """Return the file of `weights`, downloaded where it is an MLflow URI; None for `none` and `imagenet`."""
    source = model_config.weights
    if source in ("none", "imagenet"):
        return None
    return mlflow_client.download_model(source) if model_uri.is_model_uri(source) else resolve_path(source)


def validation_metrics(predictions: pd.DataFrame) -> dict[str, float]:
    """Return the monitored metrics of the validation rows; the published numbers come from evaluate."""
    validation = predictions[predictions["split"] == "val"]
    metrics = health.validation_metrics(validation["label"].to_numpy(), validation["prob"].to_numpy())
    return {name: metrics[name] for name in MONITORED}


def history_table(result: TrainingResult) -> pd.DataFrame:
    """Return the history with the epoch, from 1, as its first column."""
    table = pd.DataFrame(result.history)
    table.insert(0, "epoch", range(1, len(table) + 1))
    return table
