"""The data section: samples by split, and every row that was left out."""

from dataclasses import replace

import pandas as pd

from mammo.reporting.cells import (
    count_cell,
    plain_table,
    share_cell,
)
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.page import Block, Cell, Note, Section, Table


def build_data(content: Content) -> Section:
    """Build the section on counts per split, and every row that was left out."""
    cases = content.splits.merge(content.cases, on=["sample_id", "patient_id"], validate="one_to_one")
    kinds = sorted(cases["abnormality_type"].unique())
    parts = {split: cases[cases["split"] == split] for split in ("train", "val", "test")} | {"all": cases}
    hidden = {"test", "all"} if content.closed else set()
    rows = [_split_row(name, part, kinds, name in hidden) for name, part in parts.items()]
    head = ["split", "samples", "patients", "malignant (prevalence)", *(f"{kind} (malignant)" for kind in kinds)]
    return Section(
        "data",
        "Data",
        "Every published row is in one of these tables: the first counts what was used, the others what was left out "
        "and why; no patient is in two splits.",
        [
            Note(
                f"Data set {content.params.ingest.dataset}, source {content.params.ingest.source}; "
                f"one sample is one {content.params.ingest.unit}."
            ),
            Table("Samples used", head, [("", rows)]),
            _reasons("Excluded before the split", content.excluded, "No row was excluded."),
            _reasons("Dropped from training", content.dropped, "No row was dropped."),
        ],
    )


def _split_row(name: str, rows: pd.DataFrame, kinds: list[str], hidden: bool) -> list[Cell]:
    """Return the counts of a split; `hidden`: without its labels, because the test set is closed."""
    shares = [Cell("test set closed")] * (1 + len(kinds))
    if not hidden:
        shares = [_share(rows)] + [_share(rows[rows["abnormality_type"] == kind], total=True) for kind in kinds]
    return [Cell(name), count_cell(len(rows)), count_cell(rows["patient_id"].nunique()), *shares]


def _share(rows: pd.DataFrame, total: bool = False) -> Cell:
    """Return malignant samples and their share as a cell; with `total`, all samples and the malignant among them."""
    malignant = int(rows["label"].sum())
    if total:
        return Cell(f"{len(rows)} ({malignant})", len(rows))
    if rows.empty:
        return Cell("not estimable (no sample)")
    return share_cell(malignant, len(rows))


def _reasons(caption: str, rows: pd.DataFrame, none: str) -> Block:
    if rows.empty:
        return Note(f"{caption}: {none}")
    counted = rows.groupby(["reason", "official_split"], sort=True).size().reset_index(name="rows")
    return replace(plain_table(f"{caption}: {len(rows):,} rows", counted), fold=True)
