"""Figures of the data report, drawn from the tables of data_summary; none shows a patient's film.

Splits are blue and differ in marker and line, classes run from green to orange, so that none rests on colour alone and
colour-blind readers can tell them apart (Okabe & Ito 2008). Nothing touches pyplot's state.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from PIL import Image

from mammo.data.cohort.summary import ALL, BOTH_VIEWS, CLASSES, LEVELS, SPLITS, Flow
from mammo.reporting.figures.style import GUIDE_COLOUR

Line = Literal["-", "--"] | tuple[float, tuple[float, ...]]

SPLIT_COLOURS = {"train": "#0072b2", "val": "#56b4e9", "test": "#332288"}
SPLIT_MARKERS = {"train": "o", "val": "s", "test": "^"}
SPLIT_LINES: dict[str, Line] = {"train": "-", "val": (0, (4, 1.5)), "test": (0, (1, 1.2))}
CLASS_COLOURS = {"benign": "#009e73", "malignant": "#d55e00"}
CLASS_LINES: dict[str, Line] = {"benign": "--", "malignant": "-"}
PATHOLOGY_COLOURS = {
    "NORMAL": "#cccccc",
    "BENIGN_WITHOUT_CALLBACK": "#8fd6bf",
    "BENIGN": "#009e73",
    "MALIGNANT": "#d55e00",
}
VIEW_COLOURS = {BOTH_VIEWS: "#0072b2", "CC alone": "#9ecae1", "MLO alone": "#c6a5cc"}
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 10, 9, 8
DPI, PALETTE_COLOURS = 130, 96
LEVELS_PER_POINT = 4
# What a value of a grade means where the number alone misleads.
VALUE_NOTES = {
    ("birads", "0"): "0 (incomplete)",
    ("breast_density", "0"): "0 (no category)",
    ("subtlety", "0"): "0 (no category)",
}
VARIABLE_NAMES = {
    ALL: "all samples",
    "abnormality_type": "abnormality type",
    "breast_density": "breast density",
    "birads": "BI-RADS assessment",
}


def name_value(variable: str, value: str) -> str:
    """Return a value as readers should see it: BI-RADS 0 is an incomplete assessment, density 0 is no category."""
    return VALUE_NOTES.get((variable, value), value)


def name_variable(variable: str) -> str:
    """Return a column's name as people write it."""
    return VARIABLE_NAMES.get(variable, variable)


