"""Figures of the evaluation, drawn from its tables (metrics/evaluation/*.csv, metrics/roc.csv). nan is not drawn."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammo.core.row_names import READER
from mammo.evaluation.comparison_rows import tabulate_roc
from mammo.reporting import comparison
from mammo.reporting.figures import style

METHOD_COLOURS = {"raw": "#444444", "temperature": "#0072b2", "platt": "#d55e00", "isotonic": "#009e73"}
NOTE_CHARACTERS = 60


def draw_roc(
    curves: pd.DataFrame, legend: Mapping[str, str], points: Mapping[str, tuple[float, float]], title: str
) -> Figure:
    """Draw ROC curves on the same samples.

    curves: model, false_positive_rate, sensitivity; legend: text by model; points: the operating point by model as
    (1 - specificity, sensitivity). Every step of the reader's curve (baseline_birads) is marked: each is a possible
    call of the reader.
    """
    figure, axes = style.new_axes((6.2, 5.4), title, "1 - specificity", "sensitivity")
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
    """
    return draw_roc(
        pd.concat([tabulate_roc(name, samples) for name, samples in rows.items()]),
        {name: f"{name} {comparison.format_interval(pd.Series(metrics[name]), 'auc')}" for name in rows},
        {name: (1 - metrics[name]["specificity"], metrics[name]["sensitivity"]) for name in rows},
        title,
    )


def draw_roc_band(curves: pd.DataFrame, model: str, title: str) -> Figure:
    """Draw one model's ROC curve with its band, the others faint behind it.

    curves: as in `draw_roc`, with optional columns low and high: pointwise limits of the sensitivity.
    """
    figure, axes = style.new_axes((3.5, 3.5), title, "1 - specificity", "sensitivity")
    style.draw_unit_square(axes)
    for _, rows in curves[curves["model"] != model].groupby("model", sort=False):
        axes.plot(rows["false_positive_rate"], rows["sensitivity"], color="#dddddd", linewidth=0.8)
    curve = curves[curves["model"] == model]
    look = style.style_models(list(dict.fromkeys(curves["model"])))[model]
    if has_band(curve):
        axes.fill_between(
            curve["false_positive_rate"], curve["low"], curve["high"], color=look.colour, alpha=0.25, linewidth=0
        )
    axes.plot(curve["false_positive_rate"], curve["sensitivity"], color=look.colour, linewidth=1.6)
    return figure


def has_band(curves: pd.DataFrame) -> bool:
    """Return whether an ROC table has pointwise limits."""
    return {"low", "high"} <= set(curves.columns) and bool(curves[["low", "high"]].notna().all(axis=1).any())


