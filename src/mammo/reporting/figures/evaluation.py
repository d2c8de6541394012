"""Figures: of the evaluation, drawn from its tables (metrics/evaluation/*.csv, metrics/roc.csv), and of samples.

A model keeps its colour, line and marker in every figure, so that none rests on colour alone; the colours can be told
apart by colour-blind readers (Okabe & Ito 2008). What is nan is not drawn. Nothing touches pyplot's state.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mammo.core.files import atomic_write
from mammo.metrics import discrimination

DPI = 130
MODEL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#882255")
BASELINE_COLOUR = "#777777"
LINES: tuple["Line", ...] = ("-", "--", "-.", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
BASELINE_LINES: tuple["Line", ...] = (":", (0, (1, 3)), (0, (3, 2, 1, 2)))
MARKERS = "os^DvPX*"
GUIDE_COLOUR = "#bbbbbb"
WARNING_COLOUR = "#d55e00"
METHOD_COLOURS = {"raw": "#444444", "temperature": "#0072b2", "platt": "#d55e00", "isotonic": "#009e73"}
BREAST_COLOUR = "#56b4e9"
LESION_COLOUR = "#00ff88"
THUMBNAIL_PX = 192
NOTE_CHARACTERS = 60

Line = str | tuple[int, tuple[float, ...]]
Pixels = npt.NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Style:
    """How one model is drawn in every figure."""

    colour: str
    line: Line
    marker: str


def is_baseline(model: str) -> bool:
    """Whether a row of the comparison table needs no image."""
    return model.startswith("baseline")


def styles(models: Sequence[str]) -> dict[str, Style]:
    """One style per model, by its place among the models; baselines are grey."""
    chosen: dict[str, Style] = {}
    others = [name for name in models if not is_baseline(name)]
    for number, name in enumerate(others):
        turn = number // len(MODEL_COLOURS)
        line = LINES[(number + turn) % len(LINES)]
        colour = MODEL_COLOURS[number % len(MODEL_COLOURS)]
        chosen[name] = Style(colour, line, MARKERS[(number + turn) % len(MARKERS)])
    for number, name in enumerate(name for name in models if is_baseline(name)):
        line = BASELINE_LINES[number % len(BASELINE_LINES)]
        chosen[name] = Style(BASELINE_COLOUR, line, MARKERS[number % len(MARKERS)])
    return chosen


def png(figure: Figure) -> bytes:
    """The figure as PNG whose bytes depend on the figure alone."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write `png(figure)` to a file."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(png(figure))


def case_png(
    image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], heat: npt.NDArray[np.floating] | None = None
) -> bytes:
    """One sample as PNG: the image with its lesion outlined and, where a heat map is given, the two side by side.

    image, mask: (h, w), the mask nonzero inside the lesion; heat: (h, w) in 0..1.
    """
    plain = _enlarged(image, cv2.INTER_LINEAR)
    grey = np.repeat(plain[:, :, np.newaxis], 3, axis=2)
    outlines, _ = cv2.findContours(
        _enlarged((mask > 0).astype(np.uint8), cv2.INTER_NEAREST), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    panels = [grey]
    if heat is not None:
        level = _enlarged(np.clip(255 * heat.astype(np.float32), 0, 255).astype(np.uint8), cv2.INTER_LINEAR)
        coloured = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)
        weight = 0.6 * level[:, :, np.newaxis] / 255
        panels.append(((1 - weight) * grey + weight * coloured).round().astype(np.uint8))
    drawn = [cv2.drawContours(np.ascontiguousarray(panel), outlines, -1, (136, 255, 0), 1) for panel in panels]
    _, encoded = cv2.imencode(".png", np.hstack(drawn))
    return encoded.tobytes()


def _enlarged(image: npt.NDArray[np.uint8], interpolation: int) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=interpolation), np.uint8)


def roc_curve(model: str, rows: pd.DataFrame) -> pd.DataFrame:
    """The curve of one model as the other functions take it; rows: `label` and `prob`."""
    fpr, tpr, _ = discrimination.roc_points(rows["label"].to_numpy(), rows["prob"].to_numpy())
    return pd.DataFrame({"model": model, "false_positive_rate": fpr, "sensitivity": tpr})


