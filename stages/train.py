"""Train one architecture; write the model and its validation and test predictions."""

from mammo import batches, models, params, tracking, training
from stages import outcome, run
from stages.paths import PIXELS, fingerprint


def main(name: str) -> None:
    """Train `models.<name>` of params.yaml."""
    loaded = params.load()
    own = loaded.model(name)
    training.use_deterministic_kernels()
    samples = batches.open_store(PIXELS)
    with tracking.run(
        "train",
        model=name,
        experiment=loaded.tracking.experiment,
        parameters=outcome.parameters(loaded.seed, loaded.train, own, loaded.focal),
        tags={"data": fingerprint(), "weights": own.weights},
    ) as tracked:
        model = models.build(name, own, samples.image_shape, loaded.seed)
        result = training.fit(
            model,
            samples.take("train"),
            samples.take("val"),
            loaded.train,
            own,
            loaded.focal,
            loaded.seed,
            tracked.log_epoch,
        )
        outcome.write(name, model, result, samples, tracked)


if __name__ == "__main__":
    run(main)
