"""One self-contained HTML file about a whole pipeline run: the same inputs give the same bytes.

`Content` holds what the report rests on (tables, records, images), `SECTIONS` the report's order: a section is a
function Content -> Section, made of tables, pictures and notes, which mammo.page draws.
"""

import importlib.metadata
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

from mammo.core import row_names, schemas
from mammo.core.config import Config, flatten
from mammo.core.files import write_text
from mammo.core.records import Record
from mammo.evaluation.clinical_tables import COLUMNS
from mammo.metrics.calibration import wilson
from mammo.reporting import comparison, page
from mammo.reporting.figures import evaluation
from mammo.reporting.figures.evaluation import is_baseline, not_estimable
from mammo.reporting.page import Block, Cell, Note, Picture, Pictures, Section, Table

TEXT_COLUMNS = [
    "model",
    "samples",
    "level",
    "point",
    "metric",
    "variable",
    "value",
    "note",
    "method",
    "rule",
    "kind",
    "sample_id",
    "patient_id",
    "pathology",
    "abnormality_type",
    "breast_density",
    "subtlety",
]
# metrics.csv alone uses the name `value` for a number.
NUMBERS_NAMED_AS_TEXT = {"metrics": {"value"}}

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
TITLE = "report of a pipeline run"
COLUMNS_PER_TABLE = 6
COUNTS = {"n", "rank", "rows"}
# The points that every model is reported at beside the chosen one (operating_points.csv).
FIXED_POINT = r"(sensitivity|specificity)_\d+"
LOCALISATION = {
    "pointing": "Pointing game: share of test images whose map is highest inside the lesion",
    "energy": "Share of the map that lies inside the lesion",
    "distance_px": "Distance from the map's maximum to the lesion, px",
}
CHECKS = {
    "cascade": "likeness once every layer is drawn anew",
    "perturbation": "insertion less deletion",
    "images": "likeness of the maps of two patients",
    "labels": "likeness to the maps of a model of permuted labels",
    "teaching": "likeness to the maps under another seed, less that to those of permuted labels",
    "seeds": "likeness to the maps under another seed, less that of two patients' maps",
}
REGIONS = {"outside": "outside the breast", "marks": "film marks", "sides": "image's sides"}
DECISION_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
IMAGES_PER_KIND = 4
# They change how a run is computed or where it is logged, and no result (dvc.yaml).
WITHOUT_INFLUENCE = ("compute", "tracking")
PACKAGES = [
    "mammo",
    "dvc",
    "jinja2",
    "keras",
    "matplotlib",
    "mlflow",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "scikit-learn",
    "scipy",
    "tensorflow",
]


@dataclass(frozen=True)
class Content:
    """What a report and its model cards rest on.

    tables: by the names of clinical.COLUMNS (`read_tables`). roc: model, false_positive_rate, sensitivity, optionally
    low and high. gradcam, shortcut_images: PNG by model. localisation, shortcuts, sanity: summary.csv, shortcuts.csv
    and sanity.csv of every explained model, with the column model; retrained: summary.csv of the stage retrained_maps
    likewise, whose checks are in `sanity` too. error_images: PNG by (model, sample_id) (`figures.case_png`).
    """

    params: Config
    fingerprint: str
    cases: pd.DataFrame
    splits: pd.DataFrame
    excluded: pd.DataFrame
    dropped: pd.DataFrame
    comparison: pd.DataFrame
    paired_tests: pd.DataFrame
    roc: pd.DataFrame
    tables: Mapping[str, pd.DataFrame]
    records: Sequence[Record]
    versions: Mapping[str, str]
    gradcam: Mapping[str, bytes] = field(default_factory=dict)
    localisation: pd.DataFrame = field(default_factory=pd.DataFrame)
    sanity: pd.DataFrame = field(default_factory=pd.DataFrame)
    retrained: pd.DataFrame = field(default_factory=pd.DataFrame)
    shortcuts: pd.DataFrame = field(default_factory=pd.DataFrame)
    shortcut_images: Mapping[str, bytes] = field(default_factory=dict)
    error_images: Mapping[tuple[str, str], bytes] = field(default_factory=dict)

    @property
    def synthetic(self) -> bool:
        """Whether the films are drawn by the program."""
        return self.params.ingest.source == "demo"

    @property
    def percent(self) -> str:
        """The confidence of all intervals, as `95 %`."""
        return f"{100 * self.params.evaluate.confidence:g} %"

    def models(self, *, baselines: bool = False) -> list[str]:
        """The rows of the comparison table, in its order."""
        return [name for name in self.comparison["model"] if baselines or not is_baseline(name)]


