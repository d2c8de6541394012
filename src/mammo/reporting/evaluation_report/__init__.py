"""One self-contained HTML file about a whole pipeline run: the same inputs give the same bytes.

`Content` holds what the report rests on (tables, records, images), `SECTIONS` the report's order: a section is a
function Content -> Section, made of tables, pictures and notes, which mammo.reporting.page renders.
"""

from collections.abc import Callable
from pathlib import Path

from mammo.core.files import write_text
from mammo.reporting import page
from mammo.reporting.evaluation_report.calibration import build_calibration
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.evaluation_report.decisions import build_conformal, build_decision_curve
from mammo.reporting.evaluation_report.discrimination import build_paired_tests, build_roc
from mammo.reporting.evaluation_report.headline import build_headline
from mammo.reporting.evaluation_report.operating_points import build_operating_points
from mammo.reporting.evaluation_report.provenance import build_provenance
from mammo.reporting.evaluation_report.reader import build_reader
from mammo.reporting.evaluation_report.saliency import build_gradcam
from mammo.reporting.evaluation_report.samples import build_data
from mammo.reporting.evaluation_report.shortcuts import build_controls
from mammo.reporting.evaluation_report.subgroups import build_errors, build_subgroups
from mammo.reporting.evaluation_report.training import build_training
from mammo.reporting.evaluation_report.verdict import build_verdict
from mammo.reporting.page import Section

TITLE = "report of a pipeline run"
SECTIONS: tuple[Callable[[Content], Section], ...] = (
    build_verdict,
    build_headline,
    build_data,
    build_training,
    build_roc,
    build_controls,
    build_operating_points,
    build_reader,
    build_calibration,
    build_decision_curve,
    build_conformal,
    build_subgroups,
    build_paired_tests,
    build_errors,
    build_gradcam,
    build_provenance,
)


def write(path: Path, content: Content) -> None:
    """Write the report as one HTML file without links to anything outside."""
    write_text(path, render(content))


def render(content: Content) -> str:
    """Render the report as HTML."""
    sections = [build(content) for build in SECTIONS]
    return page.html(TITLE, sections, synthetic=content.synthetic, origin=content.origin)
