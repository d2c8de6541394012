"""Continue the training of a finished model, with a learning rate and a number of epochs of its own."""

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
    """Continue from `continue_training.checkpoint`; by default from the finished `continue_training.model`."""
    config = load_config()
    settings = config.continue_training
    checkpoint = models.check_exists(_find_checkpoint(settings))
    parameters, foundations = {"continued_from": settings.start}, (sha256(checkpoint),)
    task = TrainingTask(NAME, None, _training_config(config), settings.start, parameters, foundations)
    with train_run.start(task, config.tracking.experiment) as training:
        model = models.load(checkpoint)
        result = trainer.fit(model, training.samples, training.config, training.checkpoint_dir, training.log.log_epoch)
        training.save(NAME, model, result)


def _training_config(config: Config) -> TrainingConfig:
    """Return the parameters of the model, with the learning rate and the epochs of `continue_training`."""
    settings = config.continue_training
    training = config.for_model(settings.model)
    rates = dict.fromkeys(("learning_rate", "head_learning_rate"), settings.learning_rate)
    changes = {**rates, "head_epochs": 0, "head_start": "random", "epochs": settings.epochs}  # the head is trained
    # Another seed: another order of batches and other augmentations than in the first training.
    return replace(training, model=training.model.model_copy(update=changes)).reseed(config.seed + 1)


def _find_checkpoint(settings: ContinueConfig) -> Path:
    """Return the .keras file to continue from, downloaded where it is an MLflow URI."""
    if settings.checkpoint is None:
        return MODELS / f"{settings.model}.keras"
    if model_uri.is_model_uri(settings.checkpoint):
        return mlflow_client.download_model(settings.checkpoint)
    return resolve_path(settings.checkpoint)


if __name__ == "__main__":
    run(main)
