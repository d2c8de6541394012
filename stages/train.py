"""Train one architecture; write the model and its validation and test predictions."""

from mammo import batches, models, params, tracking, training
from stages import fitting, outcome, run
from stages.paths import PIXELS, fingerprint


def main(name: str) -> None:
    """Train `models.<name>` of params.yaml; a run that was killed goes on."""
    loaded = params.load()
    own = loaded.model(name)
    training.use_deterministic_kernels()
    training.use_precision(loaded.train.precision)
    samples = batches.open_store(PIXELS)
    with (
        fitting.workplace(f"train {name}", own, loaded.train, loaded) as folder,
        tracking.run(
            "train",
            model=name,
            experiment=loaded.tracking.experiment,
            parameters=outcome.parameters(loaded.seed, loaded.train, own, loaded.focal, loaded.predict),
            tags={"data": fingerprint(), "weights": own.weights_name},
            resources=True,
        ) as tracked,
    ):
        model = models.build(name, own, samples.image_shape, loaded.seed)
        result = fitting.fit(model, samples, loaded.train, own, loaded, loaded.seed, tracked.log_epoch, folder)
        outcome.write(name, model, result, samples, loaded.train, own, loaded.seed, loaded.predict.flips, tracked)


if __name__ == "__main__":
    run(main)
