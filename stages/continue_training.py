"""Train a finished model on, under its own learning rate and number of epochs."""

from mammo import batches, models, params, tracking, training
from stages import outcome, run
from stages.paths import MODELS, PIXELS, fingerprint

NAME = "continue_training"


def main() -> None:
    """Continue from the checkpoint of `continue_training.model`; the rest of its recipe stays."""
    loaded = params.load()
    start = loaded.continue_training
    own = loaded.model(start.model).model_copy(update={"learning_rate": start.learning_rate})
    recipe = loaded.train.model_copy(update={"epochs": start.epochs})
    training.use_deterministic_kernels()
    samples = batches.open_store(PIXELS)
    with tracking.run(
        NAME,
        experiment=loaded.tracking.experiment,
        parameters=outcome.parameters(loaded.seed, recipe, own, loaded.focal) | {"continued_from": start.model},
        tags={"data": fingerprint(), "weights": start.model},
    ) as tracked:
        model = models.load(MODELS / f"{start.model}.keras")
        # Another order of batches and other augmentations than the ones already seen.
        result = training.fit(
            model,
            samples.take("train"),
            samples.take("val"),
            recipe,
            own,
            loaded.focal,
            loaded.seed + 1,
            tracked.log_epoch,
        )
        outcome.write(NAME, model, result, samples, tracked)


if __name__ == "__main__":
    run(main)