def write(path: Path, content: Content) -> None:
    """Write the report as one HTML file without links to anything outside."""
    write_text(path, render(content))


def render(content: Content) -> str:
    """The report as HTML."""
    sections = [build(content) for build in SECTIONS]
    return page.html(TITLE, sections, synthetic=content.synthetic)


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of metrics/evaluation by name; raises TableError naming a missing file or column."""
    return {name: _read_table(folder / f"{name}.csv", columns) for name, columns in COLUMNS.items()}


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise schemas.TableError(f"{path} does not exist; `dvc repro evaluate` writes it")
    texts = set(TEXT_COLUMNS) - NUMBERS_NAMED_AS_TEXT.get(path.stem, set())
    table = pd.read_csv(path, dtype=dict.fromkeys(texts & set(columns), str), keep_default_na=False, na_values=[""])
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise schemas.TableError(f"{path}: columns missing: {', '.join(missing)} (needed: {', '.join(columns)})")
    numbers = [column for column in columns if column not in texts]
    return table.astype(dict.fromkeys(numbers, "float64")).fillna(dict.fromkeys(texts & set(columns), ""))


def versions() -> dict[str, str]:
    """The installed versions of the packages that a result rests on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def hanley_mcneil(auc: float, n_malignant: int, n_benign: int, confidence: float) -> tuple[float, float]:
    """Limits of a published AUC of which nothing but the counts is known; rows count as independent.

    Hanley & McNeil, Radiology 1982.
    """
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n_malignant - 1) * (q1 - auc**2) + (n_benign - 1) * (q2 - auc**2)
    margin = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(spread / (n_malignant * n_benign))
    return max(0.0, auc - margin), min(1.0, auc + margin)


def headline(content: Content) -> Section:
    """The comparison table with baselines, and the published rows for orientation."""
    metrics = list(comparison.TABLE_METRICS)
    rows = [_headline_row(row, metrics) for _, row in content.comparison.iterrows()]
    same = _is_official_test(content)
    mark = "the same 704 official test rows" if same else "another sample than the rows above"
    published = [_published_row(name, metrics, content.params.evaluate.confidence, same) for name in PUBLISHED]
    head = ["model", "weights", "samples", "n (patients)", *(metric_name(name) for name in metrics)]
    return Section(
        "headline",
        "Headline table",
        f"Each value stands over its {content.percent} interval, resampled by patient; two rows differ where a paired "
        "test says so (Paired tests), not where their intervals happen to overlap or not.",
        [
            Table(
                "Metrics on the reported samples, at the operating point chosen on validation",
                head,
                [("", rows), (f"Published, for orientation only: {mark}", published)],
            ),
            Note(
                "The published rows are the two notebook projects that this one re-does. Their intervals follow from "
                f"n alone ({OFFICIAL_TEST_MALIGNANT} malignant of {OFFICIAL_TEST} lesion rows; AUC: Hanley & McNeil "
                "1982, proportions: Wilson 1927) and take rows as independent; by patient they would be wider."
            ),
        ],
    )


def _headline_row(row: pd.Series, metrics: list[str]) -> list[Cell]:
    count = Cell(f"{row['n']:.0f} ({row['n_patients']:.0f})", float(row["n"]))
    return [Cell(row["model"]), Cell(row["weights"]), Cell(row["samples"]), count, *(_metric(row, m) for m in metrics)]


def why_not(metric: str) -> str:
    """What stands in the place of a metric of the comparison table that cannot be had."""
    return f"not estimable ({WHY.get(metric, 'undefined on these samples')})"


def _metric(row: pd.Series, metric: str) -> Cell:
    if pd.isna(row[metric]):
        return Cell(why_not(metric))
    text, _, interval = comparison.with_interval(row, metric).partition(" ")
    return Cell(text, float(row[metric]), interval)


def _published_row(name: str, metrics: list[str], confidence: float, same: bool) -> list[Cell]:
    malignant, benign = OFFICIAL_TEST_MALIGNANT, OFFICIAL_TEST - OFFICIAL_TEST_MALIGNANT
    cells = [Cell(name), Cell("not stated"), Cell("official test" if same else "another sample")]
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
    """Whether the reported rows are the 704 lesion rows that the published figures rest on."""
    test = content.cases[content.cases["official_split"] == "test"]
    counts = (len(test), int(test["label"].sum()))
    real_lesions = content.params.ingest.unit == "lesion" and not content.synthetic
    return real_lesions and counts == (OFFICIAL_TEST, OFFICIAL_TEST_MALIGNANT)


