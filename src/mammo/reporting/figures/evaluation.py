"""Figures of the evaluation, drawn from its tables (metrics/evaluation/*.csv, metrics/roc.csv). nan is not drawn."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammo.core.row_names import READER
from mammo.evaluation.comparison_rows import tabulate_roc
from mammo.reporting import comparison
from mammo.reporting.figures import style
from mammo.reporting.figures.contact_sheets import shorten_middle

METHOD_COLOURS = {"raw": "#444444", "temperature": "#0072b2", "platt": "#d55e00", "isotonic": "#009e73"}
NOTE_CHARACTERS, VALUE_CHARACTERS = 36, 15
PANEL, WIDE = (2.85, 2.85), (4.4, 3.2)  # inches: four, or two, beside each other on a page, one on a telephone
MOST_IN_ONE = 6  # curves in one pair of axes
COLUMNS = 4  # of panels within one figure
CONFORMAL = {
    "coverage": "coverage",
    "decided": "share decided",
    "accuracy_decided": "accuracy of the decided",
}  # titles of the figures of the conformal sets
AUC_LOOKS = {
    "auc": ("AUC", "o", "#0072b2"),
    "auc_controlled": ("within quartiles of the border score", "D", "#009e73"),
    "auc_without_lesion": ("without the lesion", "s", "#d55e00"),
}
LEGEND_IN = 1.15  # below the axes of the AUCs
AUC_SPACING = 0.24  # between the marks of one row


def draw_roc(
    curves: pd.DataFrame, legend: Mapping[str, str], points: Mapping[str, tuple[float, float]], title: str
) -> Figure:
    """Draw ROC curves on the same samples, with a legend beside them.

    curves: model, false_positive_rate, sensitivity; legend: text by model; points: the operating point by model as
    (1 - specificity, sensitivity). Every step of the reader's curve (baseline_birads) is marked: each is a possible
    call of the reader. More models than there are colours have a panel each: `draw_roc_panels`.
    """
    figure, axes = style.new_axes((7.2, 4.2), title, "1 - specificity", "sensitivity")
    style.set_margins(figure, 0.62, 0.48, 3.2, 0.32)
    style.draw_unit_square(axes)
    models = list(dict.fromkeys(curves["model"]))
    for name, look in style.style_models(models).items():
        rows = curves[curves["model"] == name]
        steps = look.marker if name == READER else ""
        axes.plot(
            rows["false_positive_rate"],
            rows["sensitivity"],
            linestyle=look.line,
            marker=steps,
            markersize=4,
            color=look.colour,
            linewidth=1.5,
            label=legend.get(name, name),
        )
        if name in points:
            axes.plot(*points[name], look.marker, color=look.colour, markersize=7, markeredgecolor="black")
    style.add_legend_beside(axes, "AUC; outlined marker: operating point")
    return figure


def draw_evaluated_roc(
    rows: Mapping[str, pd.DataFrame], metrics: Mapping[str, Mapping[str, float] | pd.Series], title: str
) -> Figure:
    """Draw the ROC curves of rows of the comparison table, with their AUCs and operating points.

    rows: the reported samples (label, prob) by row; metrics: EvaluatedRow.to_metrics, or the row of the table, by row.
    More rows than can be told apart in one pair of axes have a panel each.
    """
    draw = draw_roc if len(rows) <= MOST_IN_ONE else draw_roc_panels
    return draw(
        pd.concat([tabulate_roc(name, samples) for name, samples in rows.items()]),
        {name: f"{name} {comparison.format_interval(pd.Series(metrics[name]), 'auc')}" for name in rows},
        {name: (1 - metrics[name]["specificity"], metrics[name]["sensitivity"]) for name in rows},
        title,
    )


def draw_roc_band(
    curves: pd.DataFrame, model: str, title: str, points: Mapping[str, tuple[float, float]] | None = None
) -> Figure:
    """Draw one row's ROC curve with its band and operating point; the reader's dotted, all others faint behind it.

    curves, points: as in `draw_roc`, curves with optional columns low and high: pointwise limits of the sensitivity.
    """
    figure, axes = style.new_axes(PANEL, title, "1 - specificity", "sensitivity")
    _draw_roc_panel(axes, curves, model, points or {})
    return figure


def draw_roc_panels(
    curves: pd.DataFrame, legend: Mapping[str, str], points: Mapping[str, tuple[float, float]], title: str
) -> Figure:
    """Draw a panel per row as `draw_roc_band` does, the rows below each other in fours; arguments as of `draw_roc`."""
    models = list(dict.fromkeys(curves["model"]))
    rows = max(1, -(-len(models) // COLUMNS))
    figure = Figure(figsize=(2.5 * COLUMNS, 2.6 * rows + 0.6))
    style.set_margins(figure, 0.5, 0.45, 0.1, 0.75)
    panels = np.ravel(figure.subplots(rows, COLUMNS, squeeze=False, gridspec_kw={"hspace": 0.35, "wspace": 0.15}))
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    for number, (axes, name) in enumerate(zip(panels, models, strict=False)):
        _draw_roc_panel(axes, curves, name, points)
        style.set_text_sizes(axes, legend.get(name, name).replace(" ", "\n", 1))
        axes.title.set_fontsize(style.TEXT_SIZE - 1)
        axes.set(xlabel="1 - specificity" if number + COLUMNS >= len(models) else "")
        axes.set(ylabel="sensitivity" if number % COLUMNS == 0 else "")
    figure.suptitle(title, fontsize=style.TITLE_SIZE, y=1 - 0.12 / figure.get_figheight(), va="top")
    return figure


def _draw_roc_panel(axes: Axes, curves: pd.DataFrame, model: str, points: Mapping[str, tuple[float, float]]) -> None:
    style.draw_unit_square(axes)
    behind = curves[~curves["model"].isin([model, READER])]
    for _, rows in behind.groupby("model", sort=False):
        axes.plot(rows["false_positive_rate"], rows["sensitivity"], color=style.OTHERS_COLOUR, linewidth=0.6)
    for name, colour, line in ((READER, style.BASELINE_COLOUR, ":"), (model, style.MODEL_COLOURS[0], "-")):
        rows = curves[curves["model"] == name]
        axes.plot(rows["false_positive_rate"], rows["sensitivity"], line, color=colour, linewidth=1.6)
        if name in points:
            axes.plot(*points[name], "o", color=colour, markersize=5, markeredgecolor="black")
    curve = curves[curves["model"] == model]
    if has_band(curve):
        edges = curve["false_positive_rate"], curve["low"], curve["high"]
        axes.fill_between(*edges, color=style.MODEL_COLOURS[0], alpha=0.2, linewidth=0)


def has_band(curves: pd.DataFrame) -> bool:
    """Return whether an ROC table has pointwise limits."""
    return {"low", "high"} <= set(curves.columns) and bool(curves[["low", "high"]].notna().all(axis=1).any())


def draw_calibration(reliability: pd.DataFrame, title: str) -> Figure:
    """Draw one model's reliability diagram before and after recalibration, over the histogram of its probabilities.

    reliability: method, bin, mean_prob, share_malignant, low, high, n; limits are drawn for the raw probabilities.
    """
    figure = Figure(figsize=(PANEL[0], 3.7))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1], gridspec_kw={"hspace": 0.12})
    style.set_margins(figure, 0.62, 0.48, 0.15, 0.32)
    upper.plot([0, 1], [0, 1], color=style.GUIDE_COLOUR, linewidth=1)
    for number, (method, rows) in enumerate(reliability.groupby("method", sort=False)):
        bins = rows[(rows["n"] > 0) & rows["mean_prob"].notna()].sort_values("mean_prob")
        colour = METHOD_COLOURS.get(str(method), style.MODEL_COLOURS[number % len(style.MODEL_COLOURS)])
        _draw_reliability_line(upper, bins, str(method), colour, number)
        beside = bins["mean_prob"] + 0.014 * number
        lower.plot(beside, bins["n"], style.MARKERS[number % len(style.MARKERS)], color=colour, markersize=3)
        lower.vlines(beside, 0, bins["n"], color=colour, linewidth=1.2)
    style.set_text_sizes(upper, title)
    upper.set(ylabel="share malignant", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    style.set_text_sizes(lower, "")
    lower.set(xlabel="predicted probability", ylabel="samples")
    lower.set_ylim(bottom=0)
    if upper.get_legend_handles_labels()[0]:
        upper.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _draw_reliability_line(axes: Axes, rows: pd.DataFrame, method: str, colour: str, number: int) -> None:
    limited = rows[rows["low"].notna() & rows["high"].notna()]
    if method == "raw" and len(limited):
        axes.vlines(limited["mean_prob"], limited["low"], limited["high"], color=colour, linewidth=1, alpha=0.6)
    axes.plot(
        rows["mean_prob"],
        rows["share_malignant"],
        linestyle=style.LINES[number % len(style.LINES)],
        marker=style.MARKERS[number % len(style.MARKERS)],
        color=colour,
        linewidth=1.2,
        markersize=4,
        label="raw (with interval)" if method == "raw" and len(limited) else method,
    )


def draw_decision_curve(table: pd.DataFrame, shown: Sequence[str]) -> Figure:
    """Draw net benefit against the threshold probability (Vickers & Elkin, Med Decis Making 2006).

    table: model, threshold_prob, net_benefit, treat_all, treat_none; shown: the rows in colour, all others are faint
    behind them. The vertical axis ends just below 0: the curve of calling everyone falls without bound and would
    flatten the rest.
    """
    figure, axes = style.new_axes(WIDE, "Decision curve", "threshold probability", "net benefit per sample")
    reference = table.drop_duplicates("threshold_prob").sort_values("threshold_prob")
    for name, line in (("treat_all", "-"), ("treat_none", ":")):
        label = "call everyone" if name == "treat_all" else "call no one"
        axes.plot(reference["threshold_prob"], reference[name], line, color="black", linewidth=1, label=label)
    _draw_lines(axes, table, ("threshold_prob", "net_benefit"), shown)
    top = np.nanmax([0.05, *table["net_benefit"], *table["treat_all"]])
    axes.set(ylim=(-0.15 * top, 1.08 * top))
    axes.legend(fontsize=style.TEXT_SIZE, frameon=False, loc="upper right")
    return figure


def _draw_lines(axes: Axes, table: pd.DataFrame, columns: tuple[str, str], shown: Sequence[str]) -> None:
    """Draw a line per model, those of `shown` in colour and with a label, the others faint behind them."""
    lines = {str(name): rows.sort_values(columns[0]) for name, rows in table.groupby("model", sort=False)}
    label = "other rows"
    for name, rows in lines.items():
        if name not in shown:
            axes.plot(rows[columns[0]], rows[columns[1]], color=style.OTHERS_COLOUR, linewidth=0.9, label=label)
            label = "_"  # once in the legend
    for name, look in style.style_models([name for name in shown if name in lines]).items():
        rows = lines[name]
        axes.plot(
            rows[columns[0]],
            rows[columns[1]],
            linestyle=look.line,
            marker=look.marker,
            markevery=max(1, len(rows) // 8),
            markersize=4,
            color=look.colour,
            linewidth=1.6,
            label=name,
        )


def draw_aucs(rows: pd.DataFrame, title: str) -> Figure:
    """Draw the AUC of every row of the comparison table with its interval, best first, and what is left of it.

    rows: model, auc, and where they were measured auc_controlled (within quartiles of the border score) and
    auc_without_lesion, each with _low and _high. A model that looks at the lesion falls without it.
    """
    rows = comparison.sort_best_first(rows, "auc")
    figure, axes = style.new_axes((WIDE[0], LEGEND_IN + 0.32 + 0.34 * max(1, len(rows))), title, "AUC", "")
    style.set_margins(figure, 2.1, LEGEND_IN, 0.12, 0.32)
    drawn = [(name, *look) for name, look in AUC_LOOKS.items() if name in rows and rows[name].notna().any()]
    for number, (name, label, marker, colour) in enumerate(drawn):
        places = np.arange(len(rows)) + AUC_SPACING * (number - (len(drawn) - 1) / 2)
        axes.hlines(places, rows[f"{name}_low"], rows[f"{name}_high"], color=colour, linewidth=1.4)
        axes.plot(rows[name], places, marker, color=colour, markersize=4.5, label=label)
    for place in range(1, len(rows), 2):
        axes.axhspan(place - 0.5, place + 0.5, color="#f3f3f1", zorder=0)
    axes.axvline(0.5, color=style.GUIDE_COLOUR, linewidth=1)
    axes.set_yticks(range(len(rows)), list(rows["model"]), fontsize=style.TEXT_SIZE)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 0),
        bbox_transform=figure.transFigure,
        fontsize=style.TEXT_SIZE,
        frameon=False,
    )
    return figure


def draw_forest(subgroups: pd.DataFrame, overall: float, title: str) -> Figure:
    """Draw the forest plot of one model's AUC by subgroup; the dashed line is its AUC over all samples.

    subgroups: variable, value, n, n_malignant, auc, low, high, worse, note. A subgroup that is significantly worse is
    filled, has another marker and says so.
    """
    rows = subgroups.reset_index(drop=True)
    places = _place_rows(rows)
    figure = Figure(figsize=(WIDE[0], 0.9 + 0.19 * (max(places, default=0) + 1)))
    axes = figure.subplots()
    style.set_margins(figure, 2.2, 0.48, 0.2, 0.32)
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        _draw_forest_row(axes, row, place)
    for variable, first in rows.groupby("variable", sort=False).head(1)["variable"].items():
        place = places[int(str(variable))]
        axes.text(-0.02, place - 1, str(first).replace("_", " "), ha="right", va="center", fontsize=9, weight="bold")
    if np.isfinite(overall):
        axes.axvline(overall, color="#555555", linestyle="--", linewidth=1)
    axes.axvline(0.5, color=style.GUIDE_COLOUR, linewidth=1)
    style.set_text_sizes(axes, title)
    axes.set(xlabel="AUC (dashed: all samples)", xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1], yticks=[])
    axes.set_ylim(max(places, default=0) + 0.8, -0.8)
    axes.spines["left"].set_visible(False)
    return figure


def not_estimable(note: str) -> str:
    """Return `not estimable (why)` from the note of a subgroup, which may say so itself."""
    if not note or "not estimable" in note:
        return note or "not estimable"
    return f"not estimable ({note})"


def _place_rows(rows: pd.DataFrame) -> list[int]:
    """Return the line of every row, with one line for the heading of each variable before it."""
    headings = (rows["variable"] != rows["variable"].shift()).cumsum()
    return [number + int(heading) for number, heading in enumerate(headings)]


def _draw_forest_row(axes: Axes, row: pd.Series, place: int) -> None:
    value = shorten_middle(str(row["value"]), VALUE_CHARACTERS)
    count = f"{value}  ({row['n']:.0f}, {row['n_malignant']:.0f} mal.)"
    axes.text(-0.02, place, count, ha="right", va="center", fontsize=9)
    if not np.isfinite(row["auc"]):
        why = textwrap.shorten(not_estimable(row["note"]), NOTE_CHARACTERS, placeholder="...")
        axes.text(0.02, place, why, va="center", fontsize=8, color="#555555")
        return
    worse = row["worse"] == 1
    colour = style.WARNING_COLOUR if worse else style.MODEL_COLOURS[0]
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        axes.hlines(place, row["low"], row["high"], color=colour, linewidth=1.5)
    face = colour if worse else "white"
    axes.plot(row["auc"], place, "D" if worse else "o", color=colour, markerfacecolor=face, clip_on=False)
    if worse:
        axes.text(0.02, place, "worse", va="center", fontsize=9, color="black")


def draw_conformal(table: pd.DataFrame, column: str, shown: Sequence[str]) -> Figure:
    """Draw what conformal prediction sets promise or cost, against the confidence asked for.

    table: model, confidence, coverage, coverage_low, coverage_high, decided, accuracy_decided; column: one of
    CONFORMAL; shown: the rows in colour, all others are faint behind them.
    """
    figure, axes = style.new_axes(PANEL, CONFORMAL[column], "confidence asked for", "")
    if column == "coverage" and len(table):
        ends = [table["confidence"].min(), table["confidence"].max()]
        axes.plot(ends, ends, color=style.GUIDE_COLOUR, linewidth=2, label="promised")
        for name in shown:
            rows = table[table["model"] == name]
            axes.vlines(rows["confidence"], rows["coverage_low"], rows["coverage_high"], color="#555555", alpha=0.4)
    _draw_lines(axes, table, ("confidence", column), shown)
    axes.set(ylim=(-0.02, 1.02))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, loc="lower left")
    return figure


def draw_drift(operating_points: pd.DataFrame, metric: str) -> Figure:
    """Draw the sensitivity or specificity of the frozen operating points: hollow on validation, filled on test.

    operating_points: model, rule, threshold, metric, validation, test, drift.
    """
    several = operating_points.groupby("model")["rule"].transform("nunique") > 1
    label = operating_points["model"] + (", " + operating_points["rule"]).where(several, "")
    names = list(dict.fromkeys(label))
    figure, axes = style.new_axes((WIDE[0], 0.9 + 0.24 * max(1, len(names))), f"{metric}, validation to test", "", "")
    style.set_margins(figure, 2.1, 0.5, 0.2, 0.32)
    chosen = operating_points["metric"] == metric
    for name, (_, row) in zip(label[chosen], operating_points[chosen].iterrows(), strict=True):
        _draw_drift_row(axes, names.index(name), row, style.MODEL_COLOURS[0])
    axes.set(xlim=(-0.02, 1.02), ylim=(len(names) - 0.4, -0.6), xlabel="hollow: validation, filled: test")
    axes.set_yticks(range(len(names)), names, fontsize=style.TEXT_SIZE)
    axes.grid(axis="x", color="#eeeeee")
    return figure


def _draw_drift_row(axes: Axes, place: int, row: pd.Series, colour: str) -> None:
    if np.isfinite(row["validation"]) and np.isfinite(row["test"]):
        axes.plot([row["validation"], row["test"]], [place, place], color=colour, linewidth=1.5)
    axes.plot(row["validation"], place, "o", color=colour, markerfacecolor="white", markersize=6, zorder=3)
    axes.plot(row["test"], place, "o", color=colour, markersize=6, zorder=3)


def draw_reader_errors(errors: pd.DataFrame) -> Figure:
    """Draw the AUC gained over BI-RADS against the share of errors put into it, with its limits.

    errors: model, kind (random, adjacent), share, gain, gain_low, gain_high.
    """
    figure, axes = style.new_axes(WIDE, "Model and reader together", "share of wrong BI-RADS", "AUC gained")
    style.set_margins(figure, 0.75, 0.48, 0.15, 0.32)
    axes.axhline(0, color=style.GUIDE_COLOUR, linewidth=1)
    lines = {f"{model}, {kind}": rows for (model, kind), rows in errors.groupby(["model", "kind"], sort=False)}
    for name, look in style.style_models(list(lines)).items():
        rows = lines[name].sort_values("share")
        axes.fill_between(rows["share"], rows["gain_low"], rows["gain_high"], color=look.colour, alpha=0.15)
        axes.plot(rows["share"], rows["gain"], linestyle=look.line, marker=look.marker, color=look.colour, label=name)
    if lines:
        axes.legend(fontsize=8, frameon=False)
    return figure


def draw_confusion(rows: pd.DataFrame, title: str) -> Figure:
    """Confusion matrix at the operating point; rows: `label` and `called`."""
    table = np.zeros((2, 2), int)
    np.add.at(table, (rows["label"].to_numpy(), rows["predicted_positive"].to_numpy()), 1)
    figure, axes = style.new_axes((3.6, 3.3), title, "predicted", "pathology")
    style.set_margins(figure, 0.95, 0.5, 0.15, 0.32)
    axes.imshow(table, cmap="Blues", vmin=0, vmax=max(1, table.sum(axis=1).max()))
    names = ["benign", "malignant"]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
    for (row, column), count in np.ndenumerate(table):
        share = count / max(1, table[row].sum())
        colour = "white" if share > 0.6 else "black"
        axes.text(column, row, f"{count}\n{share:.0%}", ha="center", va="center", color=colour)
    return figure
