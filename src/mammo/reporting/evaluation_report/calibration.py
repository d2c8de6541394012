"""The section on reliability before and after recalibration."""

import pandas as pd

from mammo.core.row_names import is_baseline
from mammo.reporting.cells import (
    best_first,
    interval_cell,
    name_cells,
    render_figure,
    value_cell,
)
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.figures import evaluation
from mammo.reporting.page import Block, Note, Section, Table


def build_calibration(content: Content) -> Section:
    """Build the section on reliability before and after recalibration."""
    guide = (
        "A calibrated model lies on the diagonal: of the samples given probability 0.3, 30 % are malignant; slope 1 "
        "and intercept 0 are ideal, ECE and Brier score are better when smaller. `raw` is the score as the model says "
        "it, every other line was fitted on validation rows only; ranks such as BI-RADS are no risks and have their "
        "observed risk alone."
    )
    reliability, table = content.tables["reliability"], content.tables["calibration"]
    pictures = {
        str(name): render_figure(
            evaluation.draw_calibration(rows, str(name)),
            f"Reliability diagram of {name}: {_calibration_text(table[table['model'] == name])}",
            str(name),
        )
        for name, rows in reliability.groupby("model", sort=False)
        if not is_baseline(str(name))
    }
    blocks: list[Block] = best_first(pictures, content.best) or [Note("Reliability: not estimable (no bin).")]
    return Section("calibration", "Calibration", guide, [*blocks, _calibration_table(table)])


def _calibration_text(rows: pd.DataFrame) -> str:
    known = [f"{row['method']} ECE {row['ece']:.3f}" for _, row in rows.iterrows() if pd.notna(row["ece"])]
    return ", ".join(known) if known else "ECE not estimable"


def _calibration_table(table: pd.DataFrame) -> Block:
    if table.empty:
        return Note("Calibration: not estimable (the table is empty).")
    plain = ["ece", "brier", "reliability", "resolution", "uncertainty"]
    rows = [
        [
            *name_cells(row, "method"),
            *(value_cell(row[name]) for name in plain),
            interval_cell(row, "slope"),
            interval_cell(row, "intercept"),
        ]
        for _, row in table.iterrows()
    ]
    head = ["model", "method", "n", "ECE", "Brier", *plain[2:], "slope", "intercept"]
    return Table("Calibration before (raw) and after", head, [("", rows)], fold=True)
