"""The sections on the malignant share, on shortcuts to the label, and on the labels by pathology."""

from collections.abc import Hashable
from typing import Any

import pandas as pd

from mammo.data.cohort.summary import ALL, PATHOLOGIES, SPLITS, VARIABLES
from mammo.evaluation.shortcut_probe import FILM_BORDER, PROBES
from mammo.reporting.cells import format_percent, share_cell
from mammo.reporting.data_report.cells import (
    format_signed,
    format_value,
    in_full_width,
    omit_section,
    percent_cell,
    small_picture,
)
from mammo.reporting.data_report.content import DataReport
from mammo.reporting.data_report.films import MEASURES
from mammo.reporting.figures import data
from mammo.reporting.figures.data import name_variable
from mammo.reporting.page import Block, Cell, Note, Section, Table

NO_SHIFT = "no shift shown"
PROBE_GUIDE = (
    "The next rows are classifiers that see no lesion, out of fold by patient on the training patients: the border of "
    "the film as scanned, and the images as a model sees them, less the lesion. What they rank right, a model can "
    "learn without looking at a lesion. The evaluation's controlled AUC holds the border score still."
)
PROBED = (FILM_BORDER, *PROBES)
NUMBER_NAMES = {name: text for name, (text, _) in MEASURES.items()} | {"lesion_share": "lesion, share of the film"}


def build_prevalence(report: DataReport) -> Section:
    """Build the section on the malignant share by subgroup and split, and its shift from training to test."""
    table = report.summary.prevalence
    guide = (
        f"Points are shares of malignant samples with their {report.percent} interval, resampled by patient (hollow: "
        "too few patients for one). Where a value's points lie far from the lines of their split, the value alone says "
        "something about the label. Subtlety 5 is an obvious lesion."
    )
    variables = set(table["variable"]) - {ALL}
    absent = [name_variable(name) for name in VARIABLES if name not in variables]
    blocks: list[Block] = [_shift_note(report), _shift_table(report)]
    if variables:
        alt = "Malignant share by value of every variable and split; numbers in the next table"
        picture = small_picture(data.draw_prevalence(table), alt, "Prevalence by value and split", "prevalence")
        blocks += [in_full_width(picture), _prevalence_table(table)]
    if absent:
        blocks.append(Note(f"Left out, because it is the same for all samples: {', '.join(absent)}."))
    return Section("prevalence", "Prevalence of malignancy", guide, blocks)


def _shift_note(report: DataReport) -> Note:
    """Describe the shift over all samples in words."""
    row, percent = report.summary.shift.iloc[0], report.percent
    if pd.isna(row["difference"]):
        return Note("Whether the prevalence shifts from training to test is not estimable: a side has no sample.")
    start = (
        f"Of the training patients' samples (train and val) {format_percent(row['training'])} are malignant, of the "
        f"test set's {format_percent(row['test'])}"
    )
    if pd.isna(row["low"]):
        return Note(f"{start}; there are too few patients for an interval of the difference.")
    limits = f"{percent} CI {format_signed(row['low'])} to {format_signed(row['high'])}"
    change = f"{format_signed(row['difference'])} percentage points ({limits})"
    if _judge_shift(row) == NO_SHIFT:
        return Note(f"{start}: {change}, so that no shift can be shown.")
    consequence = "low" if row["difference"] > 0 else "high"
    return Note(
        f"{start}: {change}. The prevalence {_judge_shift(row)} from training to test: probabilities learned in "
        f"training are on average too {consequence} for the test set. PPV, NPV and calibration depend on that; "
        "sensitivity, specificity and AUC do not."
    )


