"""The headline section: the comparison table with baselines, and the published results beside it."""

import math

import pandas as pd
from scipy.stats import norm

from mammo.core import row_names
from mammo.metrics.calibration import wilson
from mammo.reporting import comparison
from mammo.reporting.cells import (
    format_metric,
)
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.evaluation_report.verdict import describe_prevalence
from mammo.reporting.page import Cell, Note, Section, Table

# The official test rows, counted in the four description files, and what was published on them.
OFFICIAL_TEST, OFFICIAL_TEST_MALIGNANT = 704, 276
PUBLISHED = {
    "Basic VGG16": {"auc": 0.758, "sensitivity": 0.667, "specificity": 0.710, "accuracy": 0.693},
    "Enhanced Medical": {"auc": 0.791, "sensitivity": 0.909, "specificity": 0.472, "accuracy": 0.643},
    "Continued": {"auc": 0.766, "sensitivity": 0.627, "specificity": 0.771, "accuracy": 0.714},
}
PUBLISHED_N = {
    "sensitivity": OFFICIAL_TEST_MALIGNANT,
    "specificity": OFFICIAL_TEST - OFFICIAL_TEST_MALIGNANT,
    "accuracy": OFFICIAL_TEST,
}
SHORT = ("auc", "sensitivity", "specificity", "ppv")
# Why a metric of the comparison table can be missing (src/mammo/metrics.py).
WHY = {
    "auc": "a class is missing",
    "average_precision": "no malignant sample",
    "sensitivity": "no malignant sample",
    "specificity": "no benign sample",
    "balanced_accuracy": "a class is missing",
    "accuracy": "no sample",
    "ppv": "nothing was called malignant",
    "npv": "everything was called malignant",
    "f1": "no sample is malignant and none was called so",
    "mcc": "a margin of the confusion matrix is empty",
    "brier": "the score is no probability",
}


def build_headline(content: Content) -> Section:
    """Build the section on the comparison table with baselines, and the published results for orientation."""
    metrics = list(comparison.TABLE_METRICS)
    rows = [_headline_row(content, row, metrics) for _, row in content.comparison.iterrows()]
    same = _is_official_test(content)
    mark = "the same 704 official test rows" if same else "another sample than the rows above"
    published = [_published_row(name, metrics, content.params.evaluate.confidence, same) for name in PUBLISHED]
    head = ["model", "weights", "samples", "n (patients)", *(format_metric(name) for name in metrics)]
    return Section(
        "headline",
        "Results",
        f"Each value stands over its {content.percent} interval, resampled by patient; two rows differ where a paired "
        "test says so (Paired tests), not where their intervals happen to overlap or not.",
        [
            _short_table(content),
            Table(
                "Metrics on the reported samples, at the operating point chosen on validation, with published results",
                head,
                [("", rows), (f"Published, for orientation only: {mark}", published)],
                fold=True,
            ),
            Note(
                "The published rows are the two notebook projects that this one re-does. Their intervals follow from "
                f"n alone ({OFFICIAL_TEST_MALIGNANT} malignant of {OFFICIAL_TEST} lesion rows; AUC: Hanley & McNeil "
                "1982, proportions: Wilson 1927) and take rows as independent; by patient they would be wider."
            ),
        ],
    )


def _short_table(content: Content) -> Table:
    """Tabulate the rows by what they were measured on: four metrics, each in one line with its interval."""
    groups = []
    for (samples, n, n_patients), rows in content.comparison.groupby(["samples", "n", "n_patients"], sort=False):
        share = describe_prevalence(content, str(rows["model"].iloc[0])).removeprefix("at ")
        heading = f"{samples}: {n:.0f} samples of {n_patients:.0f} patients" + (f", {share} malignant" if share else "")
        cells = [[Cell(row["model"]), *(_short(content, row, name) for name in SHORT)] for _, row in rows.iterrows()]
        groups.append((heading, cells))
    head = ["model", *("PPV at this prevalence" if name == "ppv" else format_metric(name) for name in SHORT)]
    return Table("Results at the operating point chosen on validation", head, groups, one_line=True)


def _short(content: Content, row: pd.Series, name: str) -> Cell:
    cell = _metric(content, row, name)
    return Cell("-") if cell.value is None else Cell(cell.text, cell.value, cell.interval)


def _headline_row(content: Content, row: pd.Series, metrics: list[str]) -> list[Cell]:
    count = Cell(f"{row['n']:.0f} ({row['n_patients']:.0f})", float(row["n"]))
    cells = [_metric(content, row, name) for name in metrics]
    return [Cell(row["model"]), Cell(row["weights"]), Cell(row["samples"]), count, *cells]


def explain_missing(metric: str) -> str:
    """Return the text for a metric of the comparison table that is not estimable."""
    return f"not estimable ({WHY.get(metric, 'undefined on these samples')})"


def _metric(content: Content, row: pd.Series, metric: str) -> Cell:
    if pd.isna(row[metric]):
        return Cell(explain_missing(metric))
    text, _, interval = comparison.format_interval(row, metric).partition(" ")
    prevalence = describe_prevalence(content, str(row["model"])) if metric in ("ppv", "npv") else ""
    return Cell(text, float(row[metric]), f"{interval} {prevalence}".strip())


def _published_row(name: str, metrics: list[str], confidence: float, same: bool) -> list[Cell]:
    malignant, benign = OFFICIAL_TEST_MALIGNANT, OFFICIAL_TEST - OFFICIAL_TEST_MALIGNANT
    cells = [Cell(name), Cell("not stated"), Cell(row_names.OFFICIAL_TEST if same else "another sample")]
    cells.append(Cell(f"{OFFICIAL_TEST} (not stated)", OFFICIAL_TEST))
    for metric in metrics:
        value = PUBLISHED[name].get(metric)
        if value is None:
            cells.append(Cell("not published"))
            continue
        if metric in PUBLISHED_N:
            low, high = map(float, wilson(value, PUBLISHED_N[metric], confidence))
        else:
            low, high = hanley_mcneil(value, malignant, benign, confidence)
        cells.append(Cell(f"{value:.3f}", value, f"({low:.3f}-{high:.3f})"))
    return cells


def _is_official_test(content: Content) -> bool:
    """Return whether the reported rows are the 704 lesion rows that the published results rest on."""
    if content.closed:
        return False
    test = content.cases[content.cases["official_split"] == "test"]
    counts = (len(test), int(test["label"].sum()))
    real_lesions = content.params.ingest.unit == "lesion" and not content.synthetic
    return real_lesions and counts == (OFFICIAL_TEST, OFFICIAL_TEST_MALIGNANT)


def hanley_mcneil(auc: float, n_malignant: int, n_benign: int, confidence: float) -> tuple[float, float]:
    """Return limits of a published AUC of which only the counts are known; rows count as independent.

    Hanley & McNeil, Radiology 1982.
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n_malignant - 1) * (q1 - auc**2) + (n_benign - 1) * (q2 - auc**2)
    margin = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(spread / (n_malignant * n_benign))
    return max(0.0, auc - margin), min(1.0, auc + margin)
