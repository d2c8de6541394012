"""Cells, tables and pictures that the reports share: how a number, a limit or a missing value is written."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mammo.reporting.figures import png
from mammo.reporting.page import Block, Cell, Fold, Picture, Pictures, PictureSize, Table

COLUMNS_PER_TABLE = 6
COUNTS = {"n", "rank", "rows"}


def format_words(name: str) -> str:
    """Return a column name as words."""
    return "threshold probability" if name == "threshold_prob" else str(name).replace("_", " ")


def format_metric(name: str) -> str:
    """Return a metric as people write it: AUC, average precision."""
    return name.upper() if len(name) < 4 else format_words(name)


def to_number(value: Any) -> float | None:
    """Return a number, or None for nan."""
    return None if pd.isna(value) else float(value)


def format_p(value: float) -> str:
    """Return a p value with three decimals."""
    if math.isnan(value):
        return "not estimable"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def count_cell(value: float) -> Cell:
    """Return a count as a cell."""
    return Cell(f"{value:,.0f}", float(value)) if pd.notna(value) else Cell("not estimable")


def format_percent(share: float) -> str:
    """Return a share 0-1 in percent."""
    return f"{100 * share:.1f} %"


def format_share(count: float, whole: float) -> str:
    """Return a count with its share of the whole, the count alone where there is nothing."""
    return f"{count:,.0f} ({format_percent(count / whole)})" if whole else f"{count:,.0f}"


def share_cell(count: float, whole: float) -> Cell:
    """Return a count with its share of the whole as a cell."""
    return Cell(format_share(count, whole), float(count))


def value_cell(value: Any) -> Cell:
    """Return text as it is, a number with three decimals."""
    if isinstance(value, str):
        return Cell(value or "unknown")
    return Cell("not estimable") if pd.isna(value) else Cell(f"{value:.3f}", float(value))


def interval_cell(row: pd.Series, name: str, why: str = "not estimable", bare: bool = False) -> Cell:
    """Return a value over its limits, in columns <name>_low and <name>_high, or, `bare`, low and high."""
    low, high = (row["low"], row["high"]) if bare else (row[f"{name}_low"], row[f"{name}_high"])
    if pd.isna(row[name]):
        return Cell(why)
    limited = pd.notna(low) and pd.notna(high)
    return Cell(f"{row[name]:.3f}", float(row[name]), format_limits(low, high) if limited else "")


def format_limits(low: float, high: float) -> str:
    """Return the limits of an interval in brackets."""
    return f"({low:.3f} to {high:.3f})" if low < 0 else f"({low:.3f}-{high:.3f})"


def plain_table(caption: str, table: pd.DataFrame) -> Table:
    """Return a table of a data frame as it is."""
    columns = [
        [(count_cell if name in COUNTS else value_cell)(value) for value in table[name]] for name in table.columns
    ]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table(caption, [format_words(str(name)) for name in table.columns], [("", rows)])


def pairs_table(caption: str, head: list[str], values: Mapping[str, str]) -> Table:
    """Return a table of two columns, names and values."""
    return Table(caption, head, [("", [[Cell(name), Cell(value)] for name, value in values.items()])])


def metric_tables(table: pd.DataFrame, keys: list[str], caption: str) -> list[Block]:
    """Return long metrics as tables with a row per key and at most COLUMNS_PER_TABLE metrics each."""
    metrics = list(dict.fromkeys(table["metric"]))
    parts = [metrics[start : start + COLUMNS_PER_TABLE] for start in range(0, len(metrics), COLUMNS_PER_TABLE)]
    blocks: list[Block] = []
    for number, part in enumerate(parts, start=1):
        rows = table[table["metric"].isin(part)]
        grouped = [_metric_row(key, values, part) for key, values in rows.groupby(keys, sort=False)]
        which = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        head = [*map(format_words, keys), "n (patients)", *map(format_metric, part)]
        blocks.append(Table(f"{caption}{which}", head, [("", grouped)]))
    return blocks


def _metric_row(key: Any, rows: pd.DataFrame, metrics: list[str]) -> list[Cell]:
    """Return one row of values over intervals; a value with another n than the row's says so."""
    n, n_patients = rows["n"].max(), rows["n_patients"].max()
    cells = {}
    for _, row in rows.iterrows():
        cell = interval_cell(row, "value", bare=True)
        other = "" if row["n"] == n else f" n {row['n']:.0f}"
        cells[row["metric"]] = Cell(cell.text, cell.value, cell.interval + other)
    count = Cell(f"{n:.0f} ({n_patients:.0f})", float(n))
    return [*(Cell(str(part)) for part in key), count, *(cells.get(name, Cell("not computed")) for name in metrics)]


def render_figure(figure: Figure, alt: str, caption: str) -> Picture:
    """Return a figure as a picture."""
    width_px = round(figure.get_figwidth() * png.PAGE_DPI)
    return Picture(alt, caption, png.encode_png(figure), width_px=width_px)


def full_picture(figure: Figure, alt: str, caption: str) -> Pictures:
    """Return a figure as a picture of full width."""
    return Pictures([render_figure(figure, alt, caption)], size="full")


def best_first(pictures: Mapping[str, Picture], best: str | None, size: PictureSize = "third") -> list[Block]:
    """Return the picture of the best model, and the others behind a fold; empty without a picture."""
    shown = [name for name in pictures if name == best] or list(pictures)[:1]
    others = [picture for name, picture in pictures.items() if name not in shown]
    blocks: list[Block] = [Pictures([pictures[name] for name in shown], size=size)] if shown else []
    return [*blocks, Fold(f"The same of {len(others)} other rows", [Pictures(others, size=size)])] if others else blocks


def name_cells(row: pd.Series, second: str) -> list[Cell]:
    """Return the cells that name a row: model, a second column, and n."""
    return [value_cell(row["model"]), value_cell(row[second]), count_cell(row["n"])]
