"""The section on the frozen operating point, its drift on test, and metrics at other points."""

from mammo.reporting.cells import (
    full_picture,
    metric_tables,
    plain_table,
)
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.figures import evaluation
from mammo.reporting.page import Block, Note, Section

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
        figure = evaluation.draw_drift(table[~fixed])
        alt = "Sensitivity and specificity on validation and on test, per model; the numbers are in the next table"
        blocks = [
            full_picture(figure, alt, "Drift of the chosen operating point"),
            plain_table("The chosen operating point", table[~fixed]),
            plain_table("Points of fixed sensitivity or specificity", table[fixed]),
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
    return [
        *metric_tables(chosen[frozen], keys, f"{caption} at the operating point"),
        *metric_tables(chosen[~frozen], keys, f"{caption} at fixed sensitivity or specificity"),
    ]
