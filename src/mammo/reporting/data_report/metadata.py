"""The sections on missing metadata, on excluded and dropped rows, and on the folds."""

import pandas as pd

from mammo.data.cohort.summary import MISSING, SPLITS
from mammo.reporting.cells import count_cell, share_cell
from mammo.reporting.data_report.cells import (
    format_samples,
    format_value,
    in_full_width,
    omit_section,
    small_picture,
)
from mammo.reporting.data_report.content import DataReport
from mammo.reporting.figures import data
from mammo.reporting.figures.data import name_variable
from mammo.reporting.page import Block, Cell, Note, Row, Section, Table


def build_metadata(report: DataReport) -> Section:
    """Build the section on missing and impossible values, and whether they predict the label."""
    guide = (
        "BI-RADS 0 is an assessment of its own (incomplete); density 0 and subtlety 0 are no categories and mean that "
        "nothing is known. Compare the malignant shares: where samples without a value differ much from the others, "
        "the gap itself leaks the label."
    )
    table = report.summary.metadata
    groups = []
    for variable, rows in table.groupby("variable", sort=False):
        cells = [
            [
                Cell(_state(str(variable), row["state"])),
                *(count_cell(row[split]) for split in SPLITS),
                count_cell(row["n"]),
                share_cell(row["n_malignant"], row["n"]),
            ]
            for _, row in rows.iterrows()
        ]
        groups.append(("marking of the lesion" if variable == "marking" else name_variable(str(variable)), cells))
    head = ["value", *SPLITS, "all", "malignant (share)"]
    return Section(
        "metadata", "Missing and dirty metadata", guide, [_gaps_note(table), Table("Samples by value", head, groups)]
    )


def _state(variable: str, state: str) -> str:
    return "no lesion is marked" if state == "none" else format_value(variable, state)


def _gaps_note(table: pd.DataFrame) -> Note:
    unknown = table["state"].eq(MISSING) | (table["state"].eq("0") & table["variable"].ne("birads"))
    if not unknown.any():
        return Note("Density, BI-RADS and subtlety are known for every sample.")
    gaps = [
        f"{name_variable(row['variable'])} {format_value(row['variable'], row['state'])} in {format_samples(row['n'])}"
        for _, row in table[unknown].iterrows()
    ]
    return Note(f"Not known: {', '.join(gaps)}.")


def build_left_out(report: DataReport) -> Section:
    """Build the section on excluded and dropped rows by reason."""
    guide = (
        "An excluded row could not be used (data/excluded.csv); a dropped one is usable, but would leak into the "
        "official test set (data/dropped.csv). Reasons that differ in a file name alone are counted together."
    )
    summary = report.summary
    return Section(
        "left-out",
        "Excluded and dropped rows",
        guide,
        [
            _reason_table("Excluded before the split", summary.excluded, "No row was excluded."),
            _reason_table("Dropped from training", summary.dropped, "No row was dropped."),
        ],
    )


def _reason_table(caption: str, table: pd.DataFrame, none: str) -> Block:
    if table.empty:
        return Note(f"{caption}: {none}")
    rows = [
        [Cell(row["reason"]), count_cell(row["train"]), count_cell(row["test"]), Cell(row["example"])]
        for _, row in table.iterrows()
    ]
    return Table(caption, ["reason", "train rows", "test rows", "first example"], [("", rows)])


def build_folds(report: DataReport) -> Section:
    """Build the section that compares the folds of the cross-validation."""
    guide = (
        "Patients, not samples, are dealt out, stratified by label and abnormality type; the shares of malignant "
        "samples should be alike, and small differences are the price of keeping patients whole."
    )
    table = report.summary.folds
    if table.empty:
        return omit_section("folds", "Folds", guide, "no sample is in a fold")
    spread = table["share_malignant"].max() - table["share_malignant"].min()
    note = Note(f"Between the folds the malignant share varies by {100 * spread:.1f} percentage points.")
    alt = "Benign and malignant samples per fold; numbers in the next table"
    picture = small_picture(data.draw_folds(table), alt, "Samples per fold", "folds")
    names = [name for name in table.columns if name not in ("fold", "share_malignant", "malignant")]
    rows = [
        [
            Cell(f"{row['fold']:.0f}"),
            *(count_cell(row[name]) for name in names),
            share_cell(row["malignant"], row["samples"]),
        ]
        for _, row in table.iterrows()
    ]
    return Section(
        "folds",
        "Folds",
        guide,
        [note, Row([in_full_width(picture), Table("By fold", ["fold", *names, "malignant (share)"], [("", rows)])])],
    )
