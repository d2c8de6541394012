"""Train one architecture; write the model and its validation and test predictions."""

from mammo import models
from mammo.core.config import load_config
from mammo.pipeline import train_run
from stages import run


def main(name: str) -> None:
    """Train `models.<name>` of params.yaml; a run that was killed goes on."""
    loaded = load_config()
    own = loaded.model(name)
    samples = train_run.open_samples(loaded.train)
    with (
        train_run.workplace(f"train {name}", own, loaded.train, loaded) as folder,
        train_run.tracked("train", name, own, loaded.train, loaded, own.weights_name, folder) as tracked,
    ):
        model = models.build(name, own, samples.image_shape, loaded.seed)
        result = train_run.fit(model, samples, loaded.train, own, loaded, loaded.seed, tracked.log_epoch, folder)
        train_run.write(name, model, result, samples, loaded.train, own, loaded.seed, loaded.predict.flips, tracked)


if __name__ == "__main__":
    run(main)
