"""Cross-validate one architecture over patient-grouped folds; write its out-of-fold predictions."""

from pathlib import Path

import pandas as pd

from mammo.core import schemas
from mammo.core.config import Config, load_config
from mammo.core.files import write_table
from mammo.core.paths import OUT_OF_FOLD
from mammo.data.cohort import splits
from mammo.data.samples import Samples
from mammo.metrics import discrimination
from mammo.pipeline import train_run
from mammo.tracking.live_run import StageRun
from mammo.training import folds
from stages import run

REPEATS_APART = 100  # between the seeds of two draws of the folds; each fold has a seed of its own


def main(name: str) -> None:
    """Train `models.<name>` once per fold and draw of the folds.

    Test rows are not used, and the held-out fold is not seen in training.
    """
    loaded = load_config()
    own = loaded.model(name)
    samples = train_run.open_samples(loaded.train)
    with (
        train_run.workplace(
            f"cross_validate {name}", own, loaded.train, loaded, loaded.split.model_dump_json()
        ) as folder,
        train_run.tracked(
            "cross_validate",
            name,
            own,
            loaded.train,
            loaded,
            own.weights_name,
            folder,
            {"split": loaded.split.model_dump(), "repeats": loaded.cross_validate.repeats},
        ) as tracked,
    ):
        parts = [
            _repeat(name, repeat, samples, loaded, tracked, folder) for repeat in range(loaded.cross_validate.repeats)
        ]
        write_table(OUT_OF_FOLD / f"{name}.csv", pd.concat(parts, ignore_index=True), schemas.OUT_OF_FOLD)
        tracked.log_artifact(OUT_OF_FOLD / f"{name}.csv")


def _repeat(name: str, repeat: int, samples: Samples, loaded: Config, tracked: StageRun, folder: Path) -> pd.DataFrame:
    """All folds of one draw; tables.OUT_OF_FOLD."""
    index = splits.refolded(samples.index, repeat, loaded.split.folds, loaded.seed)
    redrawn = Samples(index, samples.images)
    parts = [_fold(name, repeat, fold, redrawn, loaded, tracked, folder) for fold in range(loaded.split.folds)]
    return pd.concat(parts).assign(repeat=repeat)[list(schemas.OUT_OF_FOLD.columns)]


def _fold(
    name: str, repeat: int, fold: int, samples: Samples, loaded: Config, tracked: StageRun, folder: Path
) -> pd.DataFrame:
    title = f"repeat{repeat}_fold{fold}" if repeat else f"fold{fold}"
    seed = loaded.seed + REPEATS_APART * repeat
    with tracked.part(title, {"repeat": repeat, "fold": fold, "seed": seed}) as part:
        predictions, result = folds.fit_fold(name, fold, samples, loaded, seed, part.log_epoch, folder / title)
        held_out = predictions[predictions["split"] == "oof"]
        part.log_metrics({"auc": discrimination.auc(held_out["label"], held_out["prob"])})
        part.log_metrics({"kept_epoch": result.kept_epoch + 1})
    return predictions


if __name__ == "__main__":
    run(main)
