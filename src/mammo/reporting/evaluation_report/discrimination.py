"""The sections on ROC curves and on paired tests of the AUC."""

import pandas as pd

from mammo.core import row_names
from mammo.core.row_names import READER
from mammo.reporting import comparison
from mammo.reporting.cells import (
    format_p,
    interval_cell,
    metric_tables,
    to_number,
)
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.figures.png import page_width
from mammo.reporting.page import Block, Cell, Fold, Note, Picture, Pictures, Section, Table


def build_roc(content: Content) -> Section:
    """Build the section on ROC curves and the metrics that need no threshold."""
    guide = (
        "The closer a curve comes to the upper left corner the better; the diagonal is chance, the AUC is the share of "
        "malignant-benign pairs ranked rightly, and a model below the reader's dotted curve (baseline_birads) knows "
        "less than the radiologist's own assessment. The dots are the operating points; all other rows are faint."
    )
    return Section("roc", "ROC curves", guide, [*_roc_pictures(content), *_levels(content)])


def _roc_pictures(content: Content) -> list[Block]:
    if content.roc.empty:
        return [Note("ROC curves: not estimable (no sample, or a class is missing).")]
    pictures = {name: _picture(name, image, content) for name, image in content.roc_curves.items()}
    shown = [name for name in content.shown if name in pictures and name != READER] or list(pictures)[:1]
    others = [picture for name, picture in pictures.items() if name not in shown]
    if not pictures:
        return [Note("ROC curves: none were given.")]
    blocks: list[Block] = [Pictures([pictures[name] for name in shown])]
    return [*blocks, Fold(f"ROC curves of the other {len(others)} rows", [Pictures(others)])] if others else blocks


def _picture(name: str, image: bytes, content: Content) -> Picture:
    row = content.row(name)
    legend = name if row is None else f"{name} {comparison.format_interval(row, 'auc')}"
    text = f"ROC curve of {legend} with its {content.percent} band, operating point, and the radiologist's curve"
    return Picture(
        text, f"AUC {legend.removeprefix(name).strip()}, {content.percent} band", image, width_px=page_width(image)
    )


def _levels(content: Content) -> list[Block]:
    """Tabulate metrics that need no threshold, for every level of aggregation."""
    table = content.tables["metrics"]
    free = table[table["point"] == "all"]
    if free.empty:
        return [Note("Metrics by level: not estimable (metrics/evaluation/metrics.csv holds none).")]
    tables = metric_tables(free, ["model", "samples", "level"], "Without a threshold, by level of aggregation")
    return [Fold("Metrics without a threshold, by level of aggregation", tables)]


def build_paired_tests(content: Content) -> Section:
    """Build the section on paired tests of the rows over the same samples."""
    table = content.paired_tests
    guide = (
        "The difference is the AUC of the second minus that of the first on the same samples; p after Holm's "
        "correction below 0.05 is evidence that the two rank differently, a larger one none that they are equal."
    )
    if table.empty:
        return Section("paired-tests", "Paired tests", guide, [Note("Paired tests: not estimable (no pair of rows).")])
    clear = table[table["p_holm"] < 0.05]
    blocks: list[Block] = _primary(content)
    if len(clear):
        blocks.append(_paired_table("Pairs that differ significantly", clear))
    else:
        blocks.append(Note("No pair differs significantly after Holm's correction."))
    best = _best_member(content)
    gained = table[
        (table["model_a"] == best) & table["model_b"].str.startswith((row_names.ENSEMBLE, row_names.TWO_VIEWS))
    ]
    if len(gained):
        blocks.append(_paired_table(f"Ensembles against {best}, their best member on validation", gained))
    return Section("paired-tests", "Paired tests", guide, [*blocks, _paired_table("All pairs", table)])


def _primary(content: Content) -> list[Block]:
    """Return the primary comparison, which was named before the test set was opened; p needs no correction there."""
    primary = content.params.evaluate.primary
    if primary is None:
        return []
    table = content.paired_tests
    named = table["model_a"].isin(primary) & table["model_b"].isin(primary)
    return [_paired_table("The primary comparison, named beforehand", table[named])]


def _best_member(content: Content) -> str | None:
    """Return the single model of the best validation AUC; None where no training is recorded."""
    trained = [record for record in content.records if record.stage in ("train", row_names.CONTINUED)]
    aucs = {record.model or record.stage: record.metrics.get("val_auc") or 0.0 for record in trained}
    return max(aucs, key=lambda name: aucs[name], default=None)


def _paired_table(caption: str, table: pd.DataFrame) -> Table:
    rows = [
        [
            Cell(row["model_a"]),
            Cell(row["model_b"]),
            interval_cell(row, "difference", bare=True),
            Cell(format_p(row["p"]), to_number(row["p"])),
            Cell(format_p(row["p_holm"]), to_number(row["p_holm"])),
        ]
        for _, row in table.iterrows()
    ]
    return Table(caption, ["first", "second", "AUC difference", "p", "p (Holm)"], [("", rows)], one_line=True)
