"""The comparison table as text for people."""

from collections.abc import Sequence

import pandas as pd

ENSEMBLE, TWO_VIEWS = "ensemble_", "two_views_"  # what the names of the ensemble stage's rows start with
HEADLINE_METRICS = ("auc", "sensitivity", "specificity", "accuracy")
TABLE_METRICS = (*HEADLINE_METRICS, "ppv", "npv", "f1")


def is_combined(name: str) -> bool:
    """Whether a row of that name is made by the ensemble stage, of several models or of two views."""
    return name.startswith((ENSEMBLE, TWO_VIEWS))


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
