"""The section on shortcuts: AUCs with the film's border held still, and without the lesion."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from mammo.evaluation.lesion_verdict import DOES_NOT_LOOK, LITTLE, judge_drop
from mammo.reporting.cells import format_p
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.page import Block, Cell, Note, Section, Table

MEASURED = {
    "auc": "AUC",
    "auc_controlled": "within border quartiles",
    "auc_without_lesion": "without the lesion",
    "auc_drop": "fall",
}  # columns of the comparison table with limits, and their heads
WARNED = (DOES_NOT_LOOK, LITTLE)
Row = Mapping[Any, Any]


def build_controls(content: Content) -> Section:
    """Build the section on what each AUC owes to the film's border, and whether it falls without the lesion."""
    guide = (
        "Benign and malignant films may come from different places; their borders show it (baseline_border). Within "
        "quartiles of that score only films of alike borders are compared: a gain counts where it holds there. Without "
        "the lesion (inpainted, or healthy tissue of the same film) a model that looks at the lesion must fall."
    )
    rows = [row for row in content.comparison.to_dict(orient="records") if is_measured(row)]
    if not rows:
        return Section("controls", "Shortcut controls", guide, [Note("Not estimable: no row has a border score.")])
    verdicts = {verdict: [str(row["model"]) for row in rows if judge_drop(row) == verdict] for verdict in WARNED}
    head = ["model", "samples", *MEASURED.values(), "p of the fall", "correlation with the border", "verdict"]
    cells = [("", list(map(_cells, rows)))]
    blocks: list[Block] = [Table("AUC plain, controlled and without the lesion", head, cells, fold=True)]
    notes = [Note(f"{name[0].upper()}{name[1:]}: {', '.join(models)}.") for name, models in verdicts.items() if models]
    blocks = [*notes, *blocks]
    return Section("controls", "Shortcut controls", guide, blocks)


def is_measured(row: Row) -> bool:
    """Return whether a row of the comparison table has a control."""
    return any(pd.notna(row.get(name)) for name in ("auc_controlled", "auc_without_lesion"))


def describe_controls(row: Row) -> list[str]:
    """Return the sentences of a model card on the controls of its row, empty where there are none."""
    sentences = []
    if pd.notna(row.get("auc_controlled")):
        sentences.append(
            f"AUC within quartiles of the border score: {_limits(row, 'auc_controlled')} "
            f"(plain: {_limits(row, 'auc')}; correlation with that score: {row['border_correlation']:.2f})."
        )
    if pd.notna(row.get("auc_without_lesion")):
        sentences.append(
            f"AUC without the lesion: {_limits(row, 'auc_without_lesion')}, a fall of {_limits(row, 'auc_drop')}, "
            f"p {format_p(row['auc_drop_p'])}. Verdict: {judge_drop(row)}."
        )
    return sentences


def _cells(row: Row) -> list[Cell]:
    p, correlation = row.get("auc_drop_p"), row.get("border_correlation")
    return [
        Cell(str(row["model"])),
        Cell(str(row["samples"])),
        *(_measured(row, name) for name in MEASURED),
        Cell(format_p(p), float(p)) if pd.notna(p) else Cell("-"),
        Cell(f"{correlation:.2f}", float(correlation)) if pd.notna(correlation) else Cell("-"),
        Cell(judge_drop(row) or "-"),
    ]


def _measured(row: Row, name: str) -> Cell:
    if pd.isna(row.get(name)):
        return Cell("-")
    text, _, interval = _limits(row, name).partition(" ")
    return Cell(text, float(row[name]), interval)


def _limits(row: Row, name: str) -> str:
    low, high = float(row[f"{name}_low"]), float(row[f"{name}_high"])
    return f"{row[name]:.3f}" if math.isnan(low + high) else f"{row[name]:.3f} ({low:.3f} to {high:.3f})"
