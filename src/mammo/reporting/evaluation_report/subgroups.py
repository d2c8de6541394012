"""The sections on subgroups and on the worst errors of every model."""

from dataclasses import replace

import numpy as np
import pandas as pd

from mammo.core.row_names import is_baseline
from mammo.reporting.cells import (
    best_first,
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
from mammo.reporting.page import Block, Cell, Fold, Note, Picture, Pictures, Section, Table

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
    shown = content.best or table["model"].iloc[0]
    overall = content.comparison.set_index("model")["auc"]
    pictures = {
        str(name): render_figure(
            evaluation.draw_forest(rows, float(overall.get(name, np.nan)), str(name)),
            f"Forest plot of the AUC of {name} in {len(rows)} subgroups; the numbers are in the next table",
            str(name),
        )
        for name, rows in table.groupby("model", sort=False)
        if name == shown or (rows["worse"] == 1).any()
    }
    forests = best_first(pictures, content.best, "half")
    return Section("subgroups", "Subgroups", guide, [*_warnings(table), *forests, _subgroup_table(table)])


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
    rows = [_subgroup_row(row) for _, row in table.iterrows()]
    return Table("AUC by subgroup", [*head, "verdict"], [("", rows)], fold=True)


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
    errors = {str(name): rows for name, rows in table.groupby("model", sort=False) if not is_baseline(str(name))}
    if not errors:
        return Section("errors", "Error analysis", guide, [Note("Errors: not estimable (the table is empty).")])
    shown = content.best if content.best in errors else next(iter(errors))
    folds = [Fold(name, _list_errors(content, name, rows)) for name, rows in errors.items() if name != shown]
    blocks = _list_errors(content, shown, errors[shown])
    blocks += [Fold("Worst errors of the others", folds)] if folds else []
    return Section("errors", "Error analysis", guide, blocks)


def _list_errors(content: Content, name: str, rows: pd.DataFrame) -> list[Block]:
    """Return the worst errors of a row as pictures and as a table; none of a score that says the same of everyone."""
    if len(rows) > 1 and (rows["prob"] == rows["prob"].iloc[0]).all():
        return [Note(f"{name} gives its errors the same score: none is worse than another.")]
    pictures = [_error_picture(content, row) for _, row in rows.iterrows() if _has_picture(content, row)]
    listed = plain_table(f"Worst errors of {name}", rows.drop(columns=["model", "label"]))
    blocks: list[Block] = [Note(f"{name}:"), Pictures(pictures, size="thumbnail")] if pictures else []
    return [*blocks, replace(listed, fold=True)]


def _has_picture(content: Content, row: pd.Series) -> bool:
    return (row["model"], row["sample_id"]) in content.error_images and row["rank"] <= IMAGES_PER_KIND


def _error_picture(content: Content, row: pd.Series) -> Picture:
    kind = "".join(word[0].upper() for word in str(row["kind"]).split())
    caption = f"{kind} {row['rank']:.0f}, {row['sample_id']}: probability {row['prob']:.3f}"
    alt = f"{row['model']}, {caption}, threshold {row['threshold']:.3f}, {row['pathology']}, lesion outlined"
    return Picture(alt, caption, content.error_images[row["model"], row["sample_id"]])
