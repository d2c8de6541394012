"""Evaluate the finished models on another data set, at the operating point and calibration that they already have."""

import shutil
from collections.abc import Hashable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from mammo import models
from mammo.core import row_names, schemas
from mammo.core.config import Config, IngestConfig, load_config
from mammo.core.files import fresh_folder, read_splits, read_table, sha256, write_rounded_table, write_table
from mammo.core.paths import (
    ENSEMBLES,
    EXTERNAL,
    EXTERNAL_METRICS,
    MANIFEST,
    MODELS,
    PIXELS,
    PREDICTIONS,
    SPLITS,
)
from mammo.data import datasets, sources
from mammo.data.cohort import manifest
from mammo.data.datasets import Located
from mammo.data.samples import Samples, open_store
from mammo.evaluation import comparison_rows, ensembling, external
from mammo.evaluation.external import FilmPreparation
from mammo.tracking import live_run
from mammo.tracking.live_run import StageRun
from mammo.training import predict
from stages import run

Tables = dict[str, pd.DataFrame]  # schemas.PREDICTIONS by model


def main(name: str) -> None:
    """Evaluate all models and ensembles on `external.<name>`: a row and a tracked run for each."""
    config = load_config()
    ingest = external.external_ingest_config(config, name)
    with external.name_section_in_errors(name):
        root, located = _locate(ingest, config)
    with fresh_folder(EXTERNAL / name) as folder:
        with external.name_section_in_errors(name):
            located, samples = _prepare(root, located, folder / "pixels", config)
            external.check_copy(located, ingest)
        data = sha256(folder / "pixels")
        internal = _read_internal_predictions(config)
        predictions = _replace_test_rows(internal, _predict(samples, config), located.cases, config)
        shutil.rmtree(folder / "pixels")  # as large as the training data, and only the predictions are read again
        write_table(folder / "cases.csv", located.cases, schemas.CASES)
        write_table(folder / "excluded.csv", located.excluded, schemas.EXCLUDED)
        for model, rows in predictions.items():
            write_table(folder / "predictions" / f"{model}.csv", rows[rows["split"] == "test"], schemas.PREDICTIONS)
        write_rounded_table(folder / "roc.csv", _tabulate_roc(predictions))
    _report(name, internal, predictions, data, config)


def _locate(ingest: IngestConfig, config: Config) -> tuple[Path, Located]:
    root = sources.load_source(ingest.source).fetch(ingest, EXTERNAL / ingest.dataset, config.seed)
    dataset = datasets.load_dataset(ingest.dataset)
    located = dataset.locate(root, ingest.unit, list(ingest.abnormality_types), config.compute.workers)
    external.check_copy(located, ingest)
    external.refuse_known_patients(located.cases, read_splits(SPLITS))
    located, films = manifest.examine(root, located, config.compute.workers)
    external.refuse_known_films(films, read_table(MANIFEST, schemas.MANIFEST))
    external.check_copy(located, ingest)
    return root, located


def _prepare(root: Path, located: Located, folder: Path, config: Config) -> tuple[Located, Samples]:
    """Prepare the films on disk as the training films were; a film that cannot be decoded is excluded."""
    training_images = open_store(PIXELS).images
    folder.mkdir()
    images = np.lib.format.open_memmap(
        folder / "images.npy",
        mode="w+",
        dtype=training_images.dtype,
        shape=(len(located.cases), *training_images.shape[1:]),
    )
    preparation = FilmPreparation(root, config.ingest.unit, config.preprocess, config.compute.workers)
    damaged = external.prepare_films(located.cases, preparation, images)
    index = located.cases.assign(split="test", fold=None)[list(schemas.INDEX.columns)]
    write_table(folder / "index.csv", index, schemas.INDEX)
    return manifest.exclude_samples(located, damaged), Samples(index[~index["sample_id"].isin(damaged)], images)


def _read_internal_predictions(config: Config) -> Tables:
    """Read the predictions of each member and ensemble on the data set that it was trained on."""
    names = _predicted_names(config)
    files = {name: PREDICTIONS / f"{name}.csv" for name in names}
    files |= {name: ENSEMBLES / f"{name}.csv" for name in row_names.ensemble_names(config.ensemble)}
    return {name: read_table(path, schemas.PREDICTIONS) for name, path in files.items()}


def _predicted_names(config: Config) -> list[str]:
    """Return every model that has a row of its own, or is a member of an ensemble."""
    rows = [*row_names.table_row_names(config.models), *row_names.members_row_names(config.cross_validate)]
    return list(dict.fromkeys([*rows, *row_names.ensemble_member_names(config)]))