def _judge_shift(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return "not estimable"
    if row["low"] <= 0 <= row["high"]:
        return NO_SHIFT
    return "rises" if row["difference"] > 0 else "falls"


def _shift_table(report: DataReport) -> Table:
    rows = [
        [
            Cell("all" if row["group"] == ALL else row["group"]),
            *(percent_cell(row[name]) for name in ("training", "test")),
            _difference(row),
            Cell(_judge_shift(row)),
        ]
        for _, row in report.summary.shift.iterrows()
    ]
    head = ["samples", "training (train and val)", "test", "difference in points", "prevalence"]
    return Table("Malignant share, from training to test", head, [("", rows)])


def _difference(row: pd.Series) -> Cell:
    if pd.isna(row["difference"]):
        return Cell("not estimable")
    limits = f"({format_signed(row['low'])} to {format_signed(row['high'])})" if pd.notna(row["low"]) else ""
    return Cell(format_signed(row["difference"]), float(row["difference"]), limits)


def _prevalence_table(table: pd.DataFrame) -> Table:
    groups = []
    for variable, rows in table.groupby("variable", sort=False):
        lines = []
        for value, by_split in rows.groupby("value", sort=False):
            cells = {row["split"]: _prevalence_cell(row) for _, row in by_split.iterrows()}
            lines.append([Cell(format_value(str(variable), str(value))), *(cells[split] for split in SPLITS)])
        groups.append((name_variable(str(variable)), lines))
    return Table("Malignant of all samples (share, interval), by split", ["value", *SPLITS], groups, fold=True)


def _prevalence_cell(row: pd.Series) -> Cell:
    if not row["n"]:
        return Cell("no sample", 0.0)
    limits = f" ({100 * row['low']:.1f}-{100 * row['high']:.1f})" if pd.notna(row["low"]) else ""
    text = f"{row['n_malignant']:,.0f} of {row['n']:,.0f}"
    return Cell(text, float(row["prevalence"]), f"{format_percent(row['prevalence'])}{limits}")


def build_shortcuts(report: DataReport) -> Section:
    """Build the section on numbers that predict the label without looking at the lesion."""
    guide = (
        "AUC of one number as the score, on the training patients (train and val): .5 tells nothing, above it the "
        "number is larger where malignant, below it smaller. A model that reaches no more than these may have learned "
        "them instead of the lesion; compare also the baselines of the evaluation."
    )
    if report.summary.shortcuts.empty and report.probe is None:
        return omit_section("shortcuts", "Shortcuts to the label", guide, "no number differs between the samples")
    tables: list[Block] = []
    if not report.summary.shortcuts.empty:
        tables.append(_shortcut_table("Numbers as scores", report.summary.shortcuts))
    if report.probe is not None and not report.probe.empty:
        tables += [Note(PROBE_GUIDE), _shortcut_table("Films without their lesion as scores", report.probe)]
    if report.quartiles is not None:
        tables.append(_quartile_table(report.quartiles))
    return Section("shortcuts", "Shortcuts to the label", guide, tables)


def _shortcut_table(title: str, table: pd.DataFrame) -> Table:
    rows = [
        [
            Cell(NUMBER_NAMES.get(row["number"], name_variable(row["number"]))),
            Cell(f"{row['n']:,} ({row['n_patients']:,})", float(row["n"])),
            _auc(row),
            Cell(_judge_shortcut(row)),
        ]
        for _, row in table.iterrows()
    ]
    head = ["number", "n (patients)", "AUC", "says about the label"]
    return Table(title, head, [("", rows)])


def _quartile_table(table: pd.DataFrame) -> Table:
    rows = [
        [Cell(str(row["border_quartile"] + 1)), Cell(f"{row['n']:,}", float(row["n"])), _share(row)]
        for row in table.to_dict(orient="records")
    ]
    head = ["quartile of the border score", "n", "malignant"]
    return Table("Malignant share by the score of the film's border", head, [("", rows)])


def _share(row: dict[Hashable, Any]) -> Cell:
    limits = f"({100 * row['low']:.1f}-{100 * row['high']:.1f})" if pd.notna(row["low"]) else ""
    return Cell(format_percent(row["share"]), float(row["share"]), limits)


def _auc(row: pd.Series) -> Cell:
    if pd.isna(row["auc"]):
        return Cell("not estimable (a class is missing)")
    limits = f"({row['low']:.3f}-{row['high']:.3f})" if pd.notna(row["low"]) else ""
    return Cell(f"{row['auc']:.3f}", float(row["auc"]), limits)


def _judge_shortcut(row: pd.Series) -> str:
    if row["number"] in PROBED and row["auc"] <= 0.5:
        return "nothing that can be shown"  # a classifier below .5 out of fold has learned nothing that holds
    if pd.isna(row["low"]):
        return "not estimable"
    if row["low"] <= 0.5 <= row["high"]:
        return "nothing that can be shown"
    return "larger where malignant" if row["auc"] > 0.5 else "smaller where malignant"


def build_pathology(report: DataReport) -> Section:
    """Build the section on the labels by pathology."""
    table = report.summary.pathology
    guide = (
        "MALIGNANT is the positive class, everything else the negative one. BENIGN_WITHOUT_CALLBACK needed no work-up "
        "and is the easier negative: the more of it a split holds, the better a model looks there."
    )
    alt = "Samples by pathology per split and abnormality type; numbers in the next table"
    picture = small_picture(data.draw_pathology(table), alt, "Pathology (numbers: samples)", "pathology")
    return Section("pathology", "Labels by pathology", guide, [in_full_width(picture), _pathology_table(table)])


def _pathology_table(table: pd.DataFrame) -> Table:
    present = [name for name in PATHOLOGIES if (table["pathology"] == name).any()]
    groups = []
    for kind, rows in table.groupby("abnormality_type", sort=False):
        counted = rows.pivot_table(index="split", columns="pathology", values="n", aggfunc="sum", fill_value=0)
        counted = counted.reindex(
            index=[name for name in SPLITS if name in counted.index], columns=present, fill_value=0
        )
        cells = [
            [Cell(str(split)), *(share_cell(row[name], row.sum()) for name in present)]
            for split, row in counted.iterrows()
        ]
        groups.append((str(kind), cells))
    return Table("Samples by pathology (share)", ["split", *present], groups)