def data(content: Content) -> Section:
    """Counts per split, and every row that was left out."""
    cases = content.splits.merge(content.cases, on=["sample_id", "patient_id"], validate="one_to_one")
    kinds = sorted(cases["abnormality_type"].unique())
    splits = ("train", "val", "test")
    rows = [_split_row(split, cases[cases["split"] == split], kinds) for split in splits]
    rows.append(_split_row("all", cases, kinds))
    head = ["split", "samples", "patients", "malignant (prevalence)", *(f"{kind} (malignant)" for kind in kinds)]
    return Section(
        "data",
        "Data",
        "Every published row is in one of these tables: the first counts what was used, the others what was left out "
        "and why; no patient is in two splits.",
        [
            Note(
                f"Data set {content.params.ingest.dataset}, source {content.params.ingest.source}; "
                f"one sample is one {content.params.ingest.unit}."
            ),
            Table("Samples used", head, [("", rows)]),
            _reasons("Excluded before the split", content.excluded, "No row was excluded."),
            _reasons("Dropped from training", content.dropped, "No row was dropped."),
        ],
    )


def _split_row(name: str, rows: pd.DataFrame, kinds: list[str]) -> list[Cell]:
    shares = [_share(rows)] + [_share(rows[rows["abnormality_type"] == kind], total=True) for kind in kinds]
    return [Cell(name), _count(len(rows)), _count(rows["patient_id"].nunique()), *shares]


def _share(rows: pd.DataFrame, total: bool = False) -> Cell:
    """Malignant samples and their share; with `total`, all samples and the malignant among them."""
    malignant = int(rows["label"].sum())
    if total:
        return Cell(f"{len(rows)} ({malignant})", len(rows))
    if rows.empty:
        return Cell("not estimable (no sample)")
    return Cell(f"{malignant} ({malignant / len(rows):.1%})", malignant)


def _reasons(caption: str, rows: pd.DataFrame, none: str) -> Block:
    if rows.empty:
        return Note(f"{caption}: {none}")
    counted = rows.groupby(["reason", "official_split"], sort=True).size().reset_index(name="rows")
    return _plain_table(caption, counted)


def roc(content: Content) -> Section:
    """ROC curves, and what the curves are worth without choosing a threshold."""
    how = (
        "The closer a curve comes to the upper left corner the better; the diagonal is chance, the AUC is the share of "
        "malignant-benign pairs ranked rightly, and a model below the reader's grey curve (baseline_birads) knows less "
        "than the radiologist's own assessment."
    )
    return Section("roc", "ROC curves", how, [*_roc_pictures(content), *_levels(content)])


def _roc_pictures(content: Content) -> list[Block]:
    if content.roc.empty:
        return [Note("ROC curves: not estimable (no sample, or a class is missing).")]
    rows = content.comparison.set_index("model", drop=False)
    legend = {name: f"{name} {comparison.with_interval(row, 'auc')}" for name, row in _by_model(rows)}
    points = {
        name: (1 - row["specificity"], row["sensitivity"])
        for name, row in _by_model(rows)
        if pd.notna(row["specificity"]) and pd.notna(row["sensitivity"])
    }
    overview = evaluation.roc(content.roc, legend, points, "ROC on the official test samples")
    shown = [legend.get(name, name) for name in dict.fromkeys(content.roc["model"])]
    blocks: list[Block] = [_picture(overview, f"ROC curves; AUC: {'; '.join(shown)}", "All rows of the table")]
    banded = [name for name, own in content.roc.groupby("model", sort=False) if evaluation.has_band(own)]
    pictures = [_band(content, str(name), legend) for name in banded if not is_baseline(str(name))]
    return [*blocks, Pictures(pictures)] if pictures else blocks


def _band(content: Content, name: str, legend: Mapping[str, str]) -> Picture:
    figure = evaluation.roc_band(content.roc, name, name)
    text = f"ROC curve of {legend.get(name, name)} with its {content.percent} band"
    return _image(figure, text, f"{name}, {content.percent} band")


def _levels(content: Content) -> list[Block]:
    """Metrics that need no threshold, for every level of aggregation."""
    table = content.tables["metrics"]
    free = table[table["point"] == "all"]
    if free.empty:
        return [Note("Metrics by level: not estimable (metrics/evaluation/metrics.csv holds none).")]
    return _metric_tables(free, ["model", "samples", "level"], "Without a threshold, by level of aggregation")


