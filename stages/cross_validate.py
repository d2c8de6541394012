"""Cross-validate one architecture over patient-grouped folds; the folds' models become the members of one model."""

from dataclasses import replace
from pathlib import Path

import keras
import pandas as pd

from mammo import models
from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.files import write_table
from mammo.core.paths import MEMBERS, MODELS, OUT_OF_FOLD, PREDICTIONS
from mammo.data.cohort import splits
from mammo.data.samples import Samples
from mammo.evaluation import fold_members
from mammo.metrics import discrimination
from mammo.models import averaging
from mammo.pipeline import train_run
from mammo.pipeline.train_run import TrainingRun
from mammo.training import folds, split_predictions
from stages import run

SEEDS_PER_REPEAT = 100  # between two draws of the folds; each fold has a seed of its own
MEMBER = "member.keras"


def main(name: str) -> None:
    """Train `models.<name>` once per fold and draw of the folds; write predictions, and the mean of the models.

    No model is trained or monitored on its held-out fold or on test rows.
    """
    config = load_config()
    repeats, val_fraction = config.cross_validate.repeats, config.cross_validate.val_fraction
    task = replace(
        train_run.task_for("cross_validate", name, config),
        parameters={"split": config.split.model_dump(), "repeats": repeats, "val_fraction": val_fraction},
        foundations=(config.split.model_dump_json(), f"{repeats} {val_fraction}"),
    )
    with train_run.start(task, config.tracking.experiment) as training:
        parts = [_predict_repeat(training, repeat, config.split.folds, val_fraction) for repeat in range(repeats)]
        _save(name, pd.concat(parts, ignore_index=True), training)


def _predict_repeat(training: TrainingRun, repeat: int, count: int, val_fraction: float) -> pd.DataFrame:
    """Return the predictions of all `count` folds of one draw (schemas.OUT_OF_FOLD)."""
    index = splits.redraw_folds(training.samples.index, repeat, count, training.config.seed)
    samples = replace(training.samples, index=index)
    seed = training.config.seed + SEEDS_PER_REPEAT * repeat
    repeated = replace(training, samples=samples, config=replace(training.config, seed=seed))
    parts = [_predict_fold(repeated, repeat, fold, val_fraction) for fold in range(count)]
    return schemas.select_columns(pd.concat(parts).assign(repeat=repeat), schemas.OUT_OF_FOLD)


def _predict_fold(training: TrainingRun, repeat: int, fold: int, val_fraction: float) -> pd.DataFrame:
    """Train without one fold, save the member and return its predictions; `training` has the draw's seed and folds."""
    title = f"repeat{repeat}_fold{fold}" if repeat else f"fold{fold}"
    seed = training.config.seed
    samples = folds.fold_samples(training.samples, fold, val_fraction, seed)
    with training.log.part(title, {"repeat": repeat, "fold": fold, "seed": seed}) as part:
        model, result = folds.fit_fold(
            samples,
            replace(training.config, seed=seed + fold),
            train_run.find_weights(training.config.model),
            training.checkpoint_dir / title,
            part.log_epoch,
        )
        models.save(model, training.checkpoint_dir / title / MEMBER)
        predictions = _predict(model, samples, training)
        held_out = predictions[predictions["split"] == "oof"]
        part.log_metrics({"auc": discrimination.auc(held_out["label"], held_out["prob"])})
        part.log_metrics({"best_epoch": result.best_epoch + 1})
    return predictions.assign(fold=fold)


def _predict(model: keras.Model, samples: Samples, training: TrainingRun) -> pd.DataFrame:
    """Return the predictions of a member: its inner validation, its held-out fold, and the test rows."""
    flips = training.config.predict.flips
    held_out = folds.predict_held_out(model, samples, flips)
    test = split_predictions.predict_splits(model, training.samples, ("test",), flips)
    inner, reported = held_out[held_out["split"] == "val"], pd.concat([held_out[held_out["split"] == "oof"], test])
    return pd.concat(
        [inner, split_predictions.add_scores_without_lesion(model, reported, training.without_lesion, flips)]
    )


def _save(name: str, predictions: pd.DataFrame, training: TrainingRun) -> None:
    """Write and log the members' predictions, their mean, and the one model that gives the mean."""
    row = f"{MEMBERS}{name}"
    write_table(OUT_OF_FOLD / f"{name}.csv", predictions, schemas.OUT_OF_FOLD)
    write_table(PREDICTIONS / f"{row}.csv", fold_members.average_members(predictions), schemas.PREDICTIONS)
    paths = sorted(training.checkpoint_dir.glob(f"*/{MEMBER}"), key=_training_order)
    models.save(averaging.average_members([models.load(path) for path in paths]), MODELS / f"{row}.keras")
    training.log.log_artifact(OUT_OF_FOLD / f"{name}.csv")
    training.log.log_artifact(PREDICTIONS / f"{row}.csv")
    training.log.log_model(MODELS / f"{row}.keras")


def _training_order(path: Path) -> tuple[int, str]:
    """Order repeat10 after repeat9."""
    return len(path.parent.name), path.parent.name


if __name__ == "__main__":
    run(main)
