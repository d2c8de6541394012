"""Fitting one fold of a cross-validation."""

from pathlib import Path

import keras
import pandas as pd

from mammo import inference, models, splits
from mammo.batches import Samples
from mammo.params import Params
from mammo.training import Fitted, Log
from stages import fitting


def fit(
    name: str, fold: int, samples: Samples, loaded: Params, seed: int, log: Log, folder: Path
) -> tuple[pd.DataFrame, Fitted]:
    """Train `models.<name>` without one fold; predictions of its inner validation (val) and of the fold (oof).

    seed: of this draw of the folds. Test rows are not used. What `folder` holds of an interrupted run is gone on from;
    a fold that is finished is not trained again.
    """
    keras.backend.clear_session()
    roles = Samples(splits.inner_validation(samples.index, fold, loaded.split.val_fraction, seed), samples.images)
    own = loaded.model(name)
    model = models.build(name, own, samples.image_shape, seed + fold)
    result = fitting.fit(model, roles, loaded.train, own, loaded, seed + fold, log, folder)
    parts = [inference.predict(model, roles.take(split), loaded.predict.flips) for split in ("val", "oof")]
    return pd.concat(parts).assign(fold=fold), result
