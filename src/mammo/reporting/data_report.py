"""The data that were taken in, as a page for people: what there is, how it is split, where it is skewed or incomplete.

A section is a function DataReport -> Section. `write` draws all of them as one HTML file with examples of films, and as
Markdown that holds no film of any patient, to be kept with the results. The same inputs give the same bytes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from mammo.core.config import Config, flatten
from mammo.core.files import atomic_write, write_text
from mammo.core.records import Record
from mammo.data.cohort.summary import ALL, BOTH_VIEWS, MISSING, PATHOLOGIES, SPLITS, VARIABLES, DataSummary, counts_of
from mammo.reporting import page
from mammo.reporting.figures import data, evaluation
from mammo.reporting.figures.data import value_name, variable_name
from mammo.reporting.page import Block, Cell, Note, Picture, Pictures, Row, Section, Table, Tiles

TITLE = "data report"
HTML, MARKDOWN, FIGURES = "data.html", "data.md", "figures"
EXAMPLES_PER_CLASS = 5
NO_SHIFT = "no shift shown"
WHERE_THE_COPY_LIES = "ingest.root"  # on one machine; the page is about what is in it
SECTIONS_OF_PARAMS = ("ingest", "split", "preprocess")
MEASURES = {
    "height_px": ("height (px)", "{:,.0f}"),
    "width_px": ("width (px)", "{:,.0f}"),
    "aspect": ("height / width", "{:.2f}"),
    "megabytes": ("file size (MB)", "{:.3g}"),
}
NUMBER_NAMES = {name: text for name, (text, _) in MEASURES.items()} | {"lesion_share": "lesion, share of the film"}


@dataclass(frozen=True)
class DataReport:
    """What the page rests on; fingerprint: SHA-256 of the pixel store, records: of ingest, split and preprocess."""

    summary: DataSummary
    params: Config
    fingerprint: str
    records: Sequence[Record]

    @property
    def unit(self) -> str:
        """What one sample is."""
        return self.params.ingest.unit

    @property
    def synthetic(self) -> bool:
        """Whether the films are drawn by the program."""
        return self.params.ingest.source == "demo"

    @property
    def percent(self) -> str:
        """The confidence of all intervals, as `95 %`."""
        return f"{100 * self.params.evaluate.confidence:g} %"


def write(folder: Path, report: DataReport, examples: Mapping[str, Sequence[Picture]]) -> None:
    """Write data.html, data.md and figures/ into `folder`; examples: films by pathology, for the HTML page alone."""
    built = sections(report)
    write_text(folder / HTML, html(report, built, examples))
    write_text(folder / MARKDOWN, page.markdown(built, FIGURES, synthetic=report.synthetic))
    for name, png in page.pictures(built).items():
        with atomic_write(folder / FIGURES / f"{name}.png") as unfinished:
            unfinished.write_bytes(png)


def sections(report: DataReport) -> list[Section]:
    """All sections but the examples, in the order of the page; none holds a film of a patient."""
    return [build(report) for build in SECTIONS]


def html(report: DataReport, built: Sequence[Section], examples: Mapping[str, Sequence[Picture]]) -> str:
    """The sections as one HTML file, with the examples, where there are any, before the last."""
    shown = [*built[:-1], example_section(examples), built[-1]] if examples else built
    return page.html(TITLE, shown, synthetic=report.synthetic)


def overview(report: DataReport) -> Section:
    """How much there is, and the way of every published row."""
    summary, ingest = report.summary, report.params.ingest
    whole = counts_of(summary.counts, ALL)
    names = ("patients", "breasts", "views", "films", "abnormalities", "samples")
    tiles = [(f"{whole[name]:,}", name) for name in names]
    tiles.append((_percent(whole["malignant"] / max(1, whole["samples"])), "of the samples malignant"))
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
            _one(
                _drawn(
                    data.flow(summary.flow, ingest.unit),
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
        [Cell(row["split"]), *(_count(row[name]) for name in columns), _part(row["malignant"], row["samples"])]
        for _, row in counts.iterrows()
    ]
    return Table("By split", ["split", *columns, "malignant (share)"], [("", rows)])


def leak_audit(report: DataReport) -> Section:
    """What two splits have in common: it must be nothing."""
    how = (
        "Every count must be 0. Identical images are films whose perceptual hashes agree, whatever their names; "
        "identical files agree byte by byte. The nearest distance is no count: it is the number of bits in which the "
        "two most similar films of different sides differ."
    )
    summary = report.summary
    if summary.leaks is None or summary.leak_checks.empty:
        return _left_out("leak-audit", "Leak audit", how, "the split stage wrote no metrics/leak_audit.json")
    return Section("leak-audit", "Leak audit", how, [_verdict(summary), _leak_table(summary.leak_checks)])


def _verdict(summary: DataSummary) -> Note:
    between = ", ".join(summary.leak_checks["between"])
    if summary.leaks:
        return Note(f"{summary.leaks:,} leaks between {between}: no result on these splits can be trusted.", True)
    bits = summary.same_film_bits
    same = "" if bits is None else f" Films that differ in at most {bits} bits count as identical."
    return Note(f"No leak was found between {between}.{same}")


def _leak_table(checks: pd.DataFrame) -> Table:
    names = [name for name in checks.columns if name != "between"]
    rows = [[Cell(row["between"]), *(_leak_cell(name, row[name]) for name in names)] for _, row in checks.iterrows()]
    return Table("In common between two sides", ["between", *map(_words, names)], [("", rows)])


def _leak_cell(name: str, value: float | None) -> Cell:
    if value is None or math.isnan(value):
        return Cell("nothing to compare")
    return Cell(f"{value:,.0f}", float(value), warning=value > 0 and not name.endswith("distance"))


def prevalence(report: DataReport) -> Section:
    """The malignant share by subgroup and split, and its shift from training to test."""
    table = report.summary.prevalence
    how = (
        f"Points are shares of malignant samples with their {report.percent} interval, resampled by patient (hollow: "
        "too few patients for one). Where a value's points lie far from the lines of their split, the value alone says "
        "something about the label. Subtlety 5 is an obvious lesion."
    )
    shown = set(table["variable"]) - {ALL}
    absent = [variable_name(name) for name in VARIABLES if name not in shown]
    blocks: list[Block] = [_shift_note(report), _shift_table(report)]
    if shown:
        alt = "Malignant share by value of every variable and split; numbers in the next table"
        picture = _drawn(data.prevalence(table), alt, "Prevalence by value and split", "prevalence")
        blocks += [_one(picture), _prevalence_table(table)]
    if absent:
        blocks.append(Note(f"Left out, because it is the same for all samples: {', '.join(absent)}."))
    return Section("prevalence", "Prevalence of malignancy", how, blocks)


def _shift_note(report: DataReport) -> Note:
    """The shift over all samples in words."""
    row, percent = report.summary.shift.iloc[0], report.percent
    if pd.isna(row["difference"]):
        return Note("Whether the prevalence shifts from training to test is not estimable: a side has no sample.")
    start = (
        f"Of the training patients' samples (train and val) {_percent(row['training'])} are malignant, of the test "
        f"set's {_percent(row['test'])}"
    )
    if pd.isna(row["low"]):
        return Note(f"{start}; there are too few patients for an interval of the difference.")
    limits = f"{percent} CI {_signed(row['low'])} to {_signed(row['high'])}"
    change = f"{_signed(row['difference'])} percentage points ({limits})"
    if _verdict_of_shift(row) == NO_SHIFT:
        return Note(f"{start}: {change}, so that no shift can be shown.")
    consequence = "low" if row["difference"] > 0 else "high"
    return Note(
        f"{start}: {change}. The prevalence {_verdict_of_shift(row)} from training to test: probabilities learned in "
        f"training are on average too {consequence} for the test set. PPV, NPV and calibration depend on that; "
        "sensitivity, specificity and AUC do not."
    )


def _verdict_of_shift(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return "not estimable"
    if row["low"] <= 0 <= row["high"]:
        return NO_SHIFT
    return "rises" if row["difference"] > 0 else "falls"


def _shift_table(report: DataReport) -> Table:
    rows = [
        [
            Cell("all" if row["group"] == ALL else row["group"]),
            *(_share(row[name]) for name in ("training", "test")),
            _difference(row),
            Cell(_verdict_of_shift(row)),
        ]
        for _, row in report.summary.shift.iterrows()
    ]
    head = ["samples", "training (train and val)", "test", "difference in points", "prevalence"]
    return Table("Malignant share, from training to test", head, [("", rows)])


def _difference(row: pd.Series) -> Cell:
    if pd.isna(row["difference"]):
        return Cell("not estimable")
    limits = f"({_signed(row['low'])} to {_signed(row['high'])})" if pd.notna(row["low"]) else ""
    return Cell(_signed(row["difference"]), float(row["difference"]), limits)


def _prevalence_table(table: pd.DataFrame) -> Table:
    groups = []
    for variable, rows in table.groupby("variable", sort=False):
        own = []
        for value, of_value in rows.groupby("value", sort=False):
            cells = {row["split"]: _prevalence_cell(row) for _, row in of_value.iterrows()}
            own.append([Cell(_value(str(variable), str(value))), *(cells[split] for split in SPLITS)])
        groups.append((variable_name(str(variable)), own))
    return Table("Malignant of all samples (share, interval), by split", ["value", *SPLITS], groups, fold=True)


def _prevalence_cell(row: pd.Series) -> Cell:
    if not row["n"]:
        return Cell("no sample", 0.0)
    limits = f" ({100 * row['low']:.1f}-{100 * row['high']:.1f})" if pd.notna(row["low"]) else ""
    text = f"{row['n_malignant']:,.0f} of {row['n']:,.0f}"
    return Cell(text, float(row["prevalence"]), f"{_percent(row['prevalence'])}{limits}")


def shortcuts(report: DataReport) -> Section:
    """What a model could answer without looking at the lesion."""
    how = (
        "AUC of one number as the score, on the training patients (train and val): .5 tells nothing, above it the "
        "number is larger where malignant, below it smaller. A model that reaches no more than these may have learned "
        "them instead of the lesion; compare also the baselines of the evaluation."
    )
    table = report.summary.shortcuts
    if table.empty:
        return _left_out("shortcuts", "Shortcuts to the label", how, "no number differs between the samples")
    rows = [
        [
            Cell(NUMBER_NAMES.get(row["number"], variable_name(row["number"]))),
            Cell(f"{row['n']:,} ({row['n_patients']:,})", float(row["n"])),
            _auc(row),
            Cell(_verdict_of_shortcut(row)),
        ]
        for _, row in table.iterrows()
    ]
    head = ["number", "n (patients)", "AUC", "says about the label"]
    return Section("shortcuts", "Shortcuts to the label", how, [Table("Numbers as scores", head, [("", rows)])])


def _auc(row: pd.Series) -> Cell:
    if pd.isna(row["auc"]):
        return Cell("not estimable (a class is missing)")
    limits = f"({row['low']:.3f}-{row['high']:.3f})" if pd.notna(row["low"]) else ""
    return Cell(f"{row['auc']:.3f}", float(row["auc"]), limits)


def _verdict_of_shortcut(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return "not estimable"
    if row["low"] <= 0.5 <= row["high"]:
        return "nothing that can be shown"
    return "larger where malignant" if row["auc"] > 0.5 else "smaller where malignant"


def pathology(report: DataReport) -> Section:
    """What the labels are made of."""
    table = report.summary.pathology
    how = (
        "MALIGNANT is the positive class, everything else the negative one. BENIGN_WITHOUT_CALLBACK needed no work-up "
        "and is the easier negative: the more of it a split holds, the better a model looks there."
    )
    alt = "Samples by pathology per split and abnormality type; numbers in the next table"
    picture = _drawn(data.pathology(table), alt, "Pathology (numbers: samples)", "pathology")
    return Section("pathology", "Labels by pathology", how, [_one(picture), _pathology_table(table)])


def _pathology_table(table: pd.DataFrame) -> Table:
    present = [name for name in PATHOLOGIES if (table["pathology"] == name).any()]
    groups = []
    for kind, rows in table.groupby("abnormality_type", sort=False):
        counted = rows.pivot_table(index="split", columns="pathology", values="n", aggfunc="sum", fill_value=0)
        counted = counted.reindex(
            index=[name for name in SPLITS if name in counted.index], columns=present, fill_value=0
        )
        own = [
            [Cell(str(split)), *(_part(row[name], row.sum()) for name in present)] for split, row in counted.iterrows()
        ]
        groups.append((str(kind), own))
    return Table("Samples by pathology (share)", ["split", *present], groups)


def structure(report: DataReport) -> Section:
    """How samples share films, breasts and patients."""
    summary = report.summary
    how = (
        "Samples of one patient are no independent evidence, which is why splits and intervals go by patient; mixed "
        "units hold benign and malignant samples at once and count as malignant where a unit is scored as a whole. "
        "A model of whole breasts must do with one view where the other is missing."
    )
    per_unit = _drawn(
        data.abnormalities_per(summary.abnormalities_per),
        "How many films, breasts and patients show how many abnormalities, as bars with their numbers",
        "Abnormalities per film, breast and patient",
        "abnormalities_per",
    )
    views = _drawn(
        data.views_per_breast(summary.views_per_breast),
        "Breasts with both views or one alone, by split; numbers in the next table",
        "Views per breast (numbers: breasts)",
        "views_per_breast",
    )
    views_table = _counted("Breasts by their views", summary.views_per_breast)
    mixed_table = _counted("Of both classes", summary.mixed_labels)
    return Section(
        "structure",
        "Abnormalities, views, patients",
        how,
        [_one(per_unit), _views_note(summary), Row([_one(views), views_table, mixed_table])],
    )


def _views_note(summary: DataSummary) -> Note:
    whole, test = (counts_of(summary.views_per_breast, split) for split in (ALL, "test"))
    return Note(
        f"Both views are there for {whole[BOTH_VIEWS]:,} of {sum(whole.values()):,} breasts "
        f"({test[BOTH_VIEWS]:,} of {sum(test.values()):,} in test)."
    )


def films(report: DataReport) -> Section:
    """How large the films are, as they lie on disk."""
    how = (
        "Sizes are those of the files before any preprocessing. Splits that differ here were scanned or scaled "
        "differently, which a model can see even after resizing."
    )
    summary = report.summary
    if summary.films.empty:
        return _left_out("films", "Film sizes", how, "the manifest holds no size of a film")
    sizes = summary.films[["height_px", "width_px"]].drop_duplicates()
    if len(sizes) == 1:
        height, width = sizes.iloc[0]
        note = f"All {len(summary.films):,} films have the same size, {height} x {width} px (height x width)."
        return Section("films", "Film sizes", how, [Note(note), _film_table(summary.film_sizes)])
    alt = "Height against width of the films and their aspect, by split; quantiles in the next table"
    picture = _drawn(data.film_sizes(summary.films), alt, f"{len(sizes):,} different sizes", "film_sizes")
    return Section("films", "Film sizes", how, [_one(picture), _film_table(summary.film_sizes)])


def _film_table(table: pd.DataFrame) -> Table:
    groups = []
    for measure, rows in table.groupby("measure", sort=False):
        if rows["min"].min() == rows["max"].max():
            continue
        name, form = MEASURES[str(measure)]
        own = [_quantile_cells([row["split"]], row, form.format) for _, row in rows.iterrows()]
        groups.append((name, own))
    return Table("Films (their quantiles by split)", ["split", "n", "min", "25 %", "median", "75 %", "max"], groups)


def _quantile_cells(names: list[str], row: pd.Series, form: Callable[[float], str]) -> list[Cell]:
    values = [Cell(form(row[name]), float(row[name])) for name in ("min", "q25", "median", "q75", "max")]
    return [*map(Cell, names), _count(row["n"]), *values]


def lesions(report: DataReport) -> Section:
    """How large the lesions are, by class and split."""
    how = (
        "A curve further right belongs to larger lesions. Where benign and malignant curves part, size alone tells "
        "something about the label; where a class's curves part between splits, the lesions of test are not those of "
        "training."
    )
    summary = report.summary
    if summary.lesions.empty:
        return _left_out("lesions", "Lesion sizes", how, "no sample has a marked lesion, or none was preprocessed")
    alt = "Cumulative distribution of lesion size by class and split; quantiles in the next table"
    picture = _drawn(data.lesion_sizes(summary.lesions), alt, "Lesion size", "lesion_sizes")
    rows = [
        _quantile_cells([row["split"], row["class"]], row, lambda share: f"{100 * share:.3g} %")
        for _, row in summary.lesion_sizes.iterrows()
    ]
    head = ["split", "class", "n", "min", "25 %", "median", "75 %", "max"]
    table = Table("Share of the film's pixels that are marked as lesion (quantiles)", head, [("", rows)])
    return Section("lesions", "Lesion sizes", how, [_one(picture), table])


def intensities(report: DataReport) -> Section:
    """The grey values that a model sees."""
    how = (
        "Grey values after preprocessing, pixel by pixel. The curves of the splits should lie on each other; black is "
        "what lies outside the breast, beyond the film or below the window; black and white are left out of the curves."
    )
    summary, bits = report.summary, report.params.preprocess.bits
    if summary.intensity.empty:
        return _left_out("intensities", "Intensities", how, "there is no pixel store")
    alt = "Distribution of the grey values by split; moments and quantiles in the next table"
    picture = _drawn(data.intensities(summary.histograms), alt, f"Stored with {bits} bits", "intensities")
    rows = [
        [
            Cell(row["split"]),
            *(_share(row[name]) for name in ("black", "white")),
            *(_decimal(row[name]) for name in ("mean", "sd", "q05", "median", "q95")),
        ]
        for _, row in summary.intensity.iterrows()
    ]
    head = ["split", "black pixels", "white pixels", "mean", "sd", "5 %", "median", "95 %"]
    table = Table("Pixels; mean to 95 %: of those that are not black", head, [("", rows)])
    return Section("intensities", "Intensities", how, [Row([_one(picture), table])])


def metadata(report: DataReport) -> Section:
    """Empty and impossible values, and whether they give the label away."""
    how = (
        "BI-RADS 0 is an assessment of its own (incomplete); density 0 and subtlety 0 are no categories and mean that "
        "nothing is known. Compare the malignant shares: where samples without a value differ much from the others, "
        "the gap itself leaks the label."
    )
    table = report.summary.metadata
    groups = []
    for variable, rows in table.groupby("variable", sort=False):
        own = [
            [
                Cell(_state(str(variable), row["state"])),
                *(_count(row[split]) for split in SPLITS),
                _count(row["n"]),
                _part(row["n_malignant"], row["n"]),
            ]
            for _, row in rows.iterrows()
        ]
        groups.append(("marking of the lesion" if variable == "marking" else variable_name(str(variable)), own))
    head = ["value", *SPLITS, "all", "malignant (share)"]
    return Section(
        "metadata", "Missing and dirty metadata", how, [_gaps_note(table), Table("Samples by value", head, groups)]
    )


def _state(variable: str, state: str) -> str:
    return "no lesion is marked" if state == "none" else _value(variable, state)


def _gaps_note(table: pd.DataFrame) -> Note:
    unknown = table["state"].eq(MISSING) | (table["state"].eq("0") & table["variable"].ne("birads"))
    if not unknown.any():
        return Note("Density, BI-RADS and subtlety are known for every sample.")
    told = [
        f"{variable_name(row['variable'])} {_value(row['variable'], row['state'])} in {_samples(row['n'])}"
        for _, row in table[unknown].iterrows()
    ]
    return Note(f"Not known: {', '.join(told)}.")


def left_out(report: DataReport) -> Section:
    """Excluded and dropped rows by reason."""
    how = (
        "An excluded row could not be used (data/excluded.csv); a dropped one is usable, but would leak into the "
        "official test set (data/dropped.csv). Reasons that differ in a file name alone are counted together."
    )
    summary = report.summary
    return Section(
        "left-out",
        "Excluded and dropped rows",
        how,
        [
            _reason_table("Excluded before the split", summary.excluded, "No row was excluded."),
            _reason_table("Dropped from training", summary.dropped, "No row was dropped."),
        ],
    )


def _reason_table(caption: str, table: pd.DataFrame, none: str) -> Block:
    if table.empty:
        return Note(f"{caption}: {none}")
    rows = [
        [Cell(row["reason"]), _count(row["train"]), _count(row["test"]), Cell(row["example"])]
        for _, row in table.iterrows()
    ]
    return Table(caption, ["reason", "train rows", "test rows", "first example"], [("", rows)])


def folds(report: DataReport) -> Section:
    """Whether the folds of the cross-validation are alike."""
    how = (
        "Patients, not samples, are dealt out, stratified by label and abnormality type; the shares of malignant "
        "samples should be alike, and small differences are the price of keeping patients whole."
    )
    table = report.summary.folds
    if table.empty:
        return _left_out("folds", "Folds", how, "no sample is in a fold")
    spread = table["share_malignant"].max() - table["share_malignant"].min()
    note = Note(f"Between the folds the malignant share varies by {100 * spread:.1f} percentage points.")
    alt = "Benign and malignant samples per fold; numbers in the next table"
    picture = _drawn(data.folds(table), alt, "Samples per fold", "folds")
    names = [name for name in table.columns if name not in ("fold", "share_malignant", "malignant")]
    rows = [
        [Cell(f"{row['fold']:.0f}"), *(_count(row[name]) for name in names), _part(row["malignant"], row["samples"])]
        for _, row in table.iterrows()
    ]
    return Section(
        "folds",
        "Folds",
        how,
        [note, Row([_one(picture), Table("By fold", ["fold", *names, "malignant (share)"], [("", rows)])])],
    )


def provenance(report: DataReport) -> Section:
    """What to compare when two data reports differ."""
    how = "Two reports with equal fingerprint and hashes are about the same data, split and preprocessed the same way."
    chosen = {name: getattr(report.params, name).model_dump() for name in SECTIONS_OF_PARAMS}
    flattened = {name: str(value) for name, value in flatten(chosen).items() if name != WHERE_THE_COPY_LIES}
    values = {"seed": str(report.params.seed)} | flattened
    return Section(
        "provenance",
        "Provenance",
        how,
        [
            Note(f"Fingerprint of the pixel store (SHA-256): {report.fingerprint}"),
            _pairs("Records", ["record", "SHA-256"], {one.name: one.content() for one in report.records}),
            _pairs("Parameters", ["parameter", "value"], values),
        ],
    )


SECTIONS: tuple[Callable[[DataReport], Section], ...] = (
    overview,
    leak_audit,
    prevalence,
    shortcuts,
    pathology,
    structure,
    films,
    lesions,
    intensities,
    metadata,
    left_out,
    folds,
    provenance,
)


def draw_examples(
    cases: pd.DataFrame,
    images: npt.NDArray[np.uint8] | npt.NDArray[np.uint16],
    masks: npt.NDArray[np.uint8],
    seed: int,
) -> dict[str, list[Picture]]:
    """Films of random training samples by pathology, as the models see them, their lesions outlined.

    cases: tables.CASES with `split`, one row per image; images, masks: (n, h, w). Of a breast both views are drawn.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[Picture]] = {}
    for pathology in PATHOLOGIES:
        rows = np.flatnonzero((cases["split"] == "train") & (cases["pathology"] == pathology))
        chosen = np.sort(rng.permutation(rows)[:EXAMPLES_PER_CLASS])
        if len(chosen):
            drawn[pathology] = [
                one for row in chosen for one in _films(cases.iloc[row], eight_bits(images[row]), masks[row])
            ]
    return drawn


