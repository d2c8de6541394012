"""The sections on what was taken in, and on what two splits have in common."""

import math

import pandas as pd

from mammo.data.cohort.summary import ALL, SPLITS, DataSummary, counts_of
from mammo.reporting.cells import count_cell, format_percent, format_words, share_cell
from mammo.reporting.data_report.cells import (
    in_full_width,
    omit_section,
    small_picture,
)
from mammo.reporting.data_report.content import DataReport
from mammo.reporting.figures import data
from mammo.reporting.page import Cell, Note, Section, Table, Tiles


def build_overview(report: DataReport) -> Section:
    """Build the section on counts, and on where every published row went."""
    summary, ingest = report.summary, report.params.ingest
    whole = counts_of(summary.counts, ALL)
    names = ("patients", "breasts", "views", "films", "abnormalities", "samples")
    tiles = [(f"{whole[name]:,}", name) for name in names]
    tiles.append((format_percent(whole["malignant"] / max(1, whole["samples"])), "of the samples malignant"))
    return Section(
        "overview",
        "What was taken in",
        "Everything below counts the samples that are used; what was left out on the way is in the figure, and with "
        "its reasons further down. A view is one breast in one projection; films are counted by file, so that a view "
        "that is in two parts of the collection counts twice. An abnormality seen in two views counts twice.",
        [
            Note(
                f"Data set {ingest.dataset}, source {ingest.source}; one sample is one {ingest.unit}. "
                f"{summary.files:,} files ({summary.bytes / 1e6:,.1f} MB) are in the manifest."
            ),
            Tiles(tiles),
            _accounting(report),
            in_full_width(
                small_picture(
                    data.draw_flow(summary.flow, ingest.unit),
                    f"Flow of {summary.flow.published_rows:,} published rows into the splits; the numbers are in the "
                    "next table and in the tables of excluded and dropped rows",
                    "From the published rows to the splits",
                    "flow",
                )
            ),
            _counts_table(summary.counts),
        ],
    )


def _accounting(report: DataReport) -> Note:
    flow = report.summary.flow
    splits = " + ".join(f"{flow.split_samples[name]:,} {name}" for name in SPLITS)
    sums = (
        f"{flow.used_rows:,} rows in the samples + {flow.excluded_rows:,} excluded = {flow.published_rows:,} published "
        f"rows; {splits} + {flow.dropped_samples:,} dropped = {flow.samples:,} samples."
    )
    if flow.adds_up:
        return Note(f"Every row is accounted for: {sums}")
    return Note(f"The rows do not add up: {sums} Take the data in anew: dvc repro -f ingest split.", warning=True)


def _counts_table(counts: pd.DataFrame) -> Table:
    columns = [name for name in counts.columns if name not in ("split", "malignant")]
    rows = [
        [Cell(row["split"]), *(count_cell(row[name]) for name in columns), share_cell(row["malignant"], row["samples"])]
        for _, row in counts.iterrows()
    ]
    return Table("By split", ["split", *columns, "malignant (share)"], [("", rows)])


def build_leak_audit(report: DataReport) -> Section:
    """Build the section on the leak audit: two splits must have nothing in common."""
    guide = (
        "Every count must be 0. Identical images are films whose perceptual hashes agree, whatever their names; "
        "identical files agree byte by byte. The nearest distance is no count: it is the number of bits in which the "
        "two most similar films of different sides differ."
    )
    summary = report.summary
    if summary.leaks is None or summary.leak_checks.empty:
        return omit_section("leak-audit", "Leak audit", guide, "the split stage wrote no metrics/leak_audit.json")
    return Section("leak-audit", "Leak audit", guide, [_judge_leaks(summary), _leak_table(summary.leak_checks)])


def _judge_leaks(summary: DataSummary) -> Note:
    between = ", ".join(summary.leak_checks["between"])
    if summary.leaks:
        return Note(f"{summary.leaks:,} leaks between {between}: no result on these splits can be trusted.", True)
    bits = summary.same_film_bits
    same = "" if bits is None else f" Films that differ in at most {bits} bits count as identical."
    return Note(f"No leak was found between {between}.{same}")


def _leak_table(checks: pd.DataFrame) -> Table:
    names = [name for name in checks.columns if name != "between"]
    rows = [[Cell(row["between"]), *(_leak_cell(name, row[name]) for name in names)] for _, row in checks.iterrows()]
    return Table("In common between two sides", ["between", *map(format_words, names)], [("", rows)])


def _leak_cell(name: str, value: float | None) -> Cell:
    if value is None or math.isnan(value):
        return Cell("nothing to compare")
    return Cell(f"{value:,.0f}", float(value), warning=value > 0 and not name.endswith("distance"))