def draw_calibration(reliability: pd.DataFrame, title: str) -> Figure:
    """Draw one model's reliability diagram before and after recalibration, over the histogram of its probabilities.

    reliability: method, bin, mean_prob, share_malignant, low, high, n; limits are drawn for the raw probabilities.
    """
    figure = Figure(figsize=(3.5, 4.5))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=style.GUIDE_COLOUR, linewidth=1)
    for number, (method, rows) in enumerate(reliability.groupby("method", sort=False)):
        bins = rows[(rows["n"] > 0) & rows["mean_prob"].notna()].sort_values("mean_prob")
        colour = METHOD_COLOURS.get(str(method), style.MODEL_COLOURS[number % len(style.MODEL_COLOURS)])
        _draw_reliability_line(upper, bins, str(method), colour, number)
        beside = bins["mean_prob"] + 0.014 * number
        lower.plot(beside, bins["n"], style.MARKERS[number % len(style.MARKERS)], color=colour, markersize=3)
        lower.vlines(beside, 0, bins["n"], color=colour, linewidth=1.2)
    upper.set(title=title, ylabel="share malignant", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    lower.set(xlabel="predicted probability (mean of bin)", ylabel="samples")
    lower.set_ylim(bottom=0)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
    if upper.get_legend_handles_labels()[0]:
        upper.legend(fontsize=7, frameon=False, loc="upper left")
    figure.tight_layout()
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


def draw_decision_curve(table: pd.DataFrame) -> Figure:
    """Draw net benefit against the threshold probability (Vickers & Elkin, Med Decis Making 2006).

    table: model, threshold_prob, net_benefit, treat_all, treat_none. The vertical axis ends just below 0: the curve of
    calling everyone falls without bound and would flatten the rest.
    """
    figure, axes = style.new_axes((6.2, 4.4), "Decision curve", "threshold probability", "net benefit per sample")
    reference = table.drop_duplicates("threshold_prob").sort_values("threshold_prob")
    axes.plot(reference["threshold_prob"], reference["treat_all"], color="black", linewidth=1, label="call everyone")
    axes.plot(
        reference["threshold_prob"], reference["treat_none"], ":", color="black", linewidth=1, label="call no one"
    )
    for name, look in style.style_models(list(dict.fromkeys(table["model"]))).items():
        rows = table[table["model"] == name].sort_values("threshold_prob")
        axes.plot(
            rows["threshold_prob"],
            rows["net_benefit"],
            linestyle=look.line,
            marker=look.marker,
            markevery=max(1, len(rows) // 8),
            markersize=4,
            color=look.colour,
            linewidth=1.4,
            label=name,
        )
    top = np.nanmax([0.05, *table["net_benefit"], *table["treat_all"]])
    axes.set(ylim=(-0.15 * top, 1.08 * top))
    style.add_legend_beside(axes)
    return figure


def draw_forest(subgroups: pd.DataFrame, overall: float, title: str) -> Figure:
    """Draw the forest plot of one model's AUC by subgroup; the dashed line is its AUC over all samples.

    subgroups: variable, value, n, n_malignant, auc, low, high, worse, note. A subgroup that is significantly worse is
    filled, has another marker and says so.
    """
    rows = subgroups.reset_index(drop=True)
    places = _place_rows(rows)
    figure = Figure(figsize=(3.4, 0.8 + 0.24 * (max(places, default=0) + 1)))
    axes = figure.subplots()
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        _draw_forest_row(axes, row, place)
    for variable, first in rows.groupby("variable", sort=False).head(1)["variable"].items():
        place = places[int(str(variable))]
        axes.text(-0.02, place - 1, str(first).replace("_", " "), ha="right", va="center", fontsize=8, weight="bold")
    if np.isfinite(overall):
        axes.axvline(overall, color="#555555", linestyle="--", linewidth=1)
    axes.axvline(0.5, color=style.GUIDE_COLOUR, linewidth=1)
    axes.set(title=title, xlabel="AUC (dashed: all samples)", xlim=(0, 1), yticks=[])
    axes.set_ylim(max(places, default=0) + 0.8, -0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)
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
    count = f"{row['value']}  ({row['n']:.0f}, {row['n_malignant']:.0f} malignant)"
    axes.text(-0.02, place, count, ha="right", va="center", fontsize=8)
    if not np.isfinite(row["auc"]):
        why = textwrap.shorten(not_estimable(row["note"]), NOTE_CHARACTERS, placeholder="...")
        axes.text(1.02, place, why, va="center", fontsize=8, color="#555555")
        return
    worse = row["worse"] == 1
    colour = style.WARNING_COLOUR if worse else style.MODEL_COLOURS[0]
    text = f"{row['auc']:.3f}"
    if np.isfinite(row["low"]) and np.isfinite(row["high"]):
        axes.hlines(place, row["low"], row["high"], color=colour, linewidth=1.5)
        text += f" ({row['low']:.3f}-{row['high']:.3f})"
    axes.plot(row["auc"], place, "D" if worse else "o", color=colour, markerfacecolor=colour if worse else "white")
    axes.text(1.02, place, f"{text}{'  worse' if worse else ''}", va="center", fontsize=8, color="black")


def draw_conformal(table: pd.DataFrame) -> Figure:
    """Draw what conformal prediction sets promise and cost: coverage, share decided and accuracy of the decided.

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
        _draw_conformal_panel(axes, table, column)
        axes.set(title=title, xlabel="confidence asked for", ylim=(-0.02, 1.02))
        axes.title.set_fontsize(10)
        axes.spines[["top", "right"]].set_visible(False)
    style.add_legend_beside(panels[-1])
    figure.tight_layout()
    return figure


def _draw_conformal_panel(axes: Axes, table: pd.DataFrame, column: str) -> None:
    if column == "coverage" and len(table):
        ends = [table["confidence"].min(), table["confidence"].max()]
        axes.plot(ends, ends, color=style.GUIDE_COLOUR, linewidth=2)
    for name, look in style.style_models(list(dict.fromkeys(table["model"]))).items():
        rows = table[table["model"] == name].sort_values("confidence")
        if column == "coverage":
            axes.vlines(rows["confidence"], rows["coverage_low"], rows["coverage_high"], color=look.colour, alpha=0.3)
        axes.plot(
            rows["confidence"],
            rows[column],
            linestyle=look.line,
            marker=look.marker,
            markersize=4,
            color=look.colour,
            linewidth=1.3,
            label=name,
        )


def draw_drift(operating_points: pd.DataFrame) -> Figure:
    """Draw sensitivity and specificity of the frozen operating points: hollow on validation, filled on test.

    operating_points: model, rule, threshold, metric, validation, test, drift.
    """
    several = len(set(operating_points["rule"])) > 1
    label = operating_points["model"] + (", " + operating_points["rule"] if several else "")
    names = list(dict.fromkeys(label))
    colours = style.style_models(list(dict.fromkeys(operating_points["model"])))
    figure = Figure(figsize=(9, 1.1 + 0.28 * max(1, len(names))))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, metric in zip(panels, ("sensitivity", "specificity"), strict=True):
        chosen = operating_points["metric"] == metric
        for name, (_, row) in zip(label[chosen], operating_points[chosen].iterrows(), strict=True):
            _draw_drift_row(axes, names.index(name), row, colours[row["model"]].colour)
        axes.set(title=f"{metric}: validation (hollow) to test (filled)", xlim=(-0.02, 1.02), ylim=(len(names), -1))
        axes.title.set_fontsize(10)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.grid(axis="x", color="#eeeeee")
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
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
    figure, axes = style.new_axes((6.2, 4), "Model and reader together", "share of wrong BI-RADS", "AUC gained")
    axes.axhline(0, color=style.GUIDE_COLOUR, linewidth=1)
    lines = {f"{model}, {kind}": rows for (model, kind), rows in errors.groupby(["model", "kind"], sort=False)}
    for name, look in style.style_models(list(lines)).items():
        rows = lines[name].sort_values("share")
        axes.fill_between(rows["share"], rows["gain_low"], rows["gain_high"], color=look.colour, alpha=0.15)
        axes.plot(rows["share"], rows["gain"], linestyle=look.line, marker=look.marker, color=look.colour, label=name)
    style.add_legend_beside(axes)
    return figure


def draw_confusion(rows: pd.DataFrame, title: str) -> Figure:
    """Confusion matrix at the operating point; rows: `label` and `called`."""
    table = np.zeros((2, 2), int)
    np.add.at(table, (rows["label"].to_numpy(), rows["predicted_positive"].to_numpy()), 1)
    figure, axes = style.new_axes((4, 3.6), title, "predicted", "pathology")
    axes.imshow(table, cmap="Blues", vmin=0, vmax=max(1, table.sum(axis=1).max()))
    names = ["benign", "malignant"]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
    for (row, column), count in np.ndenumerate(table):
        share = count / max(1, table[row].sum())
        colour = "white" if share > 0.6 else "black"
        axes.text(column, row, f"{count}\n{share:.0%}", ha="center", va="center", color=colour)
    return figure
