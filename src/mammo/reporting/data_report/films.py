"""The sections on how samples share patients, and on the sizes of films and lesions and their grey values."""

from collections.abc import Callable

import pandas as pd

from mammo.data.cohort.summary import ALL, BOTH_VIEWS, DataSummary, counts_of
from mammo.reporting.cells import count_cell
from mammo.reporting.data_report.cells import (
    counts_table,
    decimal_cell,
    in_full_width,
    omit_section,
    percent_cell,
    small_picture,
)
from mammo.reporting.data_report.content import DataReport
from mammo.reporting.figures import data
from mammo.reporting.page import Block, Cell, Note, Row, Section, Table

MEASURES = {
    "height_px": ("height (px)", "{:,.0f}"),
    "width_px": ("width (px)", "{:,.0f}"),
    "aspect": ("height / width", "{:.2f}"),
    "megabytes": ("file size (MB)", "{:.3g}"),
}


def build_structure(report: DataReport) -> Section:
    """Build the section on how samples share films, breasts and patients."""
    summary = report.summary
    guide = (
        "Samples of one patient are no independent evidence, which is why splits and intervals go by patient; mixed "
        "units hold benign and malignant samples at once and count as malignant where a unit is scored as a whole. "
        "A model of whole breasts must do with one view where the other is missing."
    )
    per_unit = small_picture(
        data.draw_abnormalities_per(summary.abnormalities_per),
        "How many films, breasts and patients show how many abnormalities, as bars with their numbers",
        "Abnormalities per film, breast and patient",
        "abnormalities_per",
    )
    views = small_picture(
        data.draw_views_per_breast(summary.views_per_breast),
        "Breasts with both views or one alone, by split; numbers in the next table",
        "Views per breast (numbers: breasts)",
        "views_per_breast",
    )
    views_table = counts_table("Breasts by their views", summary.views_per_breast)
    mixed_table = counts_table("Of both classes", summary.mixed_labels)
    return Section(
        "structure",
        "Abnormalities, views, patients",
        guide,
        [
            in_full_width(per_unit),
            _views_note(summary),
            Row([in_full_width(views), views_table, mixed_table]),
            *_lesion_blocks(summary),
        ],
    )


def _lesion_blocks(summary: DataSummary) -> list[Block]:
    """Tabulate lesions by their views, and those whose views contradict each other."""
    if summary.lesion_views.empty:
        return []
    blocks: list[Block] = [counts_table("Lesions by their views", summary.lesion_views)]
    if summary.contradictions.empty:
        return [*blocks, Note("The views of no lesion differ in pathology.")]
    rows = [
        [
            *(Cell(str(row[name])) for name in ("patient_id", "laterality", "abnormality_type", "abnormality_id")),
            *(Cell(row[name], warning=True) for name in ("cc", "mlo")),
            Cell(f"id {row['swapped_with']} in the other view" if row["swapped_with"] else "malignant if any view is"),
        ]
        for _, row in summary.contradictions.iterrows()
    ]
    head = ["patient", "side", "type", "abnormality", "CC", "MLO", "counted as"]
    return [*blocks, Table("Lesions whose views differ in pathology", head, [("", rows)])]


def _views_note(summary: DataSummary) -> Note:
    whole, test = (counts_of(summary.views_per_breast, split) for split in (ALL, "test"))
    return Note(
        f"Both views are there for {whole[BOTH_VIEWS]:,} of {sum(whole.values()):,} breasts "
        f"({test[BOTH_VIEWS]:,} of {sum(test.values()):,} in test)."
    )


