"""Evaluate the finished models on another data set, at the operating point and calibration that they already have."""

import shutil
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mammo import models
from mammo.core import row_names, schemas
from mammo.core.config import Config, IngestConfig, load_config
from mammo.core.files import fresh_folder, read_table, sha256, write_rounded_table, write_table
from mammo.core.paths import ENSEMBLES, EXTERNAL, EXTERNAL_METRICS, FIGURES, MODELS, PIXELS, PREDICTIONS
from mammo.data import datasets, sources
from mammo.data.cohort import manifest
from mammo.data.datasets import Located
from mammo.data.samples import Samples, open_store
from mammo.evaluation import ensembling, evaluate, external
from mammo.evaluation.evaluate import Evaluated
from mammo.reporting import comparison
from mammo.reporting.figures import evaluation
from mammo.tracking import live_run
from mammo.training import predict
from stages import run

Tables = dict[str, pd.DataFrame]  # tables.PREDICTIONS by model


def main(name: str) -> None:
    """Evaluate all models and ensembles on `external.<name>`: a row and a tracked run for each."""
    loaded = load_config()
    ingest = external.ingest_params(loaded, name)
    with external.blaming(name):
        root, located = _locate(ingest, loaded)
    with fresh_folder(EXTERNAL / name) as folder:
        with external.blaming(name):
            located, samples = _prepare(root, located, folder / "pixels", loaded)
            external.check(located, ingest)
        data = sha256(folder / "pixels")
        at_home = _at_home(loaded)
        frozen = _frozen(at_home, _predict(samples, loaded), located.cases, loaded)
        shutil.rmtree(folder / "pixels")  # as large as the training data, and only the predictions are read again
        write_table(folder / "cases.csv", located.cases, schemas.CASES)
        write_table(folder / "excluded.csv", located.excluded, schemas.EXCLUDED)
        for model, rows in frozen.items():
            write_table(folder / "predictions" / f"{model}.csv", rows[rows["split"] == "test"], schemas.PREDICTIONS)
    _report(name, at_home, frozen, data, loaded)


def _locate(ingest: IngestConfig, loaded: Config) -> tuple[Path, Located]:
    root = sources.load_source(ingest.source).fetch(ingest, EXTERNAL / ingest.dataset, loaded.seed)
    dataset = datasets.load_dataset(ingest.dataset)
    located = dataset.locate(root, ingest.unit, list(ingest.abnormality_types), loaded.compute.workers)
    external.check(located, ingest)
    return root, located


def _prepare(root: Path, located: Located, folder: Path, loaded: Config) -> tuple[Located, Samples]:
    """The films as the training films were prepared, on disk; a film that cannot be decoded is excluded."""
    trained_on = open_store(PIXELS).images
    folder.mkdir()
    images = np.lib.format.open_memmap(
        folder / "images.npy", mode="w+", dtype=trained_on.dtype, shape=(len(located.cases), *trained_on.shape[1:])
    )
    damaged = external.prepare(
        located.cases, root, loaded.ingest.unit, loaded.preprocess, images, loaded.compute.workers
    )
    index = located.cases.assign(split="test", fold=None)[list(schemas.INDEX.columns)]
    write_table(folder / "index.csv", index, schemas.INDEX)
    return manifest.exclude_samples(located, damaged), Samples(index[~index["sample_id"].isin(damaged)], images)


def _at_home(loaded: Config) -> Tables:
    """What each member and ensemble predicts on the data set that it comes from."""
    names = row_names.ensemble_member_names(loaded.models, loaded.seed, loaded.seeds)
    files = {name: PREDICTIONS / f"{name}.csv" for name in names}
    files |= {name: ENSEMBLES / f"{name}.csv" for name in row_names.ensemble_names(loaded.ensemble)}
    return {name: read_table(path, schemas.PREDICTIONS) for name, path in files.items()}


def _predict(samples: Samples, loaded: Config) -> Tables:
    """Predictions of every member of the ensembles, one model in memory at a time."""
    predicted = {}
    for model in row_names.ensemble_member_names(loaded.models, loaded.seed, loaded.seeds):
        keras.backend.clear_session()
        rows = predict.predict_table(models.load(MODELS / f"{model}.keras"), samples, loaded.predict.flips)
        predicted[model] = rows[list(schemas.PREDICTIONS.columns)]
    return predicted


