"""Train a finished model on, under its own learning rate and number of epochs."""

from dataclasses import replace
from pathlib import Path

from mammo import models
from mammo.core.config import Config, ContinueConfig, TrainingConfig, load_config
from mammo.core.files import sha256
from mammo.core.paths import MODELS, resolve_path
from mammo.pipeline import train_run
from mammo.pipeline.train_run import TrainingTask
from mammo.tracking import mlflow_client, model_uri
from mammo.training import trainer
from stages import run

NAME = "continue_training"


def main() -> None:
    """Train `continue_training.checkpoint` on, with the settings of `continue_training.model` but for its own keys."""
    config = load_config()
    start = config.continue_training
    checkpoint = models.existing(_checkpoint(start))
    parameters, foundations = {"continued_from": start.start}, (sha256(checkpoint),)
    task = TrainingTask(NAME, None, _continued(config), start.start, parameters, foundations)
    with train_run.start(task, config.tracking.experiment) as training:
        model = models.load(checkpoint)
        result = trainer.fit(model, training.samples, training.config, training.checkpoint_dir, training.log.log_epoch)
        training.save(NAME, model, result)


def _continued(config: Config) -> TrainingConfig:
    """Return the model's settings with those of `continue_training`."""
    start = config.continue_training
    training = config.for_model(start.model)
    changes = {"learning_rate": start.learning_rate, "head_epochs": 0, "epochs": start.epochs}
    # Another order of batches and other augmentations than the ones already seen.
    return replace(training, model=training.model.model_copy(update=changes), seed=config.seed + 1)


def _checkpoint(start: ContinueConfig) -> Path:
    """Return the .keras file to go on from."""
    if start.checkpoint is None:
        return MODELS / f"{start.model}.keras"
    if model_uri.is_model_uri(start.checkpoint):
        return mlflow_client.download_model(start.checkpoint)
    return resolve_path(start.checkpoint)


if __name__ == "__main__":
    run(main)
