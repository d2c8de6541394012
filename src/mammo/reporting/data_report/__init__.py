"""The data that were taken in, as a page for people: what there is, how it is split, where it is skewed or incomplete.

A section is a function DataReport -> Section. `write` renders all of them as one HTML file with examples of films, and
as Markdown that holds no film of any patient, to be kept with the results. The same inputs give the same bytes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from mammo.core.files import atomic_write, write_text
from mammo.core.paths import DATA_REPORT_FIGURES, DATA_REPORT_PAGE, DATA_REPORT_SHEET, DATA_REPORT_TEXT
from mammo.reporting import page
from mammo.reporting.data_report.content import DataReport
from mammo.reporting.data_report.examples import Films, build_films_section
from mammo.reporting.data_report.films import build_films, build_intensities, build_lesions, build_structure
from mammo.reporting.data_report.labels import build_pathology, build_prevalence, build_shortcuts
from mammo.reporting.data_report.metadata import build_folds, build_left_out, build_metadata
from mammo.reporting.data_report.odd_samples import SECTION, add_pictures, build_odd_samples
from mammo.reporting.data_report.overview import build_leak_audit, build_overview
from mammo.reporting.data_report.provenance import build_provenance
from mammo.reporting.page import Section

TITLE = "data report"
SECTIONS: tuple[Callable[[DataReport], Section], ...] = (
    build_overview,
    build_leak_audit,
    build_prevalence,
    build_shortcuts,
    build_pathology,
    build_structure,
    build_films,
    build_lesions,
    build_intensities,
    build_metadata,
    build_left_out,
    build_odd_samples,
    build_folds,
    build_provenance,
)


def write(folder: Path, report: DataReport, films: Films) -> None:
    """Write data.html, data.md, figures/ and the films' contact sheet into `folder`; films: for the HTML page alone."""
    sections = build_sections(report)
    write_text(folder / DATA_REPORT_PAGE.name, render_html(report, sections, films))
    write_text(
        folder / DATA_REPORT_TEXT.name, page.markdown(sections, DATA_REPORT_FIGURES.name, synthetic=report.synthetic)
    )
    for name, image in page.pictures(sections).items():
        _write_bytes(folder / DATA_REPORT_FIGURES.name / f"{name}.png", image)
    if films.sheet:
        _write_bytes(folder / DATA_REPORT_SHEET.name, films.sheet)


def build_sections(report: DataReport) -> list[Section]:
    """Build all sections but the films, in the order of the page; none holds a film of a patient."""
    return [build(report) for build in SECTIONS]


def render_html(report: DataReport, sections: Sequence[Section], films: Films) -> str:
    """Render the sections as one HTML file, with the films, where there are any, before the last."""
    shown = [add_pictures(section, films.odd) if section.id == SECTION else section for section in sections]
    with_films = [*shown[:-1], build_films_section(films), shown[-1]] if films else shown
    return page.html(TITLE, with_films, synthetic=report.synthetic)


def _write_bytes(path: Path, content: bytes) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)