def operating_points(content: Content) -> Section:
    """What the frozen operating point did on test, and metrics at other points."""
    table = content.tables["operating_points"]
    how = (
        "The threshold was chosen on validation and then frozen; drift is test minus validation, and a large one means "
        "that the promised sensitivity was not kept on new patients."
    )
    blocks: list[Block] = [Note("Operating points: not estimable (the table is empty).")]
    if len(table):
        fixed = table["rule"].str.fullmatch(FIXED_POINT)
        figure = evaluation.drift(table[~fixed])
        alt = "Sensitivity and specificity on validation and on test, per model; the numbers are in the next table"
        blocks = [
            _picture(figure, alt, "Drift of the chosen operating point"),
            _plain_table("The chosen operating point", table[~fixed]),
            _plain_table("Points of fixed sensitivity or specificity", table[fixed]),
        ]
    return Section("operating-points", "Operating points and drift", how, [*blocks, *_at_points(content)])


def _at_points(content: Content) -> list[Block]:
    """Metrics at every point, at the level of the samples themselves."""
    table = content.tables["metrics"]
    chosen = table[(table["point"] != "all") & (table["level"] == content.params.ingest.unit)]
    if chosen.empty:
        return [Note("Metrics at the operating points: not estimable (metrics/evaluation/metrics.csv holds none).")]
    frozen = chosen["point"] == "operating"
    caption, keys = f"Metrics per {content.params.ingest.unit}", ["model", "samples", "point"]
    return [
        *_metric_tables(chosen[frozen], keys, f"{caption} at the operating point"),
        *_metric_tables(chosen[~frozen], keys, f"{caption} at fixed sensitivity or specificity"),
    ]


def calibration(content: Content) -> Section:
    """Reliability before and after recalibration."""
    how = (
        "A calibrated model lies on the diagonal: of the samples given probability .3, 30 % are malignant; slope 1 and "
        "intercept 0 are ideal, ECE and Brier score are better when smaller, and every recalibration was fitted on "
        "validation only."
    )
    reliability, table = content.tables["reliability"], content.tables["calibration"]
    pictures = [
        _image(
            evaluation.calibration(rows, str(name)),
            f"Reliability diagram of {name}: {_calibration_text(table[table['model'] == name])}",
            str(name),
        )
        for name, rows in reliability.groupby("model", sort=False)
        if not is_baseline(str(name))
    ]
    blocks: list[Block] = [Pictures(pictures)] if pictures else [Note("Reliability: not estimable (no bin).")]
    return Section("calibration", "Calibration", how, [*blocks, _calibration_table(table)])


def _calibration_text(rows: pd.DataFrame) -> str:
    known = [f"{row['method']} ECE {row['ece']:.3f}" for _, row in rows.iterrows() if pd.notna(row["ece"])]
    return ", ".join(known) if known else "ECE not estimable"


def _calibration_table(table: pd.DataFrame) -> Block:
    if table.empty:
        return Note("Calibration: not estimable (the table is empty).")
    plain = ["ece", "brier", "reliability", "resolution", "uncertainty"]
    rows = [
        [
            *_named(row, "method"),
            *(_cell(row[name]) for name in plain),
            _with_limits(row, "slope"),
            _with_limits(row, "intercept"),
        ]
        for _, row in table.iterrows()
    ]
    head = ["model", "method", "n", "ECE", "Brier", *plain[2:], "slope", "intercept"]
    return Table("Calibration before (raw) and after", head, [("", rows)])


def _named(row: pd.Series, second: str) -> list[Cell]:
    return [_cell(row["model"]), _cell(row[second]), _count(row["n"])]


def decision_curve(content: Content) -> Section:
    """Net benefit against calling everyone and no one."""
    table = content.tables["decision_curve"]
    how = (
        "At a threshold probability of .2, a missed cancer weighs four false alarms; a model is useful there only if "
        "its curve is above both calling everyone and calling no one."
    )
    blocks: list[Block] = [Note("Decision curve: not estimable (the table is empty).")]
    if len(table):
        alt = "Net benefit against threshold probability per model; the next table holds numbers from it"
        picture = _picture(evaluation.decision_curve(table), alt, "Decision curve")
        blocks = [picture, _decision_table(table)]
    return Section("decision-curve", "Decision curve", how, blocks)


def _decision_table(table: pd.DataFrame) -> Block:
    known = np.sort(table["threshold_prob"].unique())
    nearest = {float(known[np.argmin(np.abs(known - wanted))]) for wanted in DECISION_THRESHOLDS}
    columns = ["model", "threshold_prob", "net_benefit", "treat_all", "treat_none"]
    chosen = table[table["threshold_prob"].isin(nearest)]
    return _plain_table("Net benefit at some thresholds", chosen[columns])


