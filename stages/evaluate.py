"""Evaluate all prediction tables: one tracked run per row of the comparison table, and the tables behind it."""

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

import pandas as pd

from mammo.core import row_names, schemas
from mammo.core.config import Config, load_config
from mammo.core.files import fresh_folder, read_table, write_rounded_table, write_text
from mammo.core.paths import (
    CASES,
    EVALUATION,
    EVALUATION_TABLES,
    PAIRED_TESTS,
    PIXELS,
    ROC,
    data_fingerprint,
)
from mammo.evaluation import (
    clinical_tables,
    comparison_rows,
    prediction_tables,
    reader,
    reader_models,
    shortcut_controls,
    tertiles,
)
from mammo.evaluation.comparison_rows import EvaluatedRow
from mammo.metrics import bootstrap
from mammo.metrics.resampling import LabelledRows, Resampling
from mammo.pipeline import test_ledger
from mammo.tracking import live_run
from mammo.tracking.live_run import StageRun
from stages import run

Predictions = Mapping[str, pd.DataFrame]  # schemas.PREDICTIONS or schemas.OUT_OF_FOLD by row of the table


def main() -> None:
    """Evaluate models, ensembles and baselines on the reported rows, and cross-validations on their held-out folds.

    The reported rows are the test rows, or the held-out training rows while the test set is closed.
    """
    config = load_config()
    test_ledger.check_opening(config)
    borders = prediction_tables.read_border_scores(config)
    tested, repeats = prediction_tables.read_reported(config, borders), prediction_tables.read_repeats(config)
    held_out = {name: tables[0] for name, tables in repeats.items()}
    evaluated = {
        name: comparison_rows.evaluate_predictions(table, reader.configure_row(name, config.evaluate), config.seed)
        for name, table in (tested | held_out).items()
    }
    resampling = Resampling.from_config(config.evaluate, config.seed)
    metrics = {
        name: row.to_metrics() | shortcut_controls.control_auc(row.rows, borders, resampling)
        for name, row in evaluated.items()
    }
    _write_tables(tested, held_out, metrics, config)
    for order, name in enumerate(evaluated):
        retrainings = repeats.get(name) or prediction_tables.read_retrainings(name, config)
        with _track_row(name, order, name in held_out, config) as run_log:
            run_log.log_metrics(metrics[name] | comparison_rows.summarize_retrainings(retrainings))
    _write_summary(evaluated, list(tested), borders, config)


def name_samples(config: Config) -> str:
    """Return what the rows beside the cross-validations are measured on."""
    return row_names.OFFICIAL_TEST if config.evaluate.test == "open" else row_names.HELD_OUT_ROWS


def _write_tables(
    tested: Predictions, held_out: Predictions, metrics: Mapping[str, Mapping[str, float]], config: Config
) -> None:
    """Write metrics/evaluation/*.csv."""
    index, sizes = (
        read_table(PIXELS / "index.csv", schemas.INDEX),
        read_table(PIXELS / "sizes.csv", schemas.SIZES),
    )
    cases = read_table(CASES, schemas.CASES).merge(tertiles.size_tertiles(index, sizes), on="sample_id", how="left")
    rows = {name: (table, name_samples(config)) for name, table in tested.items()}
    rows |= {name: (table, row_names.HELD_OUT_FOLDS) for name, table in held_out.items()}
    tables = {
        name: clinical_tables.tabulate_predictions(
            table, cases, samples, reader.configure_row(name, config.evaluate), config.seed
        )
        for name, (table, samples) in rows.items()
    }
    for name in config.evaluate.reader.models:
        errors = reader_models.tabulate_errors(tested[name], cases, config.evaluate, config.seed)
        tables[row_names.reader_with_name(name)]["reader_errors"] = errors
    for name, row_tables in tables.items():
        about = {"samples": rows[name][1], "level": config.ingest.unit}
        parts = [row_tables["metrics"], shortcut_controls.tabulate_controls(metrics[name]).assign(**about)]
        row_tables["metrics"] = pd.concat(parts, ignore_index=True)
    with fresh_folder(EVALUATION_TABLES) as folder:
        for title, columns in clinical_tables.COLUMNS.items():
            write_rounded_table(folder / f"{title}.csv", _stack(title, columns, tables))


def _stack(title: str, columns: list[str], tables: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return one table of all rows that have it, with the column model; tables: by row, then by title."""
    parts = [parts[title].assign(model=name) for name, parts in tables.items() if title in parts and len(parts[title])]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)


def _track_row(name: str, order: int, held_out: bool, config: Config) -> AbstractContextManager[StageRun]:
    """Track a row of the comparison table as one run of MLflow; `order` is its place in the table."""
    return live_run.tracked_run(
        "evaluate",
        model=name,
        experiment=config.tracking.experiment,
        parameters=reader.configure_row(name, config.evaluate).model_dump() | {"size_px": config.preprocess.size_px},
        tags={
            "data": data_fingerprint(),
            "unit": config.ingest.unit,
            "samples": row_names.HELD_OUT_FOLDS if held_out else name_samples(config),
            "weights": row_names.starting_weights(name, config),
            "order": f"{order:03d}",
        },
    )


def _write_summary(
    evaluated: Mapping[str, EvaluatedRow], tested: Iterable[str], borders: pd.DataFrame, config: Config
) -> None:
    """Write and track what concerns several rows: metrics for DVC, paired tests, ROC curves of the rows on test."""
    aucs = {name: round(row.to_metrics()["auc"], 4) for name, row in evaluated.items()}
    write_text(EVALUATION, json.dumps({"auc": aucs}, indent=1) + "\n")
    on_test = {name: evaluated[name] for name in tested}
    members = {name: prediction_tables.read_members(name, config) for name in tested}
    tests = comparison_rows.compare_aucs(on_test, config.evaluate, config.seed, members)
    rows = {name: row.rows for name, row in on_test.items()}
    controlled = shortcut_controls.compare_controlled(rows, borders, config.evaluate, config.seed)
    write_rounded_table(PAIRED_TESTS, tests.merge(controlled, on=["model_a", "model_b"], how="left"))
    write_rounded_table(ROC, pd.concat([_curve_with_band(name, row.rows, config) for name, row in on_test.items()]))
    with live_run.tracked_run(
        "compare",
        experiment=config.tracking.experiment,
        parameters=config.evaluate.model_dump(),
        tags={"data": data_fingerprint(), "unit": config.ingest.unit},
    ) as run_log:
        for path in (EVALUATION, EVALUATION_TABLES, PAIRED_TESTS, ROC):
            run_log.log_artifact(path)


def _curve_with_band(name: str, rows: pd.DataFrame, config: Config) -> pd.DataFrame:
    curve = comparison_rows.tabulate_roc(name, rows)
    low, high = bootstrap.roc_band(
        LabelledRows.from_table(rows),
        rows["prob"].to_numpy(),
        curve["false_positive_rate"].to_numpy(),
        Resampling.from_config(config.evaluate, config.seed),
    )
    return curve.assign(low=low, high=high)


if __name__ == "__main__":
    run(main)
