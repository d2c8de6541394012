"""What train and continue_training leave behind: model, predictions, history, figures and the record's numbers."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mammo import augmentation, figures, inference, metrics, models, statistics, tables, tracking
from mammo.batches import Samples
from mammo.monitors import THRESHOLD
from mammo.params import ModelParams, Params, TrainParams
from mammo.tracking import Tracked
from mammo.training import Fitted
from stages.paths import FIGURES, HISTORY, MODELS, PREDICTIONS, fingerprint

AUGMENTED = 4  # training samples on the figure of augmentations


def tracked(
    stage: str,
    model: str | None,
    own: ModelParams,
    recipe: TrainParams,
    loaded: Params,
    weights: str,
    unfinished: Path,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> AbstractContextManager[Tracked]:
    """The run of a training, with the parameters that a trained model rests on and `more`, and what the machine did.

    weights: what it starts from, as tables show it. unfinished: the folder of fitting.workplace.
    """
    return tracking.run(
        stage,
        model=model,
        experiment=loaded.tracking.experiment,
        parameters={**parameters(own, recipe, loaded), **more},
        tags={"data": fingerprint(), "weights": weights},
        unfinished=unfinished,
    )


def parameters(own: ModelParams, recipe: TrainParams, loaded: Params) -> dict[str, Any]:
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
    result: Fitted,
    samples: Samples,
    recipe: TrainParams,
    own: ModelParams,
    seed: int,
    flips: bool,
    tracked: Tracked,
) -> None:
    """Write everything that belongs to the trained model `name`, and put it into its record."""
    models.save(model, MODELS / f"{name}.keras")
    predictions = write_predictions(name, model, samples, flips)
    tables.write_text(HISTORY / f"{name}.csv", _history_table(result).to_csv(index=False, lineterminator="\n"))
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
    predictions = pd.concat([inference.predict(model, samples.take(split), flips) for split in ("val", "test")])
    predictions = predictions[list(tables.PREDICTIONS.columns)]
    tables.write(PREDICTIONS / f"{name}.csv", predictions, tables.PREDICTIONS)
    return predictions


def validation_metrics(validation: pd.DataFrame) -> dict[str, float]:
    """Metrics on validation rows, to watch a training by; the table's numbers come from the evaluate stage."""
    label, prob = validation["label"].to_numpy(), validation["prob"].to_numpy()
    auc = statistics.delong_interval(label, prob, validation["patient_id"].to_numpy())
    table = metrics.counts(label, prob >= THRESHOLD)
    return {
        "val_auc": auc.value,
        "val_auc_low": auc.low,
        "val_auc_high": auc.high,
        **{f"val_{metric}": float(function(*table)) for metric, function in metrics.AT_THRESHOLD.items()},
    }


def _history_table(result: Fitted) -> pd.DataFrame:
    table = pd.DataFrame(result.history)
    table.insert(0, "epoch", range(1, len(table) + 1))
    return table


def _figures(name: str, result: Fitted, validation: pd.DataFrame) -> dict[str, Figure]:
    """Training curves, and ROC and confusion matrix on the validation rows."""
    called = validation.assign(called=(validation["prob"] >= THRESHOLD).astype(int))
    table = metrics.counts(called["label"], called["called"])
    point = (1 - float(metrics.specificity(*table)), float(metrics.sensitivity(*table)))
    return {
        "history": figures.history(result.history, result.kept_epoch, name),
        "validation_roc": figures.roc(figures.roc_curve(name, called), {name: name}, {name: point}, "ROC, validation"),
        "validation_confusion": figures.confusion(called, f"{name}, validation, threshold {THRESHOLD}"),
    }


def _augmentation(train: Samples, recipe: TrainParams, own: ModelParams, seed: int) -> Figure:
    """A few training samples under each change, at the strength of this model."""
    chosen = np.random.default_rng(seed).permutation(len(train.index))[:AUGMENTED]
    images = train.pixels(np.sort(chosen))[..., 0].astype(np.uint8)
    shown = augmentation.examples(recipe.augmentation, own.augmentation_strength, images, seed)
    return figures.augmentations(shown)


def _saved(name: str, drawn: dict[str, Figure]) -> list[Path]:
    paths = {FIGURES / "train" / name / f"{title}.png": figure for title, figure in drawn.items()}
    for path, figure in paths.items():
        figures.save(figure, path)
    return list(paths)