def encode_small_png(figure: Figure) -> bytes:
    """Encode a figure as PNG with a palette, small enough to be kept in git, in the size of its ink."""
    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(PALETTE_COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@dataclass(frozen=True)
class BoxStyle:
    """The look of a box of the flow chart."""

    edge: str
    face: str = "white"
    width: float = 24
    line_width: float = 1.6
    weight: Literal["normal", "bold"] = "normal"


MAIN_BOX = BoxStyle("#555555", width=30, weight="bold")
SIDE_BOX = BoxStyle(GUIDE_COLOUR, face="#f3f3f1", line_width=1)


def draw_flow(counted: Flow, unit: str) -> Figure:
    """Draw the flow from published rows to the samples of the splits, with what was left out (as in STARD 2015)."""
    figure = Figure(figsize=(10, 4.4))
    axes = figure.subplots()
    axes.set(xlim=(0, 100), ylim=(-3, 41))
    axes.set_axis_off()
    used = f"{counted.used_rows:,} rows = {counted.samples:,} samples\n(one sample: one {unit})"
    _draw_box(axes, (50, 36), f"{counted.published_rows:,} published rows", MAIN_BOX)
    _draw_box(axes, (86, 29), f"{counted.excluded_rows:,} rows excluded", SIDE_BOX)
    _draw_box(axes, (50, 22), used, MAIN_BOX)
    _draw_box(axes, (86, 14.5), f"{counted.dropped_samples:,} samples dropped\n(would leak into test)", SIDE_BOX)
    _draw_arrow(axes, (50, 33.6), (50, 25.2))
    for height in (29, 14.5):
        _draw_arrow(axes, (50, height), (74, height))
    axes.plot([50, 50], [18.8, 8.5], color="#555555", linewidth=1)
    axes.plot([18, 82], [8.5, 8.5], color="#555555", linewidth=1)
    for split, place in zip(SPLITS, (18, 50, 82), strict=True):
        _draw_arrow(axes, (place, 8.5), (place, 4.2))
        text = f"{split}: {counted.split_samples[split]:,} samples\n{counted.patients[split]:,} patients"
        _draw_box(axes, (place, 1), text, BoxStyle(SPLIT_COLOURS[split]))
    return figure


def _draw_box(axes: Axes, centre: tuple[float, float], text: str, look: BoxStyle) -> None:
    height = 6.4 if "\n" in text else 4.8
    axes.add_patch(
        FancyBboxPatch(
            (centre[0] - look.width / 2, centre[1] - height / 2),
            look.width,
            height,
            boxstyle="round,pad=0,rounding_size=0.8",
            facecolor=look.face,
            edgecolor=look.edge,
            linewidth=look.line_width,
        )
    )
    axes.text(*centre, text, ha="center", va="center", fontsize=TEXT_SIZE, weight=look.weight, linespacing=1.35)


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#555555", "shrinkA": 0, "shrinkB": 0})


def draw_prevalence(table: pd.DataFrame) -> Figure:
    """Draw the malignant share by value of each variable and split, with intervals; the lines are the shares over all.

    A hollow point has no interval: too few patients. table: cohort.summary.prevalence.
    """
    overall = table[table["variable"] == ALL].set_index("split")["prevalence"]
    variables = [name for name in dict.fromkeys(table["variable"]) if name != ALL]
    columns = min(3, max(1, len(variables)))
    rows = max(1, -(-len(variables) // columns))
    figure = Figure(figsize=(3.9 * columns, 0.7 + 2.5 * rows))
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes in panels[len(variables) :]:
        axes.set_axis_off()
    for axes, variable in zip(panels, variables, strict=False):
        _draw_prevalence_panel(axes, variable, table[table["variable"] == variable], overall)
    handles = [
        Line2D([], [], color=SPLIT_COLOURS[split], marker=SPLIT_MARKERS[split], linestyle=SPLIT_LINES[split])
        for split in SPLITS
    ]
    labels = [f"{split} (line: all its samples)" for split in SPLITS]
    figure.legend(handles, labels, loc="upper center", ncols=3, frameon=False, fontsize=TEXT_SIZE, handlelength=3.5)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.3 / figure.get_figheight()))
    return figure


def _draw_prevalence_panel(axes: Axes, variable: str, table: pd.DataFrame, overall: "pd.Series[float]") -> None:
    values = list(dict.fromkeys(table["value"]))
    for number, split in enumerate(SPLITS):
        rows = table[(table["split"] == split) & table["prevalence"].notna()]
        places = np.array([values.index(value) for value in rows["value"]]) + 0.22 * (number - 1)
        colour = SPLIT_COLOURS[split]
        axes.axvline(overall.get(split, np.nan), color=colour, linestyle=SPLIT_LINES[split], linewidth=0.9, alpha=0.55)
        axes.hlines(places, rows["low"], rows["high"], color=colour, linewidth=1.3)
        for known, face in ((rows["low"].notna(), colour), (rows["low"].isna(), "white")):
            shares, heights = rows.loc[known, "prevalence"], places[known.to_numpy()]
            axes.plot(shares, heights, SPLIT_MARKERS[split], color=colour, markerfacecolor=face, markersize=4.5)
    for place in range(1, len(values), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="#f3f3f1", zorder=0)
    axes.set_yticks(range(len(values)), [name_value(variable, value) for value in values], fontsize=SMALL_SIZE)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(values) - 0.45, -0.55))
    axes.set_title(name_variable(variable), fontsize=TITLE_SIZE)
    axes.set_xlabel("share malignant", fontsize=SMALL_SIZE)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(axis="x", color="#eeeeee")
    _hide_frame(axes)


