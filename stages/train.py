"""Train one architecture; write the model and its validation and test predictions."""

from mammo import models, params
from stages import fitting, outcome, run


def main(name: str) -> None:
    """Train `models.<name>` of params.yaml; a run that was killed goes on."""
    loaded = params.load()
    own = loaded.model(name)
    samples = fitting.open_samples(loaded.train)
    with (
        fitting.workplace(f"train {name}", own, loaded.train, loaded) as folder,
        outcome.tracked("train", name, own, loaded.train, loaded, own.weights_name, folder) as tracked,
    ):
        model = models.build(name, own, samples.image_shape, loaded.seed)
        result = fitting.fit(model, samples, loaded.train, own, loaded, loaded.seed, tracked.log_epoch, folder)
        outcome.write(name, model, result, samples, loaded.train, own, loaded.seed, loaded.predict.flips, tracked)


if __name__ == "__main__":
    run(main)
