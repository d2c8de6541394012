"""The comparison table: read it, choose rows and the tests between them, and write it for people."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mammo.core.errors import InputError
from mammo.evaluation import operating_point
from mammo.evaluation.evaluate import WITHOUT_THRESHOLD

COMPARISON = Path("metrics/comparison.csv")

HEADLINE_METRICS = ("auc", "sensitivity", "specificity", "accuracy")
TABLE_METRICS = (*HEADLINE_METRICS, "ppv", "npv", "f1")


def with_interval(row: pd.Series, metric: str) -> str:
    """`0.758 (0.712-0.801)`; a value that cannot be estimated is a dash."""
    if pd.isna(row[metric]):
        return "-"
    value, low, high = (f"{row[name]:.3f}" for name in (metric, f"{metric}_low", f"{metric}_high"))
    return f"{value} ({low}-{high})" if pd.notna(row[f"{metric}_low"]) else value


def retrained(row: pd.Series) -> str:
    """`0.640 ± 0.012 (3)`: mean and SD of the AUC over so many trainings; a dash where there was one."""
    if pd.isna(row.get("retrained")):
        return "-"
    return f"{row['auc_retrained_mean']:.3f} ± {row['auc_retrained_sd']:.3f} ({row['retrained']:.0f})"


def comparison_markdown(comparison: pd.DataFrame, columns: Sequence[str] = TABLE_METRICS) -> str:
    """The comparison table for people: every metric in `columns` with its interval; the AUC over trainings if any."""
    repeated = "retrained" in comparison and comparison["retrained"].notna().any()
    head = [
        "model",
        "weights",
        "samples",
        "n (patients)",
        *(name.upper() if len(name) < 4 else name for name in columns),
        *(["AUC, mean ± SD (trainings)"] if repeated else []),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for _, row in comparison.iterrows():
        count = f"{row['n']:.0f} ({row['n_patients']:.0f})"
        values = [*(with_interval(row, name) for name in columns), *([retrained(row)] if repeated else [])]
        lines.append("| " + " | ".join([row["model"], row["weights"], row["samples"], count, *values]) + " |")
    return "\n".join(lines) + "\n"


LEVELS = Path("metrics/evaluation/metrics.csv")
PAIRED_TESTS = Path("metrics/paired_tests.csv")
POINTS = (WITHOUT_THRESHOLD, operating_point.OPERATING)  # what the comparison table shows of a level's metrics
LIMITS = ("_low", "_high")
NO_TESTS = pd.DataFrame(columns=["model_a", "model_b", "difference", "low", "high", "p", "p_holm"])
SMALLER_IS_BETTER = {"brier", "likelihood_ratio_negative"}


def rows(names: Sequence[str] = (), level: str | None = None, sort: str | None = None) -> pd.DataFrame:
    """The rows of `names` in their order, all where there are none: model, samples, weights, unit, metrics with limits.

    level: a sample is raised to it (mammo.levels), as in metrics/evaluation/metrics.csv. sort: a metric, best first.
    Raises InputError for what is not there, naming what is.
    """
    comparison = read_comparison()
    found = comparison if level is None else _at_level(comparison, level)
    if unknown := [name for name in names if name not in set(found["model"])]:
        where = COMPARISON if level is None else f"{LEVELS}, level {level}"
        raise InputError(f"{', '.join(unknown)}: not in {where}; there are {', '.join(found['model'])}")
    if names:
        found = found.set_index("model", drop=False).loc[list(dict.fromkeys(names))]
    return found.reset_index(drop=True) if sort is None else _sorted(found, sort)


def tests(names: Sequence[str]) -> pd.DataFrame:
    """The paired tests among `names`: model_a, model_b, difference of the AUC (b - a), low, high, p, p_holm.

    Holm's correction is that over all pairs of the table. Models that were not tested on the same samples have none.
    """
    if not PAIRED_TESTS.is_file():
        raise InputError(f"{PAIRED_TESTS} does not exist; run `dvc repro evaluate`")
    found = pd.read_csv(PAIRED_TESTS)
    return found[found["model_a"].isin(names) & found["model_b"].isin(names)].reset_index(drop=True)


def _at_level(comparison: pd.DataFrame, level: str) -> pd.DataFrame:
    if not LEVELS.is_file():
        raise InputError(f"{LEVELS} does not exist; run `dvc repro evaluate`")
    long = pd.read_csv(LEVELS)
    levels = list(dict.fromkeys(long["level"]))
    if level not in levels:
        raise InputError(f"level {level!r} was not evaluated; there are {', '.join(levels)} (evaluate.levels)")
    long = long[(long["level"] == level) & long["point"].isin(POINTS)]
    wide = [
        long.pivot_table(index="model", columns="metric", values=part, dropna=False).add_suffix(suffix)
        for part, suffix in (("value", ""), ("low", LIMITS[0]), ("high", LIMITS[1]))
    ]
    counts = long[long["metric"] == "auc"].set_index("model")[["samples", "n", "n_patients"]]
    known = comparison.set_index("model")[["unit", "weights"]]
    found = counts.join([known, *wide]).reindex(list(dict.fromkeys(long["model"])))
    return found.rename_axis("model").reset_index()


def _sorted(found: pd.DataFrame, metric: str) -> pd.DataFrame:
    numbers = [name for name in found.select_dtypes("number").columns if not name.endswith(LIMITS)]
    if metric not in numbers:
        raise InputError(f"cannot sort by {metric!r}; there are {', '.join(numbers)}")
    ascending = metric in SMALLER_IS_BETTER
    return found.sort_values(metric, ascending=ascending, kind="stable", na_position="last", ignore_index=True)


def read_comparison() -> pd.DataFrame:
    """The comparison table of the workspace; raises InputError where there is none yet."""
    if not COMPARISON.is_file():
        raise InputError(f"{COMPARISON} does not exist; run `dvc repro` first")
    return pd.read_csv(COMPARISON)
