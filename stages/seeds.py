"""Train one architecture again under further seeds: how much of its AUC is chance, and members for the ensembles."""

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
            "seeds", name, own, loaded.train, loaded, own.weights_name, folder, {"seeds": loaded.seeds.count}
        ) as tracked,
    ):
        for seed, member in members.of_seeds(name, loaded.seed, loaded.seeds).items():
            _train(name, seed, member, samples, loaded, tracked, folder / str(seed))


def _train(name: str, seed: int, member: str, samples: Samples, loaded: Params, tracked: Tracked, folder: Path) -> None:
    """What `train` does, under another seed and without figures."""
    keras.backend.clear_session()
    own = loaded.model(name)
    model = models.build(name, own, samples.image_shape, seed)
    with tracked.part(f"seed{seed}", {"seed": seed}) as part:
        result = fitting.fit(model, samples, loaded.train, own, loaded, seed, part.log_epoch, folder)
        models.save(model, MODELS / f"{member}.keras")
        predictions = outcome.write_predictions(member, model, samples, loaded.predict.flips)
        validation = predictions[predictions["split"] == "val"]
        part.log_metrics({"val_auc": metrics.auc(validation["label"], validation["prob"])})
        part.log_metrics({"kept_epoch": result.kept_epoch + 1})
    tracked.log_artifact(PREDICTIONS / f"{member}.csv")


if __name__ == "__main__":
    run(main)
