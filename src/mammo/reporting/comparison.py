"""The comparison table of the workspace: read it, choose rows and the tests between them, and write it as Markdown."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mammo.core.errors import InputError
from mammo.core.paths import COMPARISON, LEVEL_METRICS, PAIRED_TESTS
from mammo.evaluation import operating_point
from mammo.evaluation.lesion_verdict import judge_drop

HEADLINE_METRICS = ("auc", "sensitivity", "specificity", "accuracy")
TABLE_METRICS = (*HEADLINE_METRICS, "ppv", "npv", "f1")
POINTS = (operating_point.WITHOUT_THRESHOLD, operating_point.OPERATING)  # of LEVEL_METRICS: of the comparison table
LIMITS = ("_low", "_high")
NO_TESTS = pd.DataFrame(columns=["model_a", "model_b", "difference", "low", "high", "p", "p_holm", "variance"])
SMALLER_IS_BETTER = {"brier", "likelihood_ratio_negative"}


def read_comparison() -> pd.DataFrame:
    """Read the comparison table of the workspace; raises InputError where there is none yet."""
    return _read(COMPARISON, "dvc repro")


def select_rows(names: Sequence[str] = (), level: str | None = None, sort: str | None = None) -> pd.DataFrame:
    """Select the rows of `names` in their order, all by default: model, samples, weights, unit, metrics with limits.

    level: samples are aggregated to it, as in metrics/evaluation/metrics.csv. sort: a metric, best first. Raises
    InputError for an unknown name, level or metric, listing the known ones.
    """
    comparison = read_comparison()
    rows = comparison if level is None else _aggregate(comparison, level)
    if unknown := [name for name in names if name not in set(rows["model"])]:
        where = COMPARISON if level is None else f"{LEVEL_METRICS}, level {level}"
        raise InputError(f"{', '.join(unknown)}: not in {where}; there are {', '.join(rows['model'])}")
    if names:
        rows = rows.set_index("model", drop=False).loc[list(dict.fromkeys(names))]
    return rows.reset_index(drop=True) if sort is None else _sort(rows, sort)


def select_tests(names: Sequence[str]) -> pd.DataFrame:
    """Select the paired tests among `names`: model_a, model_b, difference of the AUC (b - a), low, high, p, p_holm,
    variance (what the limits count with).

    Holm's correction is that over all pairs of the table. Models that were not tested on the same samples have none.
    """
    tests = _read(PAIRED_TESTS, "dvc repro evaluate")
    return tests[tests["model_a"].isin(names) & tests["model_b"].isin(names)].reset_index(drop=True)


def _read(path: Path, command: str) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} does not exist; run `{command}`")
    return pd.read_csv(path)


def _aggregate(comparison: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return the comparison table with the metrics of a level."""
    metrics = _read(LEVEL_METRICS, "dvc repro evaluate")
    levels = list(dict.fromkeys(metrics["level"]))
    if level not in levels:
        raise InputError(f"level {level!r} was not evaluated; there are {', '.join(levels)} (evaluate.levels)")
    metrics = metrics[(metrics["level"] == level) & metrics["point"].isin(POINTS)]
    wide = [
        metrics.pivot_table(index="model", columns="metric", values=part, dropna=False).add_suffix(suffix)
        for part, suffix in (("value", ""), ("low", LIMITS[0]), ("high", LIMITS[1]))
    ]
    counts = metrics[metrics["metric"] == "auc"].set_index("model")[["samples", "n", "n_patients"]]
    described = comparison.set_index("model")[["unit", "weights"]]
    rows = counts.join([described, *wide]).reindex(list(dict.fromkeys(metrics["model"])))
    return rows.rename_axis("model").reset_index()


def _sort(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    numbers = [name for name in rows.select_dtypes("number").columns if not name.endswith(LIMITS)]
    if metric not in numbers:
        raise InputError(f"cannot sort by {metric!r}; there are {', '.join(numbers)}")
    return sort_best_first(rows, metric)


def sort_best_first(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows with the best value of a metric first; those without one last, ties in their order."""
    ascending = metric in SMALLER_IS_BETTER
    return rows.sort_values(metric, ascending=ascending, kind="stable", na_position="last", ignore_index=True)


def format_interval(row: pd.Series, metric: str) -> str:
    """Return `0.758 (0.712-0.801)`; a value that cannot be estimated is a dash."""
    if pd.isna(row[metric]):
        return "-"
    value, low, high = (f"{row[name]:.3f}" for name in (metric, f"{metric}_low", f"{metric}_high"))
    return f"{value} ({low}-{high})" if pd.notna(row[f"{metric}_low"]) else value


def format_retrainings(row: pd.Series) -> str:
    """Return `0.640 ± 0.012 (3)`: mean and SD of the AUC over so many trainings; a dash where there was one."""
    if pd.isna(row.get("retrained")):
        return "-"
    return f"{row['auc_retrained_mean']:.3f} ± {row['auc_retrained_sd']:.3f} ({row['retrained']:.0f})"


def format_without_lesion(row: pd.Series) -> str:
    """Return `0.580 (0.512-0.646), looks at the lesion`; a dash where it was not measured."""
    if pd.isna(row.get("auc_without_lesion")):
        return "-"
    return f"{format_interval(row, 'auc_without_lesion')}, {judge_drop(row.to_dict())}"


def format_controlled(row: pd.Series) -> str:
    """Return the AUC within quartiles of the border score, with its interval; a dash where it was not measured."""
    return format_interval(row, "auc_controlled") if "auc_controlled" in row else "-"


CONTROLS = {
    "auc_controlled": ("AUC within border quartiles", format_controlled),
    "auc_without_lesion": ("AUC without the lesion", format_without_lesion),
}  # beside the AUC, where the table has them: column, its head and its cells


def state_test_set(table: str, test_set: str, primary: Sequence[str] | None) -> str:
    """Return a table as Markdown with the sentence on its test set, and the primary comparison, below."""
    named = "" if primary is None else f" Primary comparison, named beforehand: {' against '.join(primary)}."
    return f"{table}\n{test_set}{named}\n"