def _frozen(at_home: Tables, predicted: Tables, cases: pd.DataFrame, loaded: Config) -> Tables:
    """Validation rows from home and external rows, of the models and of the ensembles with their weights from home.

    The other data sets number lesions per film, so that the two views of a lesion are not known there.
    """
    single = {member: external.frozen(at_home[member], rows) for member, rows in predicted.items()}
    combined = {method: ensembling.combine(single, method)[0] for method in loaded.ensemble.methods}
    shown = {name: single[name] for name in row_names.table_row_names(loaded.models)}
    shown |= {row_names.ensemble_name(method): rows for method, rows in combined.items()}
    for name in loaded.ensemble.two_views if loaded.ingest.unit != "lesion" else []:
        abroad = shown[name][shown[name]["split"] == "test"]
        together = ensembling.average_views(abroad, cases, loaded.ingest.unit)
        shown[row_names.two_views_name(name)] = external.frozen(at_home[row_names.two_views_name(name)], together)
    return shown


def _report(name: str, at_home: Tables, frozen: Tables, data: str, loaded: Config) -> None:
    """Evaluate, write the table and the ROC curves, and track a run per row."""
    evaluated = {model: evaluate.evaluate(rows, loaded.evaluate, loaded.seed) for model, rows in frozen.items()}
    told = {
        model: {
            "samples": f"external: {name}",
            "unit": loaded.ingest.unit,
            "weights": _weights(model, loaded),
            "auc_official_test": external.official_auc(at_home[model]),
            **external.calibrated(rows, loaded.evaluate),
        }
        for model, rows in frozen.items()
    }
    table = external.table(told, evaluated)
    write_rounded_table(EXTERNAL_METRICS / f"{name}.csv", table)
    evaluation.save(_roc(name, evaluated), FIGURES / "external" / f"{name}.png")
    for order, row in enumerate(table.to_dict(orient="records")):
        _track(name, order, row, evaluated[row["model"]], data, loaded)


def _track(name: str, order: int, row: dict[Hashable, Any], evaluated: Evaluated, data: str, loaded: Config) -> None:
    """One run of MLflow = one row of the comparison table, after those of `evaluate`."""
    model = str(row["model"])
    with live_run.tracked_run(
        "external",
        model=f"{name}/{model}",
        experiment=loaded.tracking.experiment,
        parameters=loaded.evaluate.model_dump()
        | {"size_px": loaded.preprocess.size_px, "external": loaded.external[name].model_dump()},
        tags={
            "data": data,
            "unit": str(row["unit"]),
            "samples": str(row["samples"]),
            "weights": str(row["weights"]),
            "order": f"external {name} {order:03d}",
        },
    ) as tracked:
        measures = {str(key): float(value) for key, value in row.items() if isinstance(value, int | float)}
        tracked.log_metrics(measures | evaluated.values())
        for path in (
            EXTERNAL_METRICS / f"{name}.csv",
            FIGURES / "external" / f"{name}.png",
            EXTERNAL / name / "predictions" / f"{model}.csv",
        ):
            tracked.log_artifact(path)


def _weights(model: str, loaded: Config) -> str:
    """What a row's weights started from, as the table shows it."""
    if model in loaded.models:
        return loaded.models[model].weights_name
    return loaded.continue_training.start if model == "continue_training" else "-"


def _roc(name: str, evaluated: dict[str, Evaluated]) -> Figure:
    values = {model: row.values() for model, row in evaluated.items()}
    return evaluation.roc(
        pd.concat([evaluation.roc_curve(model, row.rows) for model, row in evaluated.items()]),
        {model: f"{model} {comparison.with_interval(pd.Series(row), 'auc')}" for model, row in values.items()},
        {model: (1 - row["specificity"], row["sensitivity"]) for model, row in values.items()},
        f"ROC on {name}, operating points frozen on validation",
    )


if __name__ == "__main__":
    run(main)
