"""Train one architecture again under further seeds: how much of its AUC is chance, and members for the ensembles."""

from pathlib import Path

import keras

from mammo import models
from mammo.core.config import Config, load_config
from mammo.core.paths import MODELS, PREDICTIONS
from mammo.data.samples import Samples
from mammo.evaluation import row_names
from mammo.metrics import discrimination
from mammo.pipeline import train_run
from mammo.tracking.live_run import StageRun
from stages import run


def main(name: str) -> None:
    """Train `models.<name>` under `seeds.count` further seeds; a seed that is finished is not trained again."""
    loaded = load_config()
    own = loaded.model(name)
    samples = train_run.open_samples(loaded.train)
    with (
        train_run.workplace(f"seeds {name}", own, loaded.train, loaded) as folder,
        train_run.tracked(
            "seeds", name, own, loaded.train, loaded, own.weights_name, folder, {"seeds": loaded.seeds.count}
        ) as tracked,
    ):
        for seed, member in row_names.seed_member_names(name, loaded.seed, loaded.seeds).items():
            _train(name, seed, member, samples, loaded, tracked, folder / str(seed))


def _train(
    name: str, seed: int, member: str, samples: Samples, loaded: Config, tracked: StageRun, folder: Path
) -> None:
    """What `train` does, under another seed and without figures."""
    keras.backend.clear_session()
    own = loaded.model(name)
    model = models.build(name, own, samples.image_shape, seed)
    with tracked.part(f"seed{seed}", {"seed": seed}) as part:
        result = train_run.fit(model, samples, loaded.train, own, loaded, seed, part.log_epoch, folder)
        models.save(model, MODELS / f"{member}.keras")
        predictions = train_run.write_predictions(member, model, samples, loaded.predict.flips)
        validation = predictions[predictions["split"] == "val"]
        part.log_metrics({"val_auc": discrimination.auc(validation["label"], validation["prob"])})
        part.log_metrics({"kept_epoch": result.kept_epoch + 1})
    tracked.log_artifact(PREDICTIONS / f"{member}.csv")


if __name__ == "__main__":
    run(main)
