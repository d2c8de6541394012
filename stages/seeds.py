"""Train one architecture under further seeds, to measure the spread of its AUC and as members of the ensembles."""

from dataclasses import replace

import keras

from mammo import models
from mammo.core import row_names
from mammo.core.config import load_config
from mammo.core.paths import MODELS, PREDICTIONS
from mammo.metrics import discrimination
from mammo.pipeline import train_run
from mammo.pipeline.train_run import TrainingRun
from mammo.training import trainer
from stages import run


def main(name: str) -> None:
    """Train `models.<name>` under `seeds.count` further seeds; skip seeds that are finished."""
    config = load_config()
    task = replace(train_run.task_for("seeds", name, config), parameters={"seeds": config.seeds.count})
    with train_run.start(task, config.tracking.experiment) as training:
        for seed, member in row_names.seed_member_names(name, config.seed, config.seeds).items():
            _train_member(training, seed, member)


def _train_member(training: TrainingRun, seed: int, member: str) -> None:
    """Train as `train` does, under another seed."""
    keras.backend.clear_session()
    config, samples = training.config.reseed(seed), training.samples
    model = models.build(config.model, samples.image_shape, seed, train_run.find_weights(config.model))
    with training.log.part(f"seed{seed}", {"seed": seed}) as part:
        result = trainer.fit(model, samples, config, training.checkpoint_dir / str(seed), part.log_epoch)
        models.save(model, MODELS / f"{member}.keras")
        predictions = training.save_predictions(member, model)
        validation = predictions[predictions["split"] == "val"]
        part.log_metrics({"val_auc": discrimination.auc(validation["label"], validation["prob"])})
        part.log_metrics({"best_epoch": result.best_epoch + 1})
    training.log.log_artifact(PREDICTIONS / f"{member}.csv")


if __name__ == "__main__":
    run(main)
