"""Prediction tables -> one tracked run per row of the comparison table; no model is loaded here."""

import json

import pandas as pd
from matplotlib.figure import Figure

from mammo import baselines, evaluation, metrics, params, report, tables, tracking
from mammo.evaluation import Evaluated
from mammo.params import Params
from stages import run
from stages.paths import (
    CASES,
    ENSEMBLES,
    EVALUATION,
    FIGURES,
    OUT_OF_FOLD,
    PAIRED_TESTS,
    PREDICTIONS,
    ROC,
    SPLITS,
    fingerprint,
)

HEADLINE = ["auc", "sensitivity", "specificity", "accuracy"]


def main() -> None:
    """Evaluate models, ensembles and baselines on the test rows, and cross-validations on their held-out folds."""
    loaded = params.load()
    on_test = {
        name: evaluation.on_test(table, loaded.evaluate, loaded.seed) for name, table in _predictions(loaded).items()
    }
    held_out = {
        f"cross_validate_{name}": evaluation.out_of_fold(
            tables.read(OUT_OF_FOLD / f"{name}.csv", tables.OUT_OF_FOLD), loaded.evaluate, loaded.seed
        )
        for name in loaded.cross_validate.models
    }
    for order, (name, evaluated) in enumerate((on_test | held_out).items()):
        _track(name, order, evaluated, loaded)
    _write_summary(on_test, held_out, loaded)


def _predictions(loaded: Params) -> dict[str, pd.DataFrame]:
    """Prediction tables of all rows on the test set: models, ensembles, baselines."""
    files = {name: PREDICTIONS / f"{name}.csv" for name in [*loaded.models, "continue_training"]}
    files |= {f"ensemble_{name}": ENSEMBLES / f"ensemble_{name}.csv" for name in loaded.ensemble.methods}
    cases = tables.read_splits(SPLITS).merge(
        tables.read(CASES, tables.CASES), on=["sample_id", "patient_id"], validate="one_to_one"
    )
    return {name: tables.read(path, tables.PREDICTIONS) for name, path in files.items()} | baselines.predictions(cases)


def _track(name: str, order: int, evaluated: Evaluated, loaded: Params) -> None:
    """One run of MLflow = one row of the table; `order` is the row's place in it."""
    folder = FIGURES / "evaluate" / name
    report.save(_roc({name: evaluated}), folder / "roc.png")
    report.save(report.confusion_figure(evaluated.rows, f"{name}, operating point"), folder / "confusion.png")
    with tracking.run(
        "evaluate",
        model=name,
        experiment=loaded.tracking.experiment,
        parameters=loaded.evaluate.model_dump() | {"size_px": loaded.preprocess.size_px},
        tags={
            "data": fingerprint(),
            "unit": loaded.ingest.unit,
            "samples": "train, out of fold" if name.startswith("cross_validate_") else "official test",
            "weights": _weights(name, loaded),
            "order": f"{order:03d}",
        },
    ) as tracked:
        tracked.log_metrics(evaluated.values())
        tracked.log_artifact(folder / "roc.png")
        tracked.log_artifact(folder / "confusion.png")


def _weights(name: str, loaded: Params) -> str:
    """What a row's weights started from, as the table shows it."""
    architecture = name.removeprefix("cross_validate_")
    if architecture in loaded.models:
        return loaded.models[architecture].weights
    return loaded.continue_training.model if name == "continue_training" else "-"


def _write_summary(on_test: dict[str, Evaluated], held_out: dict[str, Evaluated], loaded: Params) -> None:
    """What concerns several rows at once: metrics for DVC, paired tests, ROC curves."""
    values = {name: evaluated.values() for name, evaluated in (on_test | held_out).items()}
    headline = {name: {metric: round(row[metric], 4) for metric in HEADLINE} for name, row in values.items()}
    tables.write_text(EVALUATION, json.dumps(headline, indent=1) + "\n")
    tests = evaluation.compare(on_test, loaded.evaluate, loaded.seed)
    tables.write_text(PAIRED_TESTS, tests.round(6).to_csv(index=False, lineterminator="\n"))
    points = [_roc_table(name, evaluated.rows) for name, evaluated in on_test.items()]
    tables.write_text(ROC, pd.concat(points).round(4).to_csv(index=False, lineterminator="\n"))
    report.save(_roc(on_test), FIGURES / "evaluate" / "roc.png")
    with tracking.run(
        "compare",
        experiment=loaded.tracking.experiment,
        parameters=loaded.evaluate.model_dump(),
        tags={"data": fingerprint(), "unit": loaded.ingest.unit},
    ) as tracked:
        for path in (EVALUATION, PAIRED_TESTS, ROC, FIGURES / "evaluate" / "roc.png"):
            tracked.log_artifact(path)


def _roc(evaluated: dict[str, Evaluated]) -> Figure:
    values = {name: row.values() for name, row in evaluated.items()}
    return report.roc_figure(
        {name: row.rows for name, row in evaluated.items()},
        {name: f"{name} {report.with_interval(pd.Series(row), 'auc')}" for name, row in values.items()},
        {name: (1 - row["specificity"], row["sensitivity"]) for name, row in values.items()},
    )


def _roc_table(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    fpr, tpr, _ = metrics.roc_points(rows["label"].to_numpy(), rows["prob"].to_numpy())
    return pd.DataFrame({"model": name, "false_positive_rate": fpr, "sensitivity": tpr})


if __name__ == "__main__":
    run(main)
