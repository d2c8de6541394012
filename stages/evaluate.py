"""Prediction tables -> one tracked run per row of the comparison table, and the tables behind it."""

import json

import pandas as pd
from matplotlib.figure import Figure

from mammo.core import row_names, schemas
from mammo.core.config import Config, load_config
from mammo.core.files import fresh_folder, read_splits, read_table, write_rounded_table, write_text
from mammo.core.paths import (
    CASES,
    ENSEMBLES,
    EVALUATION,
    EVALUATION_TABLES,
    FIGURES,
    OUT_OF_FOLD,
    PAIRED_TESTS,
    PREDICTIONS,
    ROC,
    SPLITS,
    data_fingerprint,
)
from mammo.evaluation import baselines, clinical_tables, evaluate, lesion_sizes
from mammo.evaluation.evaluate import Evaluated
from mammo.metrics import bootstrap
from mammo.metrics.resampling import LabelledRows, Resampling
from mammo.reporting import comparison
from mammo.reporting.figures import evaluation
from mammo.tracking import live_run
from stages import run

OFFICIAL_TEST = "official test"
HELD_OUT = "train, out of fold"


def main() -> None:
    """Evaluate models, ensembles and baselines on the test rows, and cross-validations on their held-out folds."""
    loaded = load_config()
    predictions = _predictions(loaded)
    repeats = {f"cross_validate_{name}": _repeats(name) for name in loaded.cross_validate.models}
    held_out = {name: tables_of_repeats[0] for name, tables_of_repeats in repeats.items()}
    evaluated = {
        name: evaluate.evaluate(table, loaded.evaluate, loaded.seed) for name, table in (predictions | held_out).items()
    }
    _write_tables(predictions, held_out, loaded)
    for order, (name, row) in enumerate(evaluated.items()):
        again = repeats.get(name) or _under_all_seeds(name, predictions, loaded)
        _track(name, order, row, HELD_OUT if name in held_out else OFFICIAL_TEST, again, loaded)
    _write_summary(evaluated, list(predictions), loaded)


def _predictions(loaded: Config) -> dict[str, pd.DataFrame]:
    """Prediction tables of all rows on the test set: models, ensembles, baselines."""
    files = {name: PREDICTIONS / f"{name}.csv" for name in row_names.table_row_names(loaded.models)}
    files |= {name: ENSEMBLES / f"{name}.csv" for name in row_names.ensemble_names(loaded.ensemble)}
    cases = read_splits(SPLITS).merge(
        read_table(CASES, schemas.CASES), on=["sample_id", "patient_id"], validate="one_to_one"
    )
    return {name: read_table(path, schemas.PREDICTIONS) for name, path in files.items()} | baselines.predictions(cases)


def _repeats(name: str) -> list[pd.DataFrame]:
    """The out-of-fold predictions of a cross-validation, by draw of the folds."""
    drawn = read_table(OUT_OF_FOLD / f"{name}.csv", schemas.OUT_OF_FOLD)
    return [rows.drop(columns="repeat") for _, rows in drawn.groupby("repeat")]


def _under_all_seeds(name: str, predictions: dict[str, pd.DataFrame], loaded: Config) -> list[pd.DataFrame]:
    """The predictions of a model that was trained again under further seeds, by seed."""
    if name not in loaded.seeds.models:
        return []
    further = row_names.seed_member_names(name, loaded.seed, loaded.seeds).values()
    return [predictions[name], *(read_table(PREDICTIONS / f"{member}.csv", schemas.PREDICTIONS) for member in further)]


def _write_tables(predictions: dict[str, pd.DataFrame], held_out: dict[str, pd.DataFrame], loaded: Config) -> None:
    """Write metrics/evaluation/*.csv."""
    cases = read_table(CASES, schemas.CASES).merge(lesion_sizes.size_tertiles(), on="sample_id", how="left")
    found = {
        name: clinical_tables.of_predictions(
            table, cases, HELD_OUT if name in held_out else OFFICIAL_TEST, loaded.evaluate, loaded.seed
        )
        for name, table in (predictions | held_out).items()
    }
    with fresh_folder(EVALUATION_TABLES) as folder:
        for table, columns in clinical_tables.COLUMNS.items():
            parts = [rows[table].assign(model=name) for name, rows in found.items() if table in rows]
            write_rounded_table(folder / f"{table}.csv", pd.concat(parts)[columns])


