"""The section on saliency maps: how well they find lesions, their sanity checks, and signs of shortcuts."""

from collections.abc import Sequence

import pandas as pd

from mammo.explain.shortcuts import REGIONS
from mammo.explain.verdicts import CHECKS, FAILED, PASSED, UNDECIDED
from mammo.reporting.cells import (
    count_cell,
    interval_cell,
    value_cell,
)
from mammo.reporting.evaluation_report.content import Content, MappedCase
from mammo.reporting.page import Block, Cell, Fold, Note, Picture, Pictures, Section, Table

HEAT_LEGEND = (
    "left the whole film with what the model gets outlined in blue, then that part with the lesion in green, then its "
    "map from black over red to yellow, each map by itself; grey is where it is coolest. "
    "TP, FN, FP, TN: true or false positive or negative at the operating point."
)
LOCALISATION = {
    "pointing": "Pointing game: share of test images whose map is highest inside the lesion",
    "energy": "Share of the map that lies inside the lesion",
    "distance_px": "Distance from the map's maximum to the lesion, px",
}


def build_gradcam(content: Content) -> Section:
    """Build the section on saliency maps."""
    guide = (
        "Bright areas moved the model towards its answer and the green line is the lesion; a map off the lesion is a "
        "reason for doubt, a map on it is no proof of a good reason. Where lesions lie in the middle of every image "
        "the centre is hard to beat, and a method that fails a sanity check says little about the model."
    )
    cases = {name: _cases(name, "sampled test samples", given) for name, given in content.gradcam.items()}
    shown = content.best if content.best in cases else next(iter(cases), None)
    blocks: list[Block] = [Note("Grad-CAM: no sheet was given.")]
    if shown is not None:
        others = [Fold(name, [pictures]) for name, pictures in cases.items() if name != shown]
        blocks = [
            Note(f"{shown}; {HEAT_LEGEND}"),
            cases[shown],
            *([Fold("Maps of the others", others)] if others else []),
        ]
    for tabulate in (_localization_tables, _check_table, _retraining_table, _shortcut_table):
        blocks += tabulate(content)
    return Section("gradcam", "Grad-CAM", guide, blocks)


def _cases(model: str, which: str, cases: Sequence[MappedCase]) -> Pictures:
    """Return samples with their maps as thumbnails."""
    return Pictures([Picture(f"{model}, {which}: {text}", text, image) for text, image in cases], size="thumbnail")


def _localization_tables(content: Content) -> list[Block]:
    """Tabulate how well the maps find the lesions of the test set, beside the baselines."""
    if content.localisation.empty:
        return []
    overall = content.localisation[content.localisation["variable"] == "all"]
    checks = content.sanity.groupby(["model", "method"])
    blocks: list[Block] = []
    for metric, caption in LOCALISATION.items():
        rows = []
        for _, row in overall[overall["metric"] == metric].iterrows():
            pair = (row["model"], row["method"])
            known = [interval_cell(row, "mean", bare=True), value_cell(row["centre"]), value_cell(row["random"])]
            rows.append([Cell(row["model"]), Cell(row["method"]), *known, _verdict_cell(checks.get_group(pair))])
        head = ["model", "method", "maps", "centre", "random", "sanity checks"]
        blocks.append(Table(caption, head, [("", rows)], fold=True))
    return blocks


def _verdict_cell(checks: pd.DataFrame) -> Cell:
    """Return the checks of one method that are not passed, by verdict, as a cell."""
    names = {verdict: checks.loc[checks["verdict"] == verdict, "check"] for verdict in (FAILED, UNDECIDED)}
    texts = [f"{verdict}: {', '.join(group)}" for verdict, group in names.items() if len(group)]
    return Cell("; ".join(texts) or PASSED, warning=len(names[FAILED]) > 0)


def _check_table(content: Content) -> list[Block]:
    """Tabulate the value of each check of a method, and its verdict."""
    if content.sanity.empty:
        return []
    rows = [
        [
            Cell(row["model"]),
            Cell(row["method"]),
            Cell(f"{row['check']}: {CHECKS[row['check']]}"),
            count_cell(row["n"]),
            interval_cell(row, "value", bare=True),
            Cell(f"{row['must']} {row['limit']:.3f}", float(row["limit"])),
            Cell(row["verdict"], warning=row["verdict"] == FAILED),
        ]
        for _, row in content.sanity.iterrows()
    ]
    guide = Note(
        "Rank correlations are Spearman's, of two maps. Maps that say nothing about the model have a difference of 0 "
        "between the areas under the probability as pixels appear and as they vanish. A check rests on "
        "n images: it is passed where the whole interval is on the right side of the limit, failed where all of it is "
        "on the wrong side, else undecided."
    )
    head = ["model", "method", "check", "n", "value", "must be", "verdict"]
    return [Fold("Sanity checks of the methods", [guide, Table("Sanity checks", head, [("", rows)])])]


def _retraining_table(content: Content) -> list[Block]:
    """Tabulate the likeness of maps to those of repeated trainings, under permuted labels and under other seeds."""
    if content.retrained.empty:
        return []
    table = content.retrained
    comparisons = list(dict.fromkeys(table["comparison"]))
    rows = []
    for (model, method), group in table.groupby(["model", "method"], sort=False):
        by_key = {row["comparison"]: row for _, row in group.iterrows()}
        values = [interval_cell(by_key[name], "mean", bare=True) for name in comparisons]
        rows.append([Cell(str(model)), Cell(str(method)), *values])
    guide = Note(
        "labels: the same sample under a model of permuted labels; seeds: under other seeds; samples: another "
        "patient's sample under the same model. Maps that hang on what was taught agree more over seeds than "
        "with permuted labels, and maps that tell of the sample agree more over seeds than two samples' maps do."
    )
    caption = "Rank correlation of test maps with those of a model trained again"
    return [Fold(caption, [guide, Table(caption, ["model", "method", *comparisons], [("", rows)])])]


def _shortcut_table(content: Content) -> list[Block]:
    """Tabulate the share of the maps where no diagnosis can come from, and show the samples where it is largest."""
    if content.shortcuts.empty:
        return []
    rows = []
    for (model, method), group in content.shortcuts.groupby(["model", "method"], sort=False):
        by_key = {row["region"]: row for _, row in group.iterrows()}
        cells = [cell for name in REGIONS for cell in _region_cells(by_key[name])]
        rows.append([Cell(str(model)), Cell(str(method)), *cells])
    head = ["model", "method", *(name for region in REGIONS.values() for name in (region, "even map"))]
    sheets = [
        Fold(name, [_cases(name, "a large share of its map off the lesion", cases)])
        for name, cases in content.shortcut_images.items()
        if cases
    ]
    guide = Note(
        "Share of a map outside the breast, on labels, tape and bare film edges, and on the outermost 5 % along the "
        "image's sides, beside the share that an even map has there; n is the number of samples that show such a "
        "region. More than the even map's share is marked: look there for a shortcut. The sheets show the samples "
        "where it is worst."
    )
    table = Table("Share of the maps where no diagnosis can come from", head, [("", rows)], fold=True)
    return [table, Fold("Samples where that share is largest", [guide, *sheets])]


def _region_cells(row: pd.Series) -> list[Cell]:
    """Return the share with its limits and n, marked where it is clearly above that of an even map, and the latter."""
    cell = interval_cell(row, "mean", "no such region", bare=True)
    if pd.isna(row["mean"]):
        return [cell, Cell("")]
    more = bool(row["above_low"] > 0)
    return [Cell(cell.text, cell.value, f"{cell.interval} n {row['n']:.0f}".strip(), more), value_cell(row["even"])]
