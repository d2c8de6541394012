"""Train a finished model on, under its own learning rate and number of epochs."""

from pathlib import Path

from mammo import models, params, project, tables, tracking
from mammo.params import ContinueParams
from stages import fitting, outcome, run
from stages.paths import MODELS

NAME = "continue_training"


def main() -> None:
    """Go on from `continue_training.checkpoint` under the recipe of `continue_training.model`, but for its own keys."""
    loaded = params.load()
    start = loaded.continue_training
    own = loaded.model(start.model).model_copy(
        update={"learning_rate": start.learning_rate, "head_epochs": 0, "epochs": start.epochs}
    )
    recipe = loaded.train.model_copy(update={"epochs": start.epochs})
    checkpoint = _checkpoint(start)
    samples = fitting.open_samples(recipe)
    with (
        fitting.workplace(NAME, own, recipe, loaded, tables.sha256(models.existing(checkpoint))) as folder,
        outcome.tracked(
            NAME, None, own, recipe, loaded, start.start, folder, {"continued_from": start.start}
        ) as tracked,
    ):
        model = models.load(checkpoint)
        # Another order of batches and other augmentations than the ones already seen.
        result = fitting.fit(model, samples, recipe, own, loaded, loaded.seed + 1, tracked.log_epoch, folder)
        outcome.write(NAME, model, result, samples, recipe, own, loaded.seed + 1, loaded.predict.flips, tracked)


def _checkpoint(start: ContinueParams) -> Path:
    """The .keras file to go on from."""
    if start.checkpoint is None:
        return MODELS / f"{start.model}.keras"
    if tracking.is_uri(start.checkpoint):
        return tracking.model_file(start.checkpoint)
    return project.resolve(start.checkpoint)


if __name__ == "__main__":
    run(main)