def conformal(content: Content) -> Section:
    """What a model reaches when it may refer a sample to a reader."""
    table = content.tables["conformal"]
    how = (
        "A sample is decided when its prediction set holds one class and referred otherwise: coverage should keep to "
        "the promised line, and the accuracy of the decided is bought with the share referred."
    )
    blocks: list[Block] = [Note("Conformal prediction: not estimable (the table is empty).")]
    if len(table):
        alt = "Coverage, share decided and accuracy of the decided against confidence; numbers in the next table"
        without_baselines = table[~table["model"].map(is_baseline)]
        picture = _picture(evaluation.conformal(without_baselines), alt, "Models and ensembles")
        blocks = [picture, _conformal_table(table)]
    return Section("conformal", "Conformal prediction", how, blocks)


def _conformal_table(table: pd.DataFrame) -> Block:
    plain = ["decided", "accuracy_decided", "sensitivity_decided", "specificity_decided"]
    rows = [
        [*_named(row, "confidence"), _with_limits(row, "coverage"), *(_cell(row[name]) for name in plain)]
        for _, row in table.iterrows()
    ]
    head = ["model", "confidence", "n", "coverage", *map(_words, plain)]
    return Table("Conformal prediction sets", head, [("", rows)])


def subgroups(content: Content) -> Section:
    """AUC by subgroup, with a warning where one is significantly worse."""
    table = content.tables["subgroups"]
    how = (
        "A subgroup's interval far left of the dashed line (all samples) means that the model ranks it worse; a "
        "warning is given only where the difference to the rest is significant after Holm's correction, and absence of "
        "a warning in a small subgroup is no proof of equality."
    )
    if table.empty:
        return Section("subgroups", "Subgroups", how, [Note("Subgroups: not estimable (the table is empty).")])
    overall = content.comparison.set_index("model")["auc"]
    pictures = [
        _image(
            evaluation.forest(rows, float(overall.get(name, np.nan)), str(name)),
            f"Forest plot of the AUC of {name} in {len(rows)} subgroups; the numbers are in the next table",
            str(name),
        )
        for name, rows in table.groupby("model", sort=False)
        if not is_baseline(str(name))
    ]
    return Section(
        "subgroups", "Subgroups", how, [*_warnings(table), Pictures(pictures, size="half"), _subgroup_table(table)]
    )


def _warnings(table: pd.DataFrame) -> list[Block]:
    worse = table[table["worse"] == 1]
    if worse.empty:
        return [Note("No subgroup is significantly worse than the rest.")]
    return [
        Note(
            f"{row['model']} is significantly worse where {_words(row['variable'])} is {row['value']}: AUC "
            f"{row['auc']:.3f}, {row['difference']:+.3f} to the rest (p {_p(row['p_holm'])} after Holm's correction, "
            f"n {row['n']:.0f}).",
            warning=True,
        )
        for _, row in worse.iterrows()
    ]


def _subgroup_table(table: pd.DataFrame) -> Table:
    head = ["model", "variable", "value", "n (patients)", "malignant", "AUC", "difference to the rest", "p (Holm)"]
    return Table("AUC by subgroup", [*head, "verdict"], [("", [_subgroup_row(row) for _, row in table.iterrows()])])


def _subgroup_row(row: pd.Series) -> list[Cell]:
    worse, known = row["worse"] == 1, pd.notna(row["auc"])
    verdict = "significantly worse" if worse else row["note"] if known else ""
    return [
        Cell(row["model"]),
        Cell(_words(row["variable"])),
        Cell(row["value"]),
        Cell(f"{row['n']:.0f} ({row['n_patients']:.0f})", float(row["n"])),
        _count(row["n_malignant"]),
        _with_limits(row, "auc", not_estimable(row["note"]), bare=True),
        _cell(row["difference"]),
        Cell(_p(row["p_holm"]), _number(row["p_holm"])),
        Cell(verdict, warning=worse),
    ]


def paired_tests(content: Content) -> Section:
    """Every two rows of the table on the same samples."""
    table = content.paired_tests
    how = (
        "The difference is the AUC of the second minus that of the first on the same samples; p after Holm's "
        "correction below .05 is evidence that the two rank differently, a larger one none that they are equal."
    )
    if table.empty:
        return Section("paired-tests", "Paired tests", how, [Note("Paired tests: not estimable (no pair of rows).")])
    clear = table[table["p_holm"] < 0.05]
    blocks: list[Block] = [Note("No pair differs significantly after Holm's correction.")]
    if len(clear):
        blocks = [_paired_table("Pairs that differ significantly", clear)]
    best = _best_member(content)
    gained = table[
        (table["model_a"] == best) & table["model_b"].str.startswith((row_names.ENSEMBLE, row_names.TWO_VIEWS))
    ]
    if len(gained):
        blocks.append(_paired_table(f"Ensembles against {best}, their best member on validation", gained))
    return Section("paired-tests", "Paired tests", how, [*blocks, _paired_table("All pairs", table)])


