"""Cross-validate one architecture over patient-grouped folds; write its out-of-fold predictions."""

from dataclasses import replace

import pandas as pd

from mammo.core import schemas
from mammo.core.config import SplitConfig, load_config
from mammo.core.files import write_table
from mammo.core.paths import OUT_OF_FOLD
from mammo.data.cohort import splits
from mammo.data.samples import Samples
from mammo.metrics import discrimination
from mammo.pipeline import train_run
from mammo.pipeline.train_run import TrainingRun
from mammo.training import folds
from stages import run

SEEDS_PER_REPEAT = 100  # between two draws of the folds; each fold has a seed of its own


def main(name: str) -> None:
    """Train `models.<name>` once per fold and draw of the folds.

    Test rows are not used, and no model is trained or monitored on its held-out fold.
    """
    config = load_config()
    repeats = config.cross_validate.repeats
    task = replace(
        train_run.task_for("cross_validate", name, config),
        parameters={"split": config.split.model_dump(), "repeats": repeats},
        foundations=(config.split.model_dump_json(),),
    )
    with train_run.start(task, config.tracking.experiment) as training:
        parts = [_predict_repeat(training, repeat, config.split) for repeat in range(repeats)]
        write_table(OUT_OF_FOLD / f"{name}.csv", pd.concat(parts, ignore_index=True), schemas.OUT_OF_FOLD)
        training.log.log_artifact(OUT_OF_FOLD / f"{name}.csv")


def _predict_repeat(training: TrainingRun, repeat: int, split: SplitConfig) -> pd.DataFrame:
    """Return the predictions of all folds of one draw (schemas.OUT_OF_FOLD)."""
    index = splits.redraw_folds(training.samples.index, repeat, split.folds, training.config.seed)
    samples = Samples(index, training.samples.images)
    seed = training.config.seed + SEEDS_PER_REPEAT * repeat
    repeated = replace(training, samples=samples, config=replace(training.config, seed=seed))
    parts = [_predict_fold(repeated, repeat, fold, split.val_fraction) for fold in range(split.folds)]
    return schemas.select_columns(pd.concat(parts).assign(repeat=repeat), schemas.OUT_OF_FOLD)


def _predict_fold(training: TrainingRun, repeat: int, fold: int, val_fraction: float) -> pd.DataFrame:
    """Train without one fold and return the predictions; `training` has the seed and the folds of this draw."""
    title = f"repeat{repeat}_fold{fold}" if repeat else f"fold{fold}"
    seed = training.config.seed
    samples = folds.fold_samples(training.samples, fold, val_fraction, seed)
    with training.log.part(title, {"repeat": repeat, "fold": fold, "seed": seed}) as part:
        predictions, result = folds.fit_fold(
            samples,
            replace(training.config, seed=seed + fold),
            train_run.find_weights(training.config.model),
            training.checkpoint_dir / title,
            part.log_epoch,
        )
        held_out = predictions[predictions["split"] == "oof"]
        part.log_metrics({"auc": discrimination.auc(held_out["label"], held_out["prob"])})
        part.log_metrics({"best_epoch": result.best_epoch + 1})
    return predictions.assign(fold=fold)


if __name__ == "__main__":
    run(main)
