"""One fold of a cross-validation: its samples by role, and the training of a model without it."""

from pathlib import Path

import keras
import pandas as pd

from mammo import models
from mammo.core.config import TrainingConfig
from mammo.data.cohort import splits
from mammo.data.samples import Samples
from mammo.training import split_predictions, trainer
from mammo.training.result import EpochCallback, TrainingResult


def fold_samples(samples: Samples, fold: int, val_fraction: float, seed: int) -> Samples:
    """Return the training patients as split train, val (an inner validation) and oof (the held-out fold)."""
    return Samples(splits.carve_inner_validation(samples.index, fold, val_fraction, seed), samples.images)


def fit_fold(
    samples: Samples,
    config: TrainingConfig,
    weights_path: Path | None,
    checkpoint_dir: Path,
    on_epoch_end: EpochCallback,
) -> tuple[keras.Model, TrainingResult]:
    """Train a model on `samples` (see fold_samples); a killed training resumes, a finished one is not repeated."""
    keras.backend.clear_session()
    model = models.build(config.model, samples.image_shape, initial_seed(config), weights_path)
    result = trainer.fit(model, samples, config, checkpoint_dir, on_epoch_end)
    return model, result


def initial_seed(config: TrainingConfig) -> int:
    """Return the seed of the initial weights: a base of which nothing learns has the same ones in all folds."""
    return config.seed if config.model.trainable else config.base_seed


def predict_held_out(model: keras.Model, samples: Samples, flips: bool) -> pd.DataFrame:
    """Return a fold's predictions of split val and oof of `samples` (see fold_samples)."""
    return split_predictions.predict_splits(model, samples, ("val", "oof"), flips)