def _best_member(content: Content) -> str | None:
    """The single model of the best validation AUC; None where no training is recorded."""
    trained = [record for record in content.records if record.stage in ("train", "continue_training")]
    aucs = {record.model or record.stage: record.metrics.get("val_auc") or 0.0 for record in trained}
    return max(aucs, key=lambda name: aucs[name], default=None)


def _paired_table(caption: str, table: pd.DataFrame) -> Table:
    rows = [
        [
            Cell(row["model_a"]),
            Cell(row["model_b"]),
            _with_limits(row, "difference", bare=True),
            Cell(_p(row["p"]), _number(row["p"])),
            Cell(_p(row["p_holm"]), _number(row["p_holm"])),
        ]
        for _, row in table.iterrows()
    ]
    return Table(caption, ["first", "second", "AUC difference", "p", "p (Holm)"], [("", rows)])


def errors(content: Content) -> Section:
    """The worst false negatives and false positives of every model."""
    table = content.tables["errors"]
    how = (
        "These are the samples furthest on the wrong side of the operating point; look for what they share, and "
        "mind that a handful of cases explains nothing by itself."
    )
    blocks: list[Block] = []
    for name, rows in table.groupby("model", sort=False):
        shown = rows.drop(columns=["model", "label"])
        blocks.append(_plain_table(f"Worst errors of {name}", shown))
        pictures = [_error_picture(content, row) for _, row in rows.iterrows() if _is_shown(content, row)]
        blocks += [Pictures(pictures, size="thumbnail")] if pictures else []
    return Section("errors", "Error analysis", how, blocks or [Note("Errors: not estimable (the table is empty).")])


def _is_shown(content: Content, row: pd.Series) -> bool:
    return (row["model"], row["sample_id"]) in content.error_images and row["rank"] <= IMAGES_PER_KIND


def _error_picture(content: Content, row: pd.Series) -> Picture:
    caption = f"{row['kind']} {row['rank']:.0f}, {row['sample_id']}: probability {row['prob']:.3f}"
    alt = f"{row['model']}, {caption}, threshold {row['threshold']:.3f}, {row['pathology']}, lesion outlined"
    return Picture(alt, f"{row['model']}: {caption}", content.error_images[row["model"], row["sample_id"]])


def gradcam(content: Content) -> Section:
    """Where the models looked."""
    how = (
        "Bright areas moved the model towards its answer and the green line is the lesion; a map off the lesion is a "
        "reason for doubt, a map on it is no proof of a good reason. Where lesions lie in the middle of every image "
        "the centre is hard to beat, and a method that fails a sanity check says little about the model."
    )
    pictures = [
        Picture(f"Grad-CAM of {name} on sampled test samples, lesions outlined", name, image)
        for name, image in content.gradcam.items()
    ]
    blocks: list[Block] = [Pictures(pictures, size="half")] if pictures else [Note("Grad-CAM: no sheet was given.")]
    measured = [*_localisation(content), *_sanity(content), *_retrained(content), *_shortcuts(content)]
    return Section("gradcam", "Grad-CAM", how, [*blocks, *measured])


def _localisation(content: Content) -> list[Block]:
    """How well the maps find the lesions of the test set, beside maps that know nothing."""
    if content.localisation.empty:
        return []
    overall = content.localisation[content.localisation["variable"] == "all"]
    checks = content.sanity.groupby(["model", "method"])
    blocks: list[Block] = []
    for metric, caption in LOCALISATION.items():
        rows = []
        for _, row in overall[overall["metric"] == metric].iterrows():
            pair = (row["model"], row["method"])
            known = [_with_limits(row, "mean", bare=True), _cell(row["centre"]), _cell(row["random"])]
            rows.append([Cell(row["model"]), Cell(row["method"]), *known, _verdicts(checks.get_group(pair))])
        blocks.append(Table(caption, ["model", "method", "maps", "centre", "random", "sanity checks"], [("", rows)]))
    return blocks


def _verdicts(checks: pd.DataFrame) -> Cell:
    """The checks of one method that are not passed, by verdict."""
    of = {verdict: checks.loc[checks["verdict"] == verdict, "check"] for verdict in ("failed", "undecided")}
    named = [f"{verdict}: {', '.join(own)}" for verdict, own in of.items() if len(own)]
    return Cell("; ".join(named) or "passed", warning=len(of["failed"]) > 0)