def draw_pathology(table: pd.DataFrame) -> Figure:
    """Draw samples by pathology as parts of 100 %, one bar per split and abnormality type; the numbers are samples.

    table: cohort.summary.pathology.
    """
    bars = set(zip(table["abnormality_type"], table["split"], strict=True))
    types = list(dict.fromkeys(table["abnormality_type"]))
    order = [(kind, split) for kind in types for split in SPLITS if (kind, split) in bars]
    figure = Figure(figsize=(10, 0.9 + 0.33 * len(order)))
    axes = figure.subplots()
    shares = table.assign(share=table["n"] / table.groupby(["abnormality_type", "split"])["n"].transform("sum"))
    for place, (kind, split) in enumerate(order):
        rows = shares[(shares["abnormality_type"] == kind) & (shares["split"] == split)].set_index("pathology")
        _draw_stack(axes, place, rows, PATHOLOGY_COLOURS)
    several = len(types) > 1
    names = [f"{kind}, {split}" if several else split for kind, split in order]
    axes.set_yticks(range(len(order)), names, fontsize=TEXT_SIZE)
    axes.set(xlim=(0, 1), ylim=(len(order) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("share of the samples", fontsize=TEXT_SIZE)
    _hide_frame(axes)
    _add_legend_above(
        axes, [name for name in PATHOLOGY_COLOURS if (table["pathology"] == name).any()], PATHOLOGY_COLOURS
    )
    return figure


def _draw_stack(axes: Axes, place: int, parts: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """Draw one bar of 100 %; a part is labelled with its `n` where there is room for it. parts: share, n by name."""
    left = 0.0
    for name, colour in colours.items():
        if name not in parts.index:
            continue
        share, count = float(parts["share"][name]), int(parts["n"][name])
        axes.barh(place, share, left=left, height=0.72, color=colour, edgecolor="white", linewidth=0.8)
        if share > 0.035:
            dark = name in ("NORMAL", "BENIGN_WITHOUT_CALLBACK", "CC alone", "MLO alone")
            text_colour = "#1a1a1a" if dark else "white"
            axes.text(
                left + share / 2, place, f"{count:,}", ha="center", va="center", fontsize=SMALL_SIZE, color=text_colour
            )
        left += share


def _add_legend_above(axes: Axes, names: list[str], colours: Mapping[str, str]) -> None:
    handles = [axes.barh(0, 0, color=colours[name], label=name) for name in names]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(names),
        frameon=False,
        fontsize=SMALL_SIZE,
        borderaxespad=0.2,
    )


def draw_abnormalities_per(table: pd.DataFrame) -> Figure:
    """Draw the number of abnormalities per film, breast and patient; table: cohort.summary.abnormalities_per."""
    levels = list(dict.fromkeys(table["level"]))
    figure = Figure(figsize=(3.6 * len(levels), 2.7))
    for axes, level in zip(np.ravel(figure.subplots(1, len(levels), squeeze=False)), levels, strict=True):
        rows = table[table["level"] == level]
        axes.bar(rows["abnormalities"], rows["units"], color=SPLIT_COLOURS["train"], width=0.75)
        for count, units in zip(rows["abnormalities"], rows["units"], strict=True):
            axes.text(count, units, f"{units:,}", ha="center", va="bottom", fontsize=7)
        axes.set_title(f"per {level}", fontsize=TITLE_SIZE)
        axes.set_xlabel("abnormalities", fontsize=SMALL_SIZE)
        axes.set_ylabel(f"{level}s", fontsize=SMALL_SIZE)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=14, integer=True))
        axes.set_ylim(0, 1.12 * rows["units"].max())
        _hide_frame(axes)
    figure.tight_layout()
    return figure


def draw_views_per_breast(table: pd.DataFrame) -> Figure:
    """Draw breasts with both views or one alone, as shares per split; table: cohort.summary.views_per_breast."""
    rows = table[table["split"] != ALL].set_index("split")
    figure = Figure(figsize=(4.4, 1.9))
    axes = figure.subplots()
    for place, (_, row) in enumerate(rows.iterrows()):
        parts = pd.DataFrame({"n": row, "share": row / max(1, row.sum())})
        _draw_stack(axes, place, parts, VIEW_COLOURS)
    axes.set_yticks(range(len(rows)), list(rows.index), fontsize=TEXT_SIZE)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("share of the breasts", fontsize=SMALL_SIZE)
    _hide_frame(axes)
    _add_legend_above(axes, [name for name in VIEW_COLOURS if rows[name].any()], VIEW_COLOURS)
    return figure