def roc(
    curves: pd.DataFrame, legend: Mapping[str, str], points: Mapping[str, tuple[float, float]], title: str
) -> Figure:
    """ROC curves on the same samples.

    curves: model, false_positive_rate, sensitivity; legend: text by model; points: the operating point by model as
    (1 - specificity, sensitivity). Every step of the reader's curve (baseline_birads) is marked: each is a possible
    call of the reader.
    """
    figure, axes = _axes((6.2, 5.4), title, "1 - specificity", "sensitivity")
    _unit_square(axes)
    models = list(dict.fromkeys(curves["model"]))
    for name, style in styles(models).items():
        rows = curves[curves["model"] == name]
        steps = style.marker if name == "baseline_birads" else ""
        axes.plot(
            rows["false_positive_rate"],
            rows["sensitivity"],
            linestyle=style.line,
            marker=steps,
            markersize=4,
            color=style.colour,
            linewidth=1.5,
            label=legend.get(name, name),
        )
        if name in points:
            axes.plot(*points[name], style.marker, color=style.colour, markersize=7, markeredgecolor="black")
    _legend_beside(axes, "AUC; outlined marker: operating point")
    return figure


def roc_band(curves: pd.DataFrame, model: str, title: str) -> Figure:
    """One model's ROC curve with its band, the others faint behind it.

    curves: as in `roc`, with optional columns low and high: pointwise limits of the sensitivity.
    """
    figure, axes = _axes((3.5, 3.5), title, "1 - specificity", "sensitivity")
    _unit_square(axes)
    for _, rows in curves[curves["model"] != model].groupby("model", sort=False):
        axes.plot(rows["false_positive_rate"], rows["sensitivity"], color="#dddddd", linewidth=0.8)
    own = curves[curves["model"] == model]
    style = styles(list(dict.fromkeys(curves["model"])))[model]
    if has_band(own):
        axes.fill_between(
            own["false_positive_rate"], own["low"], own["high"], color=style.colour, alpha=0.25, linewidth=0
        )
    axes.plot(own["false_positive_rate"], own["sensitivity"], color=style.colour, linewidth=1.6)
    return figure


def has_band(curves: pd.DataFrame) -> bool:
    """Whether an ROC table carries pointwise limits."""
    return {"low", "high"} <= set(curves.columns) and bool(curves[["low", "high"]].notna().all(axis=1).any())