def _sanity(content: Content) -> list[Block]:
    """What each check of a method found, and its verdict."""
    if content.sanity.empty:
        return []
    rows = [
        [
            Cell(row["model"]),
            Cell(row["method"]),
            Cell(f"{row['check']}: {CHECKS[row['check']]}"),
            _count(row["n"]),
            _with_limits(row, "value", bare=True),
            Cell(f"{row['must']} {row['limit']:.3f}", float(row["limit"])),
            Cell(row["verdict"], warning=row["verdict"] == "failed"),
        ]
        for _, row in content.sanity.iterrows()
    ]
    how = Note(
        "Likeness is Spearman's rank correlation of two maps. Insertion and deletion are areas under the probability "
        "as pixels appear or vanish in a map's order: maps that know nothing have a difference of 0. A check rests on "
        "n images: it is passed where the whole interval is on the right side of the limit, failed where all of it is "
        "on the wrong side, else undecided."
    )
    return [Table("Sanity checks", ["model", "method", "check", "n", "value", "must be", "verdict"], [("", rows)]), how]


def _retrained(content: Content) -> list[Block]:
    """How alike maps are to those of the same recipe trained again, under permuted labels and under other seeds."""
    if content.retrained.empty:
        return []
    table = content.retrained
    comparisons = list(dict.fromkeys(table["comparison"]))
    rows = []
    for (model, method), own in table.groupby(["model", "method"], sort=False):
        of = {row["comparison"]: row for _, row in own.iterrows()}
        values = [_with_limits(of[name], "mean", bare=True) for name in comparisons]
        rows.append([Cell(str(model)), Cell(str(method)), *values])
    how = Note(
        "labels: the same sample under a model of permuted labels; seeds: under other seeds; samples: another "
        "patient's sample under the same model. Maps that hang on what was taught agree more over seeds than "
        "with permuted labels, and maps that tell of the sample agree more over seeds than two samples' maps do."
    )
    caption = "Rank correlation of test maps with those of a model trained again"
    return [Table(caption, ["model", "method", *comparisons], [("", rows)]), how]


def _shortcuts(content: Content) -> list[Block]:
    """How much of the maps lies where no diagnosis can come from, and the samples where it is most."""
    if content.shortcuts.empty:
        return []
    rows = []
    for (model, method), own in content.shortcuts.groupby(["model", "method"], sort=False):
        of = {row["region"]: row for _, row in own.iterrows()}
        cells = [cell for name in REGIONS for cell in _region_cells(of[name])]
        rows.append([Cell(str(model)), Cell(str(method)), *cells])
    head = ["model", "method", *(name for region in REGIONS.values() for name in (region, "even map"))]
    pictures = [
        Picture(f"Test samples of {name} with the largest shares of their map off the breast", name, image)
        for name, image in content.shortcut_images.items()
    ]
    how = Note(
        "Share of a map outside the breast, on labels, tape and bare film edges, and on the outermost 5 % along the "
        "image's sides, beside the share that an even map has there; n is the number of samples that show such a "
        "region. More than the even map's share is marked: look there for a shortcut. The sheets show the samples "
        "where it is worst."
    )
    blocks: list[Block] = [Table("Share of the maps where no diagnosis can come from", head, [("", rows)]), how]
    return [*blocks, Pictures(pictures, size="half")] if pictures else blocks


def _region_cells(row: pd.Series) -> list[Cell]:
    """The share with its limits and n, marked where it is clearly above that of an even map, and the latter."""
    cell = _with_limits(row, "mean", "no such region", bare=True)
    if pd.isna(row["mean"]):
        return [cell, Cell("")]
    more = bool(row["above_low"] > 0)
    return [Cell(cell.text, cell.value, f"{cell.interval} n {row['n']:.0f}".strip(), more), _cell(row["even"])]


def provenance(content: Content) -> Section:
    """Parameters, data, records and versions: what to compare when two reports differ."""
    how = (
        "Two reports with equal fingerprint, parameters and hashes are about the same run; where they differ, the "
        "first differing row says since which stage."
    )
    return Section(
        "provenance",
        "Provenance",
        how,
        [
            Note(f"Fingerprint of the pixel store (SHA-256): {content.fingerprint}"),
            _pairs("Records, by stage", ["record", "SHA-256"], record_hashes(content)),
            _pairs("Artifacts, by their records", ["artifact", "SHA-256"], artifact_hashes(content.records)),
            _pairs("Parameters", ["parameter", "value"], parameters(content.params)),
            _pairs("Package versions", ["package", "version"], content.versions),
        ],
    )


SECTIONS: tuple[Callable[[Content], Section], ...] = (
    headline,
    data,
    roc,
    operating_points,
    calibration,
    decision_curve,
    conformal,
    subgroups,
    paired_tests,
    errors,
    gradcam,
    provenance,
)