def _predict(samples: Samples, config: Config) -> Tables:
    """Predict the samples by every member of the ensembles, one model in memory at a time."""
    predictions = {}
    for model in _predicted_names(config):
        keras.backend.clear_session()
        rows = predict.predict_table(models.load(MODELS / f"{model}.keras"), samples, config.predict.flips)
        predictions[model] = schemas.select_columns(rows, schemas.PREDICTIONS)
    return predictions


def _replace_test_rows(internal: Tables, predictions: Tables, cases: pd.DataFrame, config: Config) -> Tables:
    """Put external rows in the place of the test rows, of the models and of the ensembles with their fitted weights.

    The other data sets number lesions per film, so that the two views of a lesion are not known there.
    """
    members = {name: external.replace_test_rows(internal[name], rows) for name, rows in predictions.items()}
    headline = row_names.members_row_names(config.cross_validate)
    rows = {name: members[name] for name in [*row_names.table_row_names(config.models), *headline]}
    combined = {name: members[name] for name in row_names.ensemble_member_names(config)}
    folds = read_splits(SPLITS).set_index("sample_id")["fold"]
    for method in config.ensemble.methods:
        rows[row_names.ensemble_name(method)] = ensembling.combine(combined, method, folds)[0]
    for name in config.ensemble.two_views if config.ingest.unit != "lesion" else []:
        test = rows[name][rows[name]["split"] == "test"]
        averaged = ensembling.average_views(test, cases, config.ingest.unit)
        two_views = row_names.two_views_name(name)
        rows[two_views] = external.replace_test_rows(internal[two_views], averaged)
    return rows


def _tabulate_roc(predictions: Tables) -> pd.DataFrame:
    """Return the ROC curves of all models on the external rows."""
    return pd.concat(
        [comparison_rows.tabulate_roc(name, rows[rows["split"] == "test"]) for name, rows in predictions.items()]
    )


def _report(name: str, internal: Tables, predictions: Tables, data: str, config: Config) -> None:
    """Evaluate, write the table, and track a run per row."""
    evaluated = {
        model: comparison_rows.evaluate_predictions(rows, config.evaluate, config.seed)
        for model, rows in predictions.items()
    }
    descriptions = {
        model: {
            "samples": f"external: {name}",
            "unit": config.ingest.unit,
            "weights": row_names.starting_weights(model, config),
            "auc_official_test": _measure_official_auc(internal[model], config),
            **external.measure_calibration(rows, config.evaluate),
        }
        for model, rows in predictions.items()
    }
    table = external.tabulate_rows(descriptions, evaluated)
    write_rounded_table(EXTERNAL_METRICS / f"{name}.csv", table)
    for order, row in enumerate(table.to_dict(orient="records")):
        with _track_row(name, order, row, data, config) as run_log:
            measures = {str(key): float(value) for key, value in row.items() if isinstance(value, int | float)}
            run_log.log_metrics(measures | evaluated[row["model"]].to_metrics())
            for path in _artifacts(name, str(row["model"])):
                run_log.log_artifact(path)


def _measure_official_auc(predictions: pd.DataFrame, config: Config) -> float:
    """Return the AUC on the models' own test rows; nan while these are closed."""
    return external.measure_official_auc(predictions) if config.evaluate.test == "open" else float("nan")


def _track_row(
    name: str, order: int, row: Mapping[Hashable, Any], data: str, config: Config
) -> AbstractContextManager[StageRun]:
    """Track a row as one run of MLflow, after the rows of `evaluate` in the comparison table."""
    parameters = {"size_px": config.preprocess.size_px, "external": config.external[name].model_dump()}
    return live_run.tracked_run(
        "external",
        model=f"{name}/{row['model']}",
        experiment=config.tracking.experiment,
        parameters=config.evaluate.model_dump() | parameters,
        tags={
            "data": data,
            "unit": str(row["unit"]),
            "samples": str(row["samples"]),
            "weights": str(row["weights"]),
            "order": f"external {name} {order:03d}",
        },
    )


def _artifacts(name: str, model: str) -> list[Path]:
    return [
        EXTERNAL_METRICS / f"{name}.csv",
        EXTERNAL / name / "roc.csv",
        EXTERNAL / name / "predictions" / f"{model}.csv",
    ]


if __name__ == "__main__":
    run(main)