def eight_bits(image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """An image of any depth as uint8, for showing."""
    return (image >> (8 * image.dtype.itemsize - 8)).astype(np.uint8)


def _films(case: pd.Series, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]) -> list[Picture]:
    """One picture per view: those of a breast lie above each other, and one that is missing is black."""
    squares = max(1, image.shape[0] // image.shape[1])
    parts = zip(np.vsplit(image, squares), np.vsplit(mask, squares), strict=True)
    views = ["CC", "MLO"] if squares > 1 else [case["view"]]
    details = f"{case['pathology']}, {case['abnormality_type']}, BI-RADS {_known(case['birads'])}"
    return [
        Picture(
            f"{case['sample_id']}, {view}, {details}, lesion outlined",
            f"{case['sample_id']}: {case['abnormality_type']}, {view}, BI-RADS {_known(case['birads'])}",
            evaluation.case_png(film, outlined),
        )
        for view, (film, outlined) in zip(views, parts, strict=True)
        if film.any()
    ]


def _known(value: object) -> str:
    return "unknown" if value is pd.NA else str(value)


def example_section(examples: Mapping[str, Sequence[Picture]]) -> Section:
    """Films by pathology."""
    how = (
        "Random training samples as the models see them, the marked lesion outlined in green; none is from the test "
        "set, which stays unseen."
    )
    blocks: list[Block] = []
    for pathology, pictures in examples.items():
        blocks += [Note(pathology), Pictures(list(pictures), size="thumbnail")]
    return Section("examples", "Examples", how, blocks)


def _left_out(name: str, title: str, how: str, why: str) -> Section:
    return Section(name, title, how, [Note(f"{title}: left out, because {why}.")])


def _drawn(figure: Figure, alt: str, caption: str, name: str) -> Picture:
    return Picture(alt, caption, data.png(figure), name)


def _one(picture: Picture) -> Pictures:
    return Pictures([picture], size="full")


def _count(value: float) -> Cell:
    return Cell(f"{value:,.0f}", float(value))


def _part(value: float, whole: float) -> Cell:
    """A count with its share of the whole."""
    share = f" ({_percent(value / whole)})" if whole else ""
    return Cell(f"{value:,.0f}{share}", float(value))


def _share(value: float) -> Cell:
    return Cell("not estimable") if pd.isna(value) else Cell(_percent(value), float(value))


def _decimal(value: float) -> Cell:
    return Cell("not estimable") if pd.isna(value) else Cell(f"{value:.3f}", float(value))


def _counted(caption: str, table: pd.DataFrame) -> Table:
    """A table whose first column names its rows of counts."""
    first, *rest = table.columns
    rows = [[Cell(str(row[first])), *(_count(row[name]) for name in rest)] for _, row in table.iterrows()]
    return Table(caption, [_words(str(name)) for name in table.columns], [("", rows)])


def _pairs(caption: str, head: list[str], values: Mapping[str, str]) -> Table:
    return Table(caption, head, [("", [[Cell(name), Cell(value)] for name, value in values.items()])])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}"


def _samples(count: int) -> str:
    return f"{count:,} sample{'' if count == 1 else 's'}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(variable: str, value: str) -> str:
    return "all" if variable == ALL else value_name(variable, value)
