"""One training from a stage: samples, resume folder, tracked run, and what it writes."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mammo import models
from mammo.core import resume, schemas
from mammo.core.config import Config, ModelConfig, TrainConfig
from mammo.core.files import write_table, write_text
from mammo.core.paths import FIGURES, HISTORY, MODELS, PIXELS, PREDICTIONS, data_fingerprint
from mammo.data.samples import Samples, open_store
from mammo.metrics import auc_tests, classification, discrimination
from mammo.reporting.figures import evaluation
from mammo.tracking import live_run
from mammo.tracking.live_run import StageRun, StageSpec
from mammo.training import augmentation, checkpoint, feature_cache, health, loader, losses, predict, trainer
from mammo.training.backend import use_deterministic_kernels, use_precision
from mammo.training.health import THRESHOLD
from mammo.training.result import EpochCallback, TrainingResult

ROOMS = (augmentation, loader, checkpoint, feature_cache, predict, losses, models, health, trainer)


def open_samples(recipe: TrainConfig) -> Samples:
    """The pixel store, with the backend set to what `recipe` and reproducibility ask for."""
    use_deterministic_kernels()
    use_precision(recipe.precision)
    return open_store(PIXELS)


@contextmanager
def workplace(stage: str, own: ModelConfig, recipe: TrainConfig, loaded: Config, *more: str) -> Iterator[Path]:
    """The folder of a training's unfinished work, named by all that it rests on; it goes when the block ends well."""
    with resume.resumable_folder("training", key(stage, own, recipe, loaded, *more)) as folder:
        yield folder


def key(stage: str, own: ModelConfig, recipe: TrainConfig, loaded: Config, *more: str) -> str:
    """A short name for all that a training rests on: data, parameters, code, backend."""
    settings = [part.model_dump_json() for part in (own, recipe, loaded.focal)]
    architectures = [
        path.read_text(encoding="utf-8") for path in sorted(Path(str(models.__file__)).parent.glob("*.py"))
    ]
    backend = f"{keras.backend.backend()} {keras.__version__}"
    foundations = [stage, str(loaded.seed), data_fingerprint(), backend, *settings, *more, *architectures]
    return resume.content_key(*foundations, *resume.source_texts(*ROOMS))


def fit(
    model: keras.Model,
    samples: Samples,
    recipe: TrainConfig,
    own: ModelConfig,
    loaded: Config,
    seed: int,
    log: EpochCallback,
    folder: Path,
) -> TrainingResult:
    """Train `model` on the rows of split train, watched on those of split val."""
    train, validation = samples.take("train"), samples.take("val")
    return trainer.fit(model, train, validation, recipe, own, loaded.focal, seed, log, folder)


AUGMENTED = 4  # training samples on the figure of augmentations


def tracked(
    stage: str,
    model: str | None,
    own: ModelConfig,
    recipe: TrainConfig,
    loaded: Config,
    weights: str,
    unfinished: Path,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> AbstractContextManager[StageRun]:
    """The run of a training, with the parameters that a trained model rests on and `more`, and what the machine did.

    weights: what it starts from, as tables show it. unfinished: the folder of fitting.workplace.
    """
    logged, tags = {**parameters(own, recipe, loaded), **more}, {"data": data_fingerprint(), "weights": weights}
    return live_run.resumable_run(StageSpec(stage, model, loaded.tracking.experiment, logged, tags), unfinished)


def parameters(own: ModelConfig, recipe: TrainConfig, loaded: Config) -> dict[str, Any]:
    """What a trained model rests on, beside the data."""
    return {
        "seed": loaded.seed,
        **recipe.model_dump(),
        **own.model_dump(),
        "focal": loaded.focal.model_dump(),
        "predict": loaded.predict.model_dump(),
    }


def write(
    name: str,
    model: keras.Model,
    result: TrainingResult,
    samples: Samples,
    recipe: TrainConfig,
    own: ModelConfig,
    seed: int,
    flips: bool,
    tracked: StageRun,
) -> None:
    """Write everything that belongs to the trained model `name`, and put it into its record."""
    models.save(model, MODELS / f"{name}.keras")
    predictions = write_predictions(name, model, samples, flips)
    write_text(HISTORY / f"{name}.csv", _history_table(result).to_csv(index=False, lineterminator="\n"))
    tracked.log_metrics({"kept_epoch": result.kept_epoch + 1, "parameters": model.count_params()})
    tracked.log_metrics(validation_metrics(predictions[predictions["split"] == "val"]))
    tracked.log_model(MODELS / f"{name}.keras")
    tracked.log_artifact(PREDICTIONS / f"{name}.csv")
    drawn = _figures(name, result, predictions[predictions["split"] == "val"])
    drawn["augmentation"] = _augmentation(samples.take("train"), recipe, own, seed)
    for path in _saved(name, drawn):
        tracked.log_artifact(path)


def write_predictions(name: str, model: keras.Model, samples: Samples, flips: bool) -> pd.DataFrame:
    """Write and return what `model` says of the validation and test rows (tables.PREDICTIONS)."""
    predictions = pd.concat([predict.predict_table(model, samples.take(split), flips) for split in ("val", "test")])
    predictions = predictions[list(schemas.PREDICTIONS.columns)]
    write_table(PREDICTIONS / f"{name}.csv", predictions, schemas.PREDICTIONS)
    return predictions


def validation_metrics(validation: pd.DataFrame) -> dict[str, float]:
    """Metrics on validation rows, to watch a training by; the table's numbers come from the evaluate stage."""
    label, prob = validation["label"].to_numpy(), validation["prob"].to_numpy()
    auc = auc_tests.delong_interval(label, prob, validation["patient_id"].to_numpy())
    table = discrimination.counts(label, prob >= THRESHOLD)
    return {
        "val_auc": auc.value,
        "val_auc_low": auc.low,
        "val_auc_high": auc.high,
        **{f"val_{metric}": float(function(*table)) for metric, function in classification.AT_THRESHOLD.items()},
    }


def _history_table(result: TrainingResult) -> pd.DataFrame:
    table = pd.DataFrame(result.history)
    table.insert(0, "epoch", range(1, len(table) + 1))
    return table


def _figures(name: str, result: TrainingResult, validation: pd.DataFrame) -> dict[str, Figure]:
    """Training curves, and ROC and confusion matrix on the validation rows."""
    called = validation.assign(called=(validation["prob"] >= THRESHOLD).astype(int))
    table = discrimination.counts(called["label"], called["called"])
    point = (1 - float(discrimination.specificity(*table)), float(discrimination.sensitivity(*table)))
    return {
        "history": evaluation.history(result.history, result.kept_epoch, name),
        "validation_roc": evaluation.roc(
            evaluation.roc_curve(name, called), {name: name}, {name: point}, "ROC, validation"
        ),
        "validation_confusion": evaluation.confusion(called, f"{name}, validation, threshold {THRESHOLD}"),
    }


def _augmentation(train: Samples, recipe: TrainConfig, own: ModelConfig, seed: int) -> Figure:
    """A few training samples under each change, at the strength of this model."""
    chosen = np.random.default_rng(seed).permutation(len(train.index))[:AUGMENTED]
    images = train.pixels(np.sort(chosen))[..., 0].astype(np.uint8)
    shown = augmentation.examples(recipe.augmentation, own.augmentation_strength, images, seed)
    return evaluation.augmentations(shown)


def _saved(name: str, drawn: dict[str, Figure]) -> list[Path]:
    paths = {FIGURES / "train" / name / f"{title}.png": figure for title, figure in drawn.items()}
    for path, figure in paths.items():
        evaluation.save(figure, path)
    return list(paths)