def calibration(reliability: pd.DataFrame, title: str) -> Figure:
    """Reliability diagram of one model before and after recalibration, over the histogram of its probabilities.

    reliability: method, bin, mean_prob, share_malignant, low, high, n; limits are drawn for the raw probabilities.
    """
    figure = Figure(figsize=(3.5, 4.5))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=GUIDE_COLOUR, linewidth=1)
    for number, (method, rows) in enumerate(reliability.groupby("method", sort=False)):
        drawn = rows[(rows["n"] > 0) & rows["mean_prob"].notna()].sort_values("mean_prob")
        colour = METHOD_COLOURS.get(str(method), MODEL_COLOURS[number % len(MODEL_COLOURS)])
        _reliability_line(upper, drawn, str(method), colour, number)
        beside = drawn["mean_prob"] + 0.014 * number
        lower.plot(beside, drawn["n"], MARKERS[number % len(MARKERS)], color=colour, markersize=3)
        lower.vlines(beside, 0, drawn["n"], color=colour, linewidth=1.2)
    upper.set(title=title, ylabel="share malignant", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    lower.set(xlabel="predicted probability (mean of bin)", ylabel="samples")
    lower.set_ylim(bottom=0)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    if upper.get_legend_handles_labels()[0]:
        upper.legend(fontsize=7, frameon=False, loc="upper left")
    figure.tight_layout()
    return figure


def _reliability_line(axes: Axes, rows: pd.DataFrame, method: str, colour: str, number: int) -> None:
    limited = rows[rows["low"].notna() & rows["high"].notna()]
    if method == "raw" and len(limited):
        axes.vlines(limited["mean_prob"], limited["low"], limited["high"], color=colour, linewidth=1, alpha=0.6)
    axes.plot(
        rows["mean_prob"],
        rows["share_malignant"],
        linestyle=LINES[number % len(LINES)],
        marker=MARKERS[number % len(MARKERS)],
        color=colour,
        linewidth=1.2,
        markersize=4,
        label="raw (with interval)" if method == "raw" and len(limited) else method,
    )


def decision_curve(table: pd.DataFrame) -> Figure:
    """Net benefit against the threshold probability (Vickers & Elkin, Med Decis Making 2006).

    table: model, threshold_prob, net_benefit, treat_all, treat_none. The vertical axis ends just below 0: the curve of
    calling everyone falls without bound and would flatten the rest.
    """
    figure, axes = _axes((6.2, 4.4), "Decision curve", "threshold probability", "net benefit per sample")
    reference = table.drop_duplicates("threshold_prob").sort_values("threshold_prob")
    axes.plot(reference["threshold_prob"], reference["treat_all"], color="black", linewidth=1, label="call everyone")
    axes.plot(
        reference["threshold_prob"], reference["treat_none"], ":", color="black", linewidth=1, label="call no one"
    )
    for name, style in styles(list(dict.fromkeys(table["model"]))).items():
        rows = table[table["model"] == name].sort_values("threshold_prob")
        axes.plot(
            rows["threshold_prob"],
            rows["net_benefit"],
            linestyle=style.line,
            marker=style.marker,
            markevery=max(1, len(rows) // 8),
            markersize=4,
            color=style.colour,
            linewidth=1.4,
            label=name,
        )
    top = np.nanmax([0.05, *table["net_benefit"], *table["treat_all"]])
    axes.set(ylim=(-0.15 * top, 1.08 * top))
    _legend_beside(axes)
    return figure


def forest(subgroups: pd.DataFrame, overall: float, title: str) -> Figure:
    """Forest plot of one model's AUC by subgroup; the dashed line is its AUC over all samples.

    subgroups: variable, value, n, n_malignant, auc, low, high, worse, note. A subgroup that is significantly worse is
    filled, has another marker and says so.
    """
    rows = subgroups.reset_index(drop=True)
    places = _forest_places(rows)
    figure = Figure(figsize=(3.4, 0.8 + 0.24 * (max(places, default=0) + 1)))
    axes = figure.subplots()
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        _forest_row(axes, row, place)
    for variable, first in rows.groupby("variable", sort=False).head(1)["variable"].items():
        place = places[int(str(variable))]
        axes.text(-0.02, place - 1, str(first).replace("_", " "), ha="right", va="center", fontsize=8, weight="bold")
    if np.isfinite(overall):
        axes.axvline(overall, color="#555555", linestyle="--", linewidth=1)
    axes.axvline(0.5, color=GUIDE_COLOUR, linewidth=1)
    axes.set(title=title, xlabel="AUC (dashed: all samples)", xlim=(0, 1), yticks=[])
    axes.set_ylim(max(places, default=0) + 0.8, -0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def not_estimable(note: str) -> str:
    """`not estimable (why)` from the note of a subgroup, which may say so itself."""
    if not note or "not estimable" in note:
        return note or "not estimable"
    return f"not estimable ({note})"


def _forest_places(rows: pd.DataFrame) -> list[int]:
    """The line of every row, with one line for the heading of each variable before it."""
    headings = (rows["variable"] != rows["variable"].shift()).cumsum()
    return [number + int(heading) for number, heading in enumerate(headings)]


def _forest_row(axes: Axes, row: pd.Series, place: int) -> None:
    count = f"{row['value']}  ({row['n']:.0f}, {row['n_malignant']:.0f} malignant)"
    axes.text(-0.02, place, count, ha="right", va="center", fontsize=8)
    if not np.isfinite(row["auc"]):
        why = textwrap.shorten(not_estimable(row["note"]), NOTE_CHARACTERS, placeholder="...")
        axes.text(1.02, place, why, va="center", fontsize=8, color="#555555")
        return
    worse = row["worse"] == 1
    colour = WARNING_COLOUR if worse else MODEL_COLOURS[0]
    text = f"{row['auc']:.3f}"
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        axes.hlines(place, row["low"], row["high"], color=colour, linewidth=1.5)
        text += f" ({row['low']:.3f}-{row['high']:.3f})"
    axes.plot(row["auc"], place, "D" if worse else "o", color=colour, markerfacecolor=colour if worse else "white")
    axes.text(1.02, place, f"{text}{'  worse' if worse else ''}", va="center", fontsize=8, color="black")


def conformal(table: pd.DataFrame) -> Figure:
    """What conformal prediction sets promise and cost: coverage, share decided and accuracy of the decided.

    table: model, confidence, coverage, coverage_low, coverage_high, decided, accuracy_decided.
    """
    figure = Figure(figsize=(10, 3.6))
    panels = figure.subplots(1, 3)
    titles = {
        "coverage": "coverage (line: promised)",
        "decided": "share decided (one class in the set)",
        "accuracy_decided": "accuracy of the decided",
    }
    for axes, (column, title) in zip(panels, titles.items(), strict=True):
        _conformal_panel(axes, table, column)
        axes.set(title=title, xlabel="confidence asked for", ylim=(-0.02, 1.02))
        axes.title.set_fontsize(10)
        axes.spines[["top", "right"]].set_visible(False)
    _legend_beside(panels[-1])
    figure.tight_layout()
    return figure


def _conformal_panel(axes: Axes, table: pd.DataFrame, column: str) -> None:
    if column == "coverage" and len(table):
        ends = [table["confidence"].min(), table["confidence"].max()]
        axes.plot(ends, ends, color=GUIDE_COLOUR, linewidth=2)
    for name, style in styles(list(dict.fromkeys(table["model"]))).items():
        rows = table[table["model"] == name].sort_values("confidence")
        if column == "coverage":
            axes.vlines(rows["confidence"], rows["coverage_low"], rows["coverage_high"], color=style.colour, alpha=0.3)
        axes.plot(
            rows["confidence"],
            rows[column],
            linestyle=style.line,
            marker=style.marker,
            markersize=4,
            color=style.colour,
            linewidth=1.3,
            label=name,
        )


def drift(operating_points: pd.DataFrame) -> Figure:
    """Sensitivity and specificity of the frozen operating points: hollow on validation, filled on test.

    operating_points: model, rule, threshold, metric, validation, test, drift.
    """
    several = len(set(operating_points["rule"])) > 1
    label = operating_points["model"] + (", " + operating_points["rule"] if several else "")
    names = list(dict.fromkeys(label))
    colours = styles(list(dict.fromkeys(operating_points["model"])))
    figure = Figure(figsize=(9, 1.1 + 0.28 * max(1, len(names))))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, ("sensitivity", "specificity"), strict=True):
        chosen = operating_points["metric"] == metric
        for name, (_, row) in zip(label[chosen], operating_points[chosen].iterrows(), strict=True):
            _drift_row(axes, names.index(name), row, colours[row["model"]].colour)
        axes.set(title=f"{metric}: validation (hollow) to test (filled)", xlim=(-0.02, 1.02), ylim=(len(names), -1))
        axes.title.set_fontsize(10)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.grid(axis="x", color="#eeeeee")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    return figure


def _drift_row(axes: Axes, place: int, row: pd.Series, colour: str) -> None:
    if np.isfinite(row["validation"]) and np.isfinite(row["test"]):
        axes.plot([row["validation"], row["test"]], [place, place], color=colour, linewidth=1.5)
    axes.plot(row["validation"], place, "o", color=colour, markerfacecolor="white", markersize=6, zorder=3)
    axes.plot(row["test"], place, "o", color=colour, markersize=6, zorder=3)


def confusion(rows: pd.DataFrame, title: str) -> Figure:
    """Confusion matrix at the operating point; rows: `label` and `called`."""
    table = np.zeros((2, 2), int)
    np.add.at(table, (rows["label"].to_numpy(), rows["called"].to_numpy()), 1)
    figure, axes = _axes((4, 3.6), title, "called", "pathology")
    axes.imshow(table, cmap="Blues", vmin=0, vmax=max(1, table.sum(axis=1).max()))
    names = ["benign", "malignant"]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
    for (row, column), count in np.ndenumerate(table):
        share = count / max(1, table[row].sum())
        colour = "white" if share > 0.6 else "black"
        axes.text(column, row, f"{count}\n{share:.0%}", ha="center", va="center", color=colour)
    return figure


def history(epochs: Sequence[dict[str, float]], best_epoch: int, title: str) -> Figure:
    """Loss and clinical validation metrics over the epochs; the epoch that was kept and restarts are marked."""
    table = pd.DataFrame(epochs)
    table.index = pd.RangeIndex(1, len(table) + 1)
    figure = Figure(figsize=(9, 3.4))
    left, right = figure.subplots(1, 2)
    for column, label in (("loss", "training (weighted, augmented)"), ("val_loss", "validation")):
        left.plot(table[column], marker=".", label=label)
    for column in ("val_auc", "val_sensitivity", "val_specificity"):
        right.plot(table[column], marker=".", label=column.removeprefix("val_"))
    left.set(title=title, xlabel="epoch", ylabel="loss")
    right.set(title="validation (threshold 0.5)", xlabel="epoch", ylim=(-0.02, 1.02))
    restarts = list(table.index[table.get("restarts", pd.Series(0.0, table.index)).diff() > 0])
    for axes in (left, right):
        axes.axvline(best_epoch + 1, color="#999999", linestyle=":", label="kept")
        for number, epoch in enumerate(restarts):
            axes.axvline(epoch - 0.5, color="#d62728", linestyle="--", label="restart" if number == 0 else None)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    return figure


def samples(
    images: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    titles: Sequence[str],
    heat: npt.NDArray[np.float32] | None = None,
) -> Figure:
    """Contact sheet: images (n, h, w), the lesion's outline, and a heat map (n, h, w) in 0..1 where given."""
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.9 * rows))
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for number, axes in enumerate(grid[: len(images)]):
        axes.imshow(images[number], cmap="gray", vmin=0, vmax=255)
        if heat is not None:
            axes.imshow(heat[number], cmap="inferno", alpha=0.5 * heat[number], vmin=0, vmax=1)
        for outline in _outlines(masks[number]):
            axes.plot(outline[:, 0], outline[:, 1], color="#00ff88", linewidth=1)
        axes.set_title(titles[number], fontsize=8)
    figure.tight_layout()
    return figure