def draw_folds(table: pd.DataFrame) -> Figure:
    """Draw samples per fold by class, and its malignant share written on top; table: cohort.summary.folds."""
    figure = Figure(figsize=(4.4, 2.7))
    axes = figure.subplots()
    base = np.zeros(len(table))
    for name in CLASSES:
        axes.bar(table["fold"], table[name], bottom=base, color=CLASS_COLOURS[name], width=0.7, label=name)
        base = base + table[name].to_numpy()
    for fold, top, share in zip(table["fold"], base, table["share_malignant"], strict=True):
        axes.text(fold, top, f"{share:.0%}", ha="center", va="bottom", fontsize=SMALL_SIZE)
    axes.set_xticks(table["fold"].to_list())
    axes.set_ylim(0, 1.15 * base.max())
    axes.set_xlabel("fold (above: share malignant)", fontsize=SMALL_SIZE)
    axes.set_ylabel("samples", fontsize=SMALL_SIZE)
    _hide_frame(axes)
    axes.legend(fontsize=SMALL_SIZE, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def draw_film_sizes(films: pd.DataFrame) -> Figure:
    """Draw height against width of the films, and their aspect; films: cohort.summary.film_table.

    The area of a point grows with the number of films that share its size.
    """
    figure = Figure(figsize=(10, 3.9))
    left, right = figure.subplots(1, 2)
    edges = np.linspace(films["aspect"].min() - 0.05, films["aspect"].max() + 0.05, 25)
    for split in SPLITS:
        rows = films[films["split"] == split]
        sizes = rows.groupby(["width_px", "height_px"]).size().reset_index(name="n")
        left.scatter(
            sizes["width_px"],
            sizes["height_px"],
            s=14 * np.sqrt(sizes["n"]),
            color=SPLIT_COLOURS[split],
            marker=SPLIT_MARKERS[split],
            alpha=0.45,
            linewidth=0,
            label=split,
        )
        if len(rows):
            right.stairs(
                np.histogram(rows["aspect"], edges)[0] / len(rows),
                edges,
                color=SPLIT_COLOURS[split],
                linestyle=SPLIT_LINES[split],
                linewidth=1.5,
                label=split,
            )
    left.set(xlabel="width (px)", ylabel="height (px)", title="size")
    left.margins(0.08)
    right.set(xlabel="height / width", ylabel="share of the films", title="aspect")
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set_xlim(edges[0], edges[-1])
    _finish_panels(figure, [left, right])
    return figure


def draw_lesion_sizes(lesions: pd.DataFrame) -> Figure:
    """Draw the cumulative share of samples by lesion size, class and split; lesions: cohort.summary.lesion_table."""
    figure = Figure(figsize=(10, 3.2))
    panels = figure.subplots(1, len(SPLITS), sharex=True, sharey=True)
    for axes, split in zip(panels, SPLITS, strict=True):
        for name in CLASSES:
            rows = lesions.loc[(lesions["split"] == split) & (lesions["class"] == name), "lesion_share"]
            if rows.empty:
                continue
            label = f"{name}, n {len(rows):,}"
            axes.ecdf(rows, color=CLASS_COLOURS[name], linestyle=CLASS_LINES[name], linewidth=1.6, label=label)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.2g}%"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set(title=split, xlabel="lesion, share of the film")
    panels[0].set_ylabel("share of samples with a lesion\nno larger", fontsize=TEXT_SIZE)
    _finish_panels(figure, list(panels), grid=True)
    return figure


def draw_intensities(histograms: pd.DataFrame) -> Figure:
    """Draw the distribution of the grey values of model inputs, per split, between black and white.

    histograms: cohort.summary.intensities. Black and white themselves would tower over the rest.
    """
    figure = Figure(figsize=(4.4, 3.1))
    axes = figure.subplots()
    for split in SPLITS:
        rows = histograms[histograms["split"] == split].set_index("level")["pixels"].sort_index().iloc[1:-1]
        if not rows.sum():
            continue
        point = rows.groupby(rows.index // LEVELS_PER_POINT).mean()
        grey = (point.index + 0.5) * LEVELS_PER_POINT / LEVELS
        colour, line = SPLIT_COLOURS[split], SPLIT_LINES[split]
        axes.plot(grey, point * LEVELS / rows.sum(), color=colour, linestyle=line, linewidth=1.5, label=split)
    axes.set(xlabel="grey value (0: black, 1: white)", ylabel="density", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    _finish_panels(figure, [axes], grid=True)
    return figure


def _finish_panels(figure: Figure, panels: list[Axes], grid: bool = False) -> None:
    for axes in panels:
        axes.title.set_fontsize(TITLE_SIZE)
        axes.xaxis.label.set_fontsize(TEXT_SIZE)
        axes.yaxis.label.set_fontsize(TEXT_SIZE)
        if grid:
            axes.grid(color="#eeeeee")
        _hide_frame(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=SMALL_SIZE, frameon=False)
    figure.tight_layout()


def _hide_frame(axes: Axes) -> None:
    axes.tick_params(labelsize=SMALL_SIZE)
    axes.spines[["top", "right"]].set_visible(False)
