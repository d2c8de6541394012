"""The section on every model beside the radiologist, at the radiologist's own rates."""

from dataclasses import replace

import pandas as pd

from mammo.core.row_names import READER, READER_WITH
from mammo.reporting.cells import format_percent, full_picture, interval_cell, plain_table, value_cell
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.figures import evaluation
from mammo.reporting.page import Block, Cell, Fold, Note, Section, Table

OTHER_RATE = {"sensitivity": "specificity", "specificity": "sensitivity"}


def build_reader(content: Content) -> Section:
    """Build the section on the models' rates where their other rate is the reader's."""
    guide = (
        "The radiologist calls a sample malignant at BI-RADS 4 or higher (0, incomplete, is no call). A model is read "
        "on its ROC curve where its specificity, or its sensitivity, is the radiologist's on the same samples: a "
        "comparison at a matched rate, as in reader studies, and not what a frozen threshold reaches."
    )
    return Section(
        "reader",
        "Beside the radiologist",
        guide,
        [*_best_beside(content), _matched_rates(content.tables["reader_comparison"]), *_together(content)],
    )


def _best_beside(content: Content) -> list[Block]:
    """Return the best model's rates at those of the reader, as sentences."""
    table = content.tables["reader_comparison"]
    return [
        Note(
            f"{row['model']} at the reader's {OTHER_RATE[row['rate']]} of {row['at']:.3f}: {row['rate']} "
            f"{row['matched']:.3f} where the reader has {row['reader']:.3f}; difference {row['difference']:+.3f} "
            f"({row['difference_low']:+.3f} to {row['difference_high']:+.3f})."
        )
        for _, row in table[(table["model"] == content.best) & table["matched"].notna()].iterrows()
    ]


def _matched_rates(table: pd.DataFrame) -> Block:
    if table.empty:
        return Note("Rates beside the radiologist: not estimable (no sample has a BI-RADS assessment).")
    head = ["model", "rate", "at the reader's", "reader", "model's", "model less reader", "n (patients)"]
    rows = [_matched_row(row) for _, row in table.iterrows()]
    return Table(
        "Sensitivity at the reader's specificity, and specificity at the reader's sensitivity",
        head,
        [("", rows)],
        fold=True,
    )


def _together(content: Content) -> list[Block]:
    """Return what model and radiologist reach together, and what errors in BI-RADS cost."""
    tests, errors, subgroups = content.paired_tests, content.tables["reader_errors"], content.tables["subgroups"]
    pairs = (tests["model_a"] == READER) & tests["model_b"].str.startswith(READER_WITH)
    within = subgroups[(subgroups["variable"] == "birads") & (subgroups["value"] == "4")]
    blocks: list[Block] = []
    if pairs.any():
        caption = "AUC gained over BI-RADS alone (rows reader_with_* contain the radiologist's answer)"
        blocks.append(plain_table(caption, tests.loc[pairs, ["model_b", "difference", "low", "high", "p", "p_holm"]]))
    if len(within):
        columns = ["model", "n", "n_malignant", "auc", "low", "high"]
        blocks.append(replace(plain_table("AUC within BI-RADS 4 alone", within[columns]), fold=True))
    if len(errors):
        alt = "AUC gained over BI-RADS without errors against the share of wrong BI-RADS; numbers in the next table"
        picture = full_picture(evaluation.draw_reader_errors(errors), alt, "Errors put into BI-RADS")
        table = plain_table("Errors put into BI-RADS, the combination frozen", errors)
        blocks.append(Fold("What errors in BI-RADS cost the two together", [picture, table]))
    return blocks


def _matched_row(row: pd.Series) -> list[Cell]:
    return [
        Cell(row["model"]),
        Cell(row["rate"]),
        Cell(f"{OTHER_RATE[row['rate']]} {format_percent(row['at'])}", float(row["at"])),
        value_cell(row["reader"]),
        interval_cell(row, "matched"),
        interval_cell(row, "difference"),
        Cell(f"{row['n']:.0f} ({row['n_patients']:.0f})", float(row["n"])),
    ]
