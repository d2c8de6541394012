"""Cross-validate one architecture over patient-grouped folds; write its out-of-fold predictions."""

from functools import partial
from pathlib import Path

import keras
import pandas as pd

from mammo import batches, inference, metrics, models, params, splits, tables, tracking, training
from mammo.batches import Samples
from mammo.params import Params
from mammo.tracking import Tracked
from stages import fitting, outcome, run
from stages.paths import OUT_OF_FOLD, PIXELS, fingerprint


def main(name: str) -> None:
    """Train `models.<name>` once per fold. Test rows are not used, and the held-out fold is not seen in training."""
    loaded = params.load()
    own = loaded.model(name)
    training.use_deterministic_kernels()
    training.use_precision(loaded.train.precision)
    samples = batches.open_store(PIXELS)
    with (
        fitting.workplace(
            f"cross_validate {name}", own, loaded.train, loaded, loaded.split.model_dump_json()
        ) as folder,
        tracking.run(
            "cross_validate",
            model=name,
            experiment=loaded.tracking.experiment,
            parameters=outcome.parameters(loaded.seed, loaded.train, own, loaded.focal, loaded.predict)
            | {"split": loaded.split.model_dump()},
            tags={"data": fingerprint(), "weights": own.weights_name},
        ) as tracked,
    ):
        parts = [
            _fold(name, fold, samples, loaded, tracked, folder / f"fold{fold}") for fold in range(loaded.split.folds)
        ]
        predictions = pd.concat(parts, ignore_index=True)
        tables.write(OUT_OF_FOLD / f"{name}.csv", predictions, tables.OUT_OF_FOLD)
        tracked.log_artifact(OUT_OF_FOLD / f"{name}.csv")
        held_out = predictions[predictions["split"] == "oof"]
        aucs = held_out.groupby("fold").apply(lambda rows: metrics.auc(rows["label"], rows["prob"]))
        tracked.log_metrics({"auc_mean": float(aucs.mean()), "auc_sd": float(aucs.std())})


def _fold(name: str, fold: int, samples: Samples, loaded: Params, tracked: Tracked, folder: Path) -> pd.DataFrame:
    """Train without one fold; predictions of its inner validation (val) and of the fold itself (oof).

    What `folder` holds of an interrupted run is gone on from; a fold that is finished is not trained again.
    """
    keras.backend.clear_session()
    roles = Samples(
        splits.inner_validation(samples.index, fold, loaded.split.val_fraction, loaded.seed), samples.images
    )
    own, seed = loaded.model(name), loaded.seed + fold
    model = models.build(name, own, samples.image_shape, seed)
    log = partial(tracked.log_epoch, prefix=f"fold{fold}_")
    result = fitting.fit(model, roles, loaded.train, own, loaded, seed, log, folder)
    held_out = inference.predict(model, roles.take("oof"), loaded.predict.flips)
    tracked.log_metrics(
        {
            f"fold{fold}_auc": metrics.auc(held_out["label"], held_out["prob"]),
            f"fold{fold}_kept_epoch": result.kept_epoch + 1,
        }
    )
    predictions = pd.concat([inference.predict(model, roles.take("val"), loaded.predict.flips), held_out])
    return predictions.assign(fold=fold)[list(tables.OUT_OF_FOLD.columns)]


if __name__ == "__main__":
    run(main)
