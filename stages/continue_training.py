"""Train a finished model on, under its own learning rate and number of epochs."""

from pathlib import Path

from mammo import models
from mammo.core.config import ContinueConfig, load_config
from mammo.core.files import sha256
from mammo.core.paths import MODELS, resolve_path
from mammo.pipeline import train_run
from mammo.tracking import mlflow_client
from stages import run

NAME = "continue_training"


def main() -> None:
    """Go on from `continue_training.checkpoint` under the recipe of `continue_training.model`, but for its own keys."""
    loaded = load_config()
    start = loaded.continue_training
    own = loaded.model(start.model).model_copy(
        update={"learning_rate": start.learning_rate, "head_epochs": 0, "epochs": start.epochs}
    )
    recipe = loaded.train.model_copy(update={"epochs": start.epochs})
    checkpoint = _checkpoint(start)
    samples = train_run.open_samples(recipe)
    with (
        train_run.workplace(NAME, own, recipe, loaded, sha256(models.existing(checkpoint))) as folder,
        train_run.tracked(
            NAME, None, own, recipe, loaded, start.start, folder, {"continued_from": start.start}
        ) as tracked,
    ):
        model = models.load(checkpoint)
        # Another order of batches and other augmentations than the ones already seen.
        result = train_run.fit(model, samples, recipe, own, loaded, loaded.seed + 1, tracked.log_epoch, folder)
        train_run.write(NAME, model, result, samples, recipe, own, loaded.seed + 1, loaded.predict.flips, tracked)


def _checkpoint(start: ContinueConfig) -> Path:
    """The .keras file to go on from."""
    if start.checkpoint is None:
        return MODELS / f"{start.model}.keras"
    if mlflow_client.is_model_uri(start.checkpoint):
        return mlflow_client.download_model(start.checkpoint)
    return resolve_path(start.checkpoint)


if __name__ == "__main__":
    run(main)
