"""Train one architecture again under further seeds: how much of its AUC is chance, and members for the ensembles."""

from functools import partial
from pathlib import Path

import keras

from mammo import metrics, models, params
from mammo.batches import Samples
from mammo.params import Params
from mammo.tracking import Tracked
from stages import fitting, members, outcome, run
from stages.paths import MODELS, PREDICTIONS


def main(name: str) -> None:
    """Train `models.<name>` under `seeds.count` further seeds; a seed that is finished is not trained again."""
    loaded = params.load()
    own = loaded.model(name)
    samples = fitting.open_samples(loaded.train)
    with (
        fitting.workplace(f"seeds {name}", own, loaded.train, loaded) as folder,
        outcome.tracked(
            "seeds", name, own, loaded.train, loaded, own.weights_name, {"seeds": loaded.seeds.count}
        ) as tracked,
    ):
        for seed, member in members.of_seeds(name, loaded.seed, loaded.seeds).items():
            _train(name, seed, member, samples, loaded, tracked, folder / str(seed))


def _train(name: str, seed: int, member: str, samples: Samples, loaded: Params, tracked: Tracked, folder: Path) -> None:
    """What `train` does, under another seed and without figures."""
    keras.backend.clear_session()
    own = loaded.model(name)
    model = models.build(name, own, samples.image_shape, seed)
    log = partial(tracked.log_epoch, prefix=f"seed{seed}_")
    result = fitting.fit(model, samples, loaded.train, own, loaded, seed, log, folder)
    models.save(model, MODELS / f"{member}.keras")
    predictions = outcome.write_predictions(member, model, samples, loaded.predict.flips)
    tracked.log_artifact(PREDICTIONS / f"{member}.csv")
    validation = predictions[predictions["split"] == "val"]
    tracked.log_metrics(
        {
            f"seed{seed}_val_auc": metrics.auc(validation["label"], validation["prob"]),
            f"seed{seed}_kept_epoch": result.kept_epoch + 1,
        }
    )


if __name__ == "__main__":
    run(main)
