"""Result tables for a narrow page: four columns, intervals that do not break, n and weights in the caption."""

from collections.abc import Iterable, Sequence

import pandas as pd

from mammo.core.errors import InputError
from mammo.reporting.comparison import CONTROLS, format_retrainings, sort_best_first

METRICS = {"auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity"}
NO_BREAK_SPACE, EN_DASH, WORD_JOINER = "\N{NO-BREAK SPACE}", "\N{EN DASH}", "\N{WORD JOINER}"
SHORT_WEIGHTS = {"none": "random"}


def render_tables(comparison: pd.DataFrame, names: Sequence[str] | None = None) -> str:
    """Return Markdown: for each kind of samples a caption and a table of the rows, sorted by AUC.

    names: the rows to show; all by default. Raises InputError for a name that is no row.
    """
    if names is not None:
        comparison = _select(comparison, names)
    groups = comparison.groupby(["samples", "n", "n_patients"], sort=False)
    by_auc = (sort_best_first(rows, "auc") for _, rows in groups)
    return "\n".join(f"{_caption(rows)}\n\n{_table(rows)}" for rows in by_auc)


def render_controls(comparison: pd.DataFrame) -> str:
    """Return Markdown of the AUCs that are controlled or repeated over trainings; empty where there is none."""
    cells = {head: format_cell for name, (head, format_cell) in CONTROLS.items() if _has(comparison, name)}
    if _has(comparison, "retrained"):
        cells["AUC, mean ± SD (trainings)"] = format_retrainings
    if not cells:
        return ""
    rows = ([row["model"], *(cell(row) for cell in cells.values())] for _, row in comparison.iterrows())
    return _markdown(["model", *cells], rows)


def format_unbroken(row: pd.Series, metric: str) -> str:
    """Return a value and its interval in a form that no browser breaks; what cannot be estimated is a dash."""
    if pd.isna(row[metric]):
        return "-"
    value, low, high = (f"{row[name]:.3f}" for name in (metric, f"{metric}_low", f"{metric}_high"))
    if pd.isna(row[f"{metric}_low"]):
        return value
    return f"{value}{NO_BREAK_SPACE}({low}{WORD_JOINER}{EN_DASH}{WORD_JOINER}{high})"


def _select(comparison: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    if unknown := [name for name in names if name not in set(comparison["model"])]:
        raise InputError(f"{', '.join(unknown)}: no row of the table; there are {', '.join(comparison['model'])}")
    return comparison[comparison["model"].isin(names)]


def _has(comparison: pd.DataFrame, name: str) -> bool:
    return name in comparison and bool(comparison[name].notna().any())


def _caption(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    count = f"{first['n']:.0f} samples of {first['n_patients']:.0f} patients"
    title = (
        f"{str(first['samples']).capitalize()}: {count}, sorted by AUC; no row was chosen by it. "
        "In brackets: 95 % interval, resampled by patient."
    )
    return f"{title} {_describe_weights(rows)}".rstrip()


def _describe_weights(rows: pd.DataFrame) -> str:
    """Return which models started from which weights, a short word for each."""
    trained = rows[rows["weights"].notna() & (rows["weights"] != "-")]
    starts: dict[str, list[str]] = {}
    for model, weights in zip(trained["model"], trained["weights"], strict=True):
        starts.setdefault(_shorten(weights), []).append(f"`{model}`")
    listed = ", ".join(f"{start} ({', '.join(models)})" for start, models in starts.items())
    return f"Weights at the start: {listed}." if listed else ""


def _shorten(weights: str) -> str:
    """Return `ImageNet`, `random`, or the name of the model that a training continues."""
    if "imagenet" in weights:
        return "ImageNet"
    return SHORT_WEIGHTS.get(weights, f"those of `{weights}`")


def _table(rows: pd.DataFrame) -> str:
    lines = ([row["model"], *(format_unbroken(row, name) for name in METRICS)] for _, row in rows.iterrows())
    return _markdown(["model", *METRICS.values()], lines)


def _markdown(head: Sequence[str], rows: Iterable[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
