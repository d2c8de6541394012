"""The section on the frozen operating point, its drift on test, and metrics at other points."""

from dataclasses import replace

import pandas as pd

from mammo.reporting.cells import (
    metric_tables,
    plain_table,
    render_figure,
)
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.evaluation_report.verdict import describe_prevalence
from mammo.reporting.figures import evaluation
from mammo.reporting.page import Block, Fold, Note, Pictures, Section

# The points that every model is reported at beside the chosen one (operating_points.csv).
FIXED_POINT = r"(sensitivity|specificity)_\d+"


def build_operating_points(content: Content) -> Section:
    """Build the section on the frozen operating point on test, and metrics at other points."""
    table = content.tables["operating_points"]
    guide = (
        "The threshold was chosen on validation and then frozen; drift is test minus validation, and a large one means "
        "that the promised sensitivity was not kept on new patients."
    )
    blocks: list[Block] = [Note("Operating points: not estimable (the table is empty).")]
    if len(table):
        fixed = table["rule"].str.fullmatch(FIXED_POINT)
        alt = "per model, on validation and on test; the numbers are in the next table"
        pictures = [
            render_figure(evaluation.draw_drift(table[~fixed], metric), f"{metric} {alt}", f"Drift of the {metric}")
            for metric in ("sensitivity", "specificity")
        ]
        blocks = [
            Pictures(pictures, size="half"),
            replace(plain_table("The chosen operating point", table[~fixed]), fold=True),
            replace(plain_table("Points of fixed sensitivity or specificity", table[fixed]), fold=True),
        ]
    return Section("operating-points", "Operating points and drift", guide, [*blocks, *_at_points(content)])


def _at_points(content: Content) -> list[Block]:
    """Tabulate metrics at every point, at the level of the samples."""
    table = content.tables["metrics"]
    chosen = table[(table["point"] != "all") & (table["level"] == content.params.ingest.unit)]
    if chosen.empty:
        return [Note("Metrics at the operating points: not estimable (metrics/evaluation/metrics.csv holds none).")]
    frozen = chosen["point"] == "operating"
    caption, keys = f"Metrics per {content.params.ingest.unit}", ["model", "samples", "point"]
    parts = {"the operating point": chosen[frozen], "fixed sensitivity or specificity": chosen[~frozen]}
    return [
        Fold(
            f"{caption} at {name}",
            [_note_prevalence(content, rows), *metric_tables(rows, keys, f"{caption} at {name}")],
        )
        for name, rows in parts.items()
        if len(rows)
    ]


def _note_prevalence(content: Content, rows: pd.DataFrame) -> Note:
    """Return the prevalence that PPV and NPV hold for, by what the rows were measured on."""
    by_samples: dict[str, str] = {}
    for model, samples in zip(rows["model"], rows["samples"], strict=True):
        by_samples.setdefault(str(samples), describe_prevalence(content, str(model)).removeprefix("at "))
    shares = [f"{samples} {share}" for samples, share in by_samples.items() if share]
    return Note(f"PPV and NPV hold for the prevalence of these samples: {', '.join(shares) or 'not known'}.")