def record_hashes(content: Content) -> dict[str, str]:
    """SHA-256 of every record by its name."""
    return {record.name: record.content() for record in content.records}


def artifact_hashes(records: Sequence[Record]) -> dict[str, str]:
    """SHA-256 of every artifact by its path."""
    return {path: digest for record in records for path, digest in sorted(record.artifacts.items())}


def parameters(params: Config) -> dict[str, str]:
    """The parameters that results rest on, flat: `train.epochs` -> `20`."""
    chosen = {name: value for name, value in params.model_dump().items() if name not in WITHOUT_INFLUENCE}
    return {key: str(value) for key, value in flatten(chosen).items()}


def _by_model(rows: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    return [(str(name), row) for name, row in rows.iterrows()]


def _words(name: str) -> str:
    return "threshold probability" if name == "threshold_prob" else str(name).replace("_", " ")


def metric_name(name: str) -> str:
    """A metric as people write it: AUC, average precision."""
    return name.upper() if len(name) < 4 else _words(name)


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _p(value: float) -> str:
    if math.isnan(value):
        return "not estimable"
    return "< .001" if value < 0.001 else f"{value:.3f}"


def _count(value: float) -> Cell:
    return Cell(f"{value:.0f}", float(value)) if pd.notna(value) else Cell("not estimable")


def _cell(value: Any) -> Cell:
    """Text as it is; a number with three decimals."""
    if isinstance(value, str):
        return Cell(value or "unknown")
    return Cell("not estimable") if pd.isna(value) else Cell(f"{value:.3f}", float(value))


def _with_limits(row: pd.Series, name: str, why: str = "not estimable", bare: bool = False) -> Cell:
    """A value over its limits, in columns <name>_low and <name>_high, or, `bare`, low and high."""
    low, high = (row["low"], row["high"]) if bare else (row[f"{name}_low"], row[f"{name}_high"])
    if pd.isna(row[name]):
        return Cell(why)
    known = pd.notna(low) and pd.notna(high)
    return Cell(f"{row[name]:.3f}", float(row[name]), _limits(low, high) if known else "")


def _limits(low: float, high: float) -> str:
    return f"({low:.3f} to {high:.3f})" if low < 0 else f"({low:.3f}-{high:.3f})"


def _plain_table(caption: str, table: pd.DataFrame) -> Table:
    columns = [[(_count if name in COUNTS else _cell)(value) for value in table[name]] for name in table.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table(caption, [_words(str(name)) for name in table.columns], [("", rows)])


def _pairs(caption: str, head: list[str], values: Mapping[str, str]) -> Table:
    return Table(caption, head, [("", [[Cell(name), Cell(value)] for name, value in values.items()])])


def _metric_tables(table: pd.DataFrame, keys: list[str], caption: str) -> list[Block]:
    """Long metrics -> tables with a row per key and at most COLUMNS_PER_TABLE metrics each."""
    metrics = list(dict.fromkeys(table["metric"]))
    parts = [metrics[start : start + COLUMNS_PER_TABLE] for start in range(0, len(metrics), COLUMNS_PER_TABLE)]
    blocks: list[Block] = []
    for number, part in enumerate(parts, start=1):
        rows = table[table["metric"].isin(part)]
        grouped = [_metric_cells(key, own, part) for key, own in rows.groupby(keys, sort=False)]
        which = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
        head = [*map(_words, keys), "n (patients)", *map(metric_name, part)]
        blocks.append(Table(f"{caption}{which}", head, [("", grouped)]))
    return blocks


def _metric_cells(key: Any, rows: pd.DataFrame, metrics: list[str]) -> list[Cell]:
    """One row of values over intervals; a value with another n than the row's says so."""
    n, n_patients = rows["n"].max(), rows["n_patients"].max()
    cells = {}
    for _, row in rows.iterrows():
        cell = _with_limits(row, "value", bare=True)
        other = "" if row["n"] == n else f" n {row['n']:.0f}"
        cells[row["metric"]] = Cell(cell.text, cell.value, cell.interval + other)
    count = Cell(f"{n:.0f} ({n_patients:.0f})", float(n))
    return [*(Cell(str(part)) for part in key), count, *(cells.get(name, Cell("not computed")) for name in metrics)]


def _image(figure: Figure, alt: str, caption: str) -> Picture:
    return Picture(alt, caption, evaluation.png(figure))


def _picture(figure: Figure, alt: str, caption: str) -> Pictures:
    return Pictures([_image(figure, alt, caption)], size="full")