def _track(
    name: str, order: int, evaluated: Evaluated, samples: str, again: list[pd.DataFrame], loaded: Config
) -> None:
    """One run of MLflow = one row of the table; `order` is the row's place in it, `again` what was trained again."""
    folder = FIGURES / "evaluate" / name
    evaluation.save(_roc({name: evaluated}), folder / "roc.png")
    evaluation.save(evaluation.confusion(evaluated.rows, f"{name}, operating point"), folder / "confusion.png")
    with live_run.tracked_run(
        "evaluate",
        model=name,
        experiment=loaded.tracking.experiment,
        parameters=loaded.evaluate.model_dump() | {"size_px": loaded.preprocess.size_px},
        tags={
            "data": data_fingerprint(),
            "unit": loaded.ingest.unit,
            "samples": samples,
            "weights": _weights(name, loaded),
            "order": f"{order:03d}",
        },
    ) as tracked:
        tracked.log_metrics(evaluated.values() | evaluate.retrained(again))
        tracked.log_artifact(folder / "roc.png")
        tracked.log_artifact(folder / "confusion.png")


def _weights(name: str, loaded: Config) -> str:
    """What a row's weights started from, as the table shows it."""
    architecture = name.removeprefix("cross_validate_")
    if architecture in loaded.models:
        return loaded.models[architecture].weights_name
    return loaded.continue_training.start if name == "continue_training" else "-"


def _write_summary(evaluated: dict[str, Evaluated], tested: list[str], loaded: Config) -> None:
    """What concerns several rows at once: metrics for DVC, paired tests, ROC curves of the rows on the test set."""
    aucs = {name: round(row.values()["auc"], 4) for name, row in evaluated.items()}
    write_text(EVALUATION, json.dumps({"auc": aucs}, indent=1) + "\n")
    on_test = {name: evaluated[name] for name in tested}
    write_rounded_table(PAIRED_TESTS, evaluate.compare(on_test, loaded.evaluate, loaded.seed))
    write_rounded_table(ROC, pd.concat([_curve_with_band(name, row.rows, loaded) for name, row in on_test.items()]))
    evaluation.save(_roc(on_test), FIGURES / "evaluate" / "roc.png")
    with live_run.tracked_run(
        "compare",
        experiment=loaded.tracking.experiment,
        parameters=loaded.evaluate.model_dump(),
        tags={"data": data_fingerprint(), "unit": loaded.ingest.unit},
    ) as tracked:
        for path in (EVALUATION, EVALUATION_TABLES, PAIRED_TESTS, ROC, FIGURES / "evaluate" / "roc.png"):
            tracked.log_artifact(path)


def _roc(evaluated: dict[str, Evaluated]) -> Figure:
    values = {name: row.values() for name, row in evaluated.items()}
    return evaluation.roc(
        pd.concat([evaluation.roc_curve(name, row.rows) for name, row in evaluated.items()]),
        {name: f"{name} {comparison.with_interval(pd.Series(row), 'auc')}" for name, row in values.items()},
        {name: (1 - row["specificity"], row["sensitivity"]) for name, row in values.items()},
        "ROC on the reported samples",
    )


def _curve_with_band(name: str, rows: pd.DataFrame, loaded: Config) -> pd.DataFrame:
    curve = evaluation.roc_curve(name, rows)
    low, high = bootstrap.roc_band(
        LabelledRows.from_table(rows),
        rows["prob"].to_numpy(),
        curve["false_positive_rate"].to_numpy(),
        Resampling.from_config(loaded.evaluate, loaded.seed),
    )
    return curve.assign(low=low, high=high)


if __name__ == "__main__":
    run(main)
