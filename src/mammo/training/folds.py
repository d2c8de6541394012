"""Fitting one fold of a cross-validation."""

from pathlib import Path

import keras
import pandas as pd

from mammo import models
from mammo.core.config import Config
from mammo.data.cohort import splits
from mammo.data.samples import Samples
from mammo.pipeline import train_run
from mammo.training import predict
from mammo.training.result import EpochCallback, TrainingResult


def fit_fold(
    name: str, fold: int, samples: Samples, loaded: Config, seed: int, log: EpochCallback, folder: Path
) -> tuple[pd.DataFrame, TrainingResult]:
    """Train `models.<name>` without one fold; predictions of its inner validation (val) and of the fold (oof).

    seed: of this draw of the folds. Test rows are not used. What `folder` holds of an interrupted run is gone on from;
    a fold that is finished is not trained again.
    """
    keras.backend.clear_session()
    roles = Samples(splits.inner_validation(samples.index, fold, loaded.split.val_fraction, seed), samples.images)
    own = loaded.model(name)
    model = models.build(name, own, samples.image_shape, seed + fold)
    result = train_run.fit(model, roles, loaded.train, own, loaded, seed + fold, log, folder)
    parts = [predict.predict_table(model, roles.take(split), loaded.predict.flips) for split in ("val", "oof")]
    return pd.concat(parts).assign(fold=fold), result
