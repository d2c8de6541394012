"""Cells, pictures and notes of the data report."""

import pandas as pd
from matplotlib.figure import Figure

from mammo.data.cohort.summary import ALL
from mammo.reporting.cells import count_cell, format_percent, format_words
from mammo.reporting.figures import data
from mammo.reporting.figures.data import name_value
from mammo.reporting.page import Cell, Note, Picture, Pictures, Section, Table


def omit_section(name: str, title: str, guide: str, why: str) -> Section:
    """Return a section that says why it is left out."""
    return Section(name, title, guide, [Note(f"{title}: left out, because {why}.")])


def small_picture(figure: Figure, alt: str, caption: str, name: str) -> Picture:
    """Return a figure as a picture small enough for git, with the name of its file."""
    return Picture(alt, caption, data.encode_small_png(figure), name)


def in_full_width(picture: Picture) -> Pictures:
    """Return one picture in full width."""
    return Pictures([picture], size="full")


def percent_cell(value: float) -> Cell:
    """Return a share 0-1 in percent as a cell."""
    return Cell("not estimable") if pd.isna(value) else Cell(format_percent(value), float(value))


def decimal_cell(value: float) -> Cell:
    """Return a number with three decimals as a cell."""
    return Cell("not estimable") if pd.isna(value) else Cell(f"{value:.3f}", float(value))


def counts_table(caption: str, table: pd.DataFrame) -> Table:
    """Return a table whose first column names its rows of counts."""
    first, *rest = table.columns
    rows = [[Cell(str(row[first])), *(count_cell(row[name]) for name in rest)] for _, row in table.iterrows()]
    return Table(caption, [format_words(str(name)) for name in table.columns], [("", rows)])


def format_signed(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}"


def format_samples(count: int) -> str:
    """Return a number of samples in words."""
    return f"{count:,} sample{'' if count == 1 else 's'}"


def format_value(variable: str, value: str) -> str:
    """Return a value of a variable as readers should see it."""
    return "all" if variable == ALL else name_value(variable, value)
