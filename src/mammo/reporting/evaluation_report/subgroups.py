"""The sections on subgroups and on the worst errors of every model."""

import numpy as np
import pandas as pd

from mammo.core.row_names import is_baseline
from mammo.reporting.cells import (
    count_cell,
    format_p,
    format_words,
    interval_cell,
    plain_table,
    render_figure,
    to_number,
    value_cell,
)
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.figures import evaluation
from mammo.reporting.figures.evaluation import not_estimable
from mammo.reporting.page import Block, Cell, Note, Picture, Pictures, Section, Table

IMAGES_PER_KIND = 4


def build_subgroups(content: Content) -> Section:
    """Build the section on the AUC by subgroup, with a warning where one is significantly worse."""
    table = content.tables["subgroups"]
    guide = (
        "A subgroup's interval far left of the dashed line (all samples) means that the model ranks it worse; a "
        "warning is given only where the difference to the rest is significant after Holm's correction, and absence of "
        "a warning in a small subgroup is no proof of equality."
    )
    if table.empty:
        return Section("subgroups", "Subgroups", guide, [Note("Subgroups: not estimable (the table is empty).")])
    overall = content.comparison.set_index("model")["auc"]
    pictures = [
        render_figure(
            evaluation.draw_forest(rows, float(overall.get(name, np.nan)), str(name)),
            f"Forest plot of the AUC of {name} in {len(rows)} subgroups; the numbers are in the next table",
            str(name),
        )
        for name, rows in table.groupby("model", sort=False)
        if not is_baseline(str(name))
    ]
    return Section(
        "subgroups", "Subgroups", guide, [*_warnings(table), Pictures(pictures, size="half"), _subgroup_table(table)]
    )


def _warnings(table: pd.DataFrame) -> list[Block]:
    worse = table[table["worse"] == 1]
    if worse.empty:
        return [Note("No subgroup is significantly worse than the rest.")]
    return [
        Note(
            f"{row['model']} is significantly worse where {format_words(row['variable'])} is {row['value']}: AUC "
            f"{row['auc']:.3f}, {row['difference']:+.3f} to the rest (p {format_p(row['p_holm'])} after Holm's "
            f"correction, n {row['n']:.0f}).",
            warning=True,
        )
        for _, row in worse.iterrows()
    ]


def _subgroup_table(table: pd.DataFrame) -> Table:
    head = ["model", "variable", "value", "n (patients)", "malignant", "AUC", "difference to the rest", "p (Holm)"]
    return Table("AUC by subgroup", [*head, "verdict"], [("", [_subgroup_row(row) for _, row in table.iterrows()])])


def _subgroup_row(row: pd.Series) -> list[Cell]:
    worse, known = row["worse"] == 1, pd.notna(row["auc"])
    verdict = "significantly worse" if worse else row["note"] if known else ""
    return [
        Cell(row["model"]),
        Cell(format_words(row["variable"])),
        Cell(row["value"]),
        Cell(f"{row['n']:.0f} ({row['n_patients']:.0f})", float(row["n"])),
        count_cell(row["n_malignant"]),
        interval_cell(row, "auc", not_estimable(row["note"]), bare=True),
        value_cell(row["difference"]),
        Cell(format_p(row["p_holm"]), to_number(row["p_holm"])),
        Cell(verdict, warning=worse),
    ]


def build_errors(content: Content) -> Section:
    """Build the section on the worst false negatives and false positives of every model."""
    table = content.tables["errors"]
    guide = (
        "These are the samples furthest on the wrong side of the operating point; look for what they share, and "
        "mind that a handful of cases explains nothing by itself."
    )
    blocks: list[Block] = []
    for name, rows in table.groupby("model", sort=False):
        listed = rows.drop(columns=["model", "label"])
        blocks.append(plain_table(f"Worst errors of {name}", listed))
        pictures = [_error_picture(content, row) for _, row in rows.iterrows() if _has_picture(content, row)]
        blocks += [Pictures(pictures, size="thumbnail")] if pictures else []
    return Section("errors", "Error analysis", guide, blocks or [Note("Errors: not estimable (the table is empty).")])


def _has_picture(content: Content, row: pd.Series) -> bool:
    return (row["model"], row["sample_id"]) in content.error_images and row["rank"] <= IMAGES_PER_KIND


def _error_picture(content: Content, row: pd.Series) -> Picture:
    caption = f"{row['kind']} {row['rank']:.0f}, {row['sample_id']}: probability {row['prob']:.3f}"
    alt = f"{row['model']}, {caption}, threshold {row['threshold']:.3f}, {row['pathology']}, lesion outlined"
    return Picture(alt, f"{row['model']}: {caption}", content.error_images[row["model"], row["sample_id"]])