def augmentations(shown: Mapping[str, npt.NDArray[np.uint8]]) -> Figure:
    """Images (n, h, w) by the name of what was done to them: a row per image, a column per change."""
    rows = len(next(iter(shown.values())))
    figure = Figure(figsize=(1.4 * len(shown), 1.5 * rows + 0.2))
    grid = np.atleast_2d(figure.subplots(rows, len(shown)))
    for column, (name, images) in enumerate(shown.items()):
        for axes, image in zip(grid[:, column], images, strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
        grid[0, column].set_title(name.removesuffix("_degrees"), fontsize=8)
    figure.tight_layout(pad=0.3)
    return figure


def before_after(
    films: Sequence[Sequence[tuple[Pixels, Mask, Mask]]],
    images: Pixels,
    masks: npt.NDArray[np.uint8],
    titles: Sequence[str],
) -> Figure:
    """Contact sheet of pairs: the films of a sample as scanned, beside the image that a model sees.

    films: per sample its films (h, w) with the breasts found and the lesions marked, (h, w) 0/1 of the same shape;
    images: (n, h, w) uint8 or uint16, masks: (n, h, w) 0/1.
    """
    pairs = min(2, len(films))
    rows = -(-len(films) // pairs)
    figure = Figure(figsize=(5.4 * pairs, 3.1 * rows * (1.5 if images.shape[1] > images.shape[2] else 1)))
    grid = np.atleast_2d(figure.subplots(rows, 2 * pairs)).reshape(-1, 2)
    for axes in grid.ravel():
        axes.set_axis_off()
    for (before, after), views, image, mask, title in zip(grid, films, images, masks, titles, strict=False):
        film, breast, lesions = (_stacked(parts) for parts in zip(*views, strict=True))
        before.imshow(film, cmap="gray", vmin=film.min(), vmax=film.max())
        after.imshow(image, cmap="gray", vmin=0, vmax=np.iinfo(images.dtype).max)
        for axes, shape, colour in (
            (before, breast, BREAST_COLOUR),
            (before, lesions, LESION_COLOUR),
            (after, mask, LESION_COLOUR),
        ):
            for outline in _outlines(shape):
                axes.plot(outline[:, 0], outline[:, 1], color=colour, linewidth=1)
        before.set_title(title, fontsize=8)
        after.set_title(f"model input, {image.shape[0]}x{image.shape[1]} px", fontsize=8)
    outlines = [
        Line2D([], [], color=BREAST_COLOUR, label="breast found"),
        Line2D([], [], color=LESION_COLOUR, label="lesion marked"),
    ]
    figure.tight_layout(rect=(0, 0.4 / figure.get_figheight(), 1, 1))
    figure.legend(handles=outlines, loc="lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _stacked(views: Sequence[Pixels]) -> Pixels:
    """Images (h, w) one above the other, filled with black to the same width."""
    width = max(view.shape[1] for view in views)
    return np.vstack([np.pad(view, ((0, 0), (0, width - view.shape[1]))) for view in views])


def _outlines(mask: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.int32]]:
    """Closed outlines (points, 2) as x, y."""
    found, _ = cv2.findContours(np.ascontiguousarray(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [np.concatenate([outline, outline[:1]])[:, 0] for outline in found]


def _axes(size: tuple[float, float], title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _unit_square(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=GUIDE_COLOUR, linewidth=1)
    axes.set(aspect="equal", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))


def _legend_beside(axes: Axes, title: str | None = None) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=8, frameon=False, title=title, handlelength=3.5
        )