def build_films(report: DataReport) -> Section:
    """Build the section on the sizes of the films on disk."""
    guide = (
        "Sizes are those of the files before any preprocessing. Splits that differ here were scanned or scaled "
        "differently, which a model can see even after resizing."
    )
    summary = report.summary
    if summary.films.empty:
        return omit_section("films", "Film sizes", guide, "the manifest holds no size of a film")
    sizes = summary.films[["height_px", "width_px"]].drop_duplicates()
    if len(sizes) == 1:
        height, width = sizes.iloc[0]
        note = f"All {len(summary.films):,} films have the same size, {height} x {width} px (height x width)."
        return Section("films", "Film sizes", guide, [Note(note), _film_table(summary.film_sizes)])
    alt = "Height against width of the films and their aspect, by split; quantiles in the next table"
    picture = small_picture(data.draw_film_sizes(summary.films), alt, f"{len(sizes):,} different sizes", "film_sizes")
    return Section("films", "Film sizes", guide, [in_full_width(picture), _film_table(summary.film_sizes)])


def _film_table(table: pd.DataFrame) -> Table:
    groups = []
    for measure, rows in table.groupby("measure", sort=False):
        if rows["min"].min() == rows["max"].max():
            continue
        name, form = MEASURES[str(measure)]
        cells = [_quantile_cells([row["split"]], row, form.format) for _, row in rows.iterrows()]
        groups.append((name, cells))
    return Table("Films (their quantiles by split)", ["split", "n", "min", "25 %", "median", "75 %", "max"], groups)


def _quantile_cells(names: list[str], row: pd.Series, form: Callable[[float], str]) -> list[Cell]:
    values = [Cell(form(row[name]), float(row[name])) for name in ("min", "q25", "median", "q75", "max")]
    return [*map(Cell, names), count_cell(row["n"]), *values]


def build_lesions(report: DataReport) -> Section:
    """Build the section on the sizes of the lesions, by class and split."""
    guide = (
        "A curve further right belongs to larger lesions. Where benign and malignant curves part, size alone tells "
        "something about the label; where a class's curves part between splits, the lesions of test are not those of "
        "training."
    )
    summary = report.summary
    if summary.lesions.empty:
        return omit_section("lesions", "Lesion sizes", guide, "no sample has a marked lesion, or none was preprocessed")
    alt = "Cumulative distribution of lesion size by class and split; quantiles in the next table"
    picture = small_picture(data.draw_lesion_sizes(summary.lesions), alt, "Lesion size", "lesion_sizes")
    rows = [
        _quantile_cells([row["split"], row["class"]], row, lambda share: f"{100 * share:.3g} %")
        for _, row in summary.lesion_sizes.iterrows()
    ]
    head = ["split", "class", "n", "min", "25 %", "median", "75 %", "max"]
    table = Table("Share of the film's pixels that are marked as lesion (quantiles)", head, [("", rows)])
    return Section("lesions", "Lesion sizes", guide, [in_full_width(picture), table])


def build_intensities(report: DataReport) -> Section:
    """Build the section on the grey values of the models' inputs."""
    guide = (
        "Grey values after preprocessing, pixel by pixel. The curves of the splits should lie on each other; black is "
        "what lies outside the breast, beyond the film or below the window; black and white are left out of the curves."
    )
    summary, bits = report.summary, report.params.preprocess.bits
    if summary.intensity.empty:
        return omit_section("intensities", "Intensities", guide, "there is no pixel store")
    alt = "Distribution of the grey values by split; moments and quantiles in the next table"
    picture = small_picture(data.draw_intensities(summary.histograms), alt, f"Stored with {bits} bits", "intensities")
    rows = [
        [
            Cell(row["split"]),
            *(percent_cell(row[name]) for name in ("black", "white")),
            *(decimal_cell(row[name]) for name in ("mean", "sd", "q05", "median", "q95")),
        ]
        for _, row in summary.intensity.iterrows()
    ]
    head = ["split", "black pixels", "white pixels", "mean", "sd", "5 %", "median", "95 %"]
    table = Table("Pixels; mean to 95 %: of those that are not black", head, [("", rows)])
    return Section("intensities", "Intensities", guide, [Row([in_full_width(picture), table])])
