"""Figures and tables for people. Figures are matplotlib's, drawn without a screen and without global state."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammo import metrics, tables

MODEL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#882255")
BASELINE_COLOUR = "#777777"
DPI = 120
TABLE_METRICS = ("auc", "sensitivity", "specificity", "accuracy", "ppv", "npv", "f1")


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whose bytes depend on the figure alone."""
    with tables.atomic(path) as unfinished:
        figure.savefig(unfinished, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})


def _axes(width: float, height: float, title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def roc_figure(
    curves: dict[str, pd.DataFrame], legend: dict[str, str], points: dict[str, tuple[float, float]]
) -> Figure:
    """ROC curves of one or several models on the same samples.

    curves: tables with `label` and `prob` by name; legend: text by name; points: the operating point by name, as
    (1 - specificity, sensitivity).
    """
    figure, axes = _axes(6.4, 5.6, "ROC on the reported samples", "1 - specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    models = [name for name in curves if not name.startswith("baseline")]
    for name, rows in curves.items():
        colour = MODEL_COLOURS[models.index(name) % len(MODEL_COLOURS)] if name in models else BASELINE_COLOUR
        style = "-" if name in models else ":"
        fpr, tpr, _ = metrics.roc_points(rows["label"].to_numpy(), rows["prob"].to_numpy())
        axes.plot(fpr, tpr, style, color=colour, linewidth=1.6, label=legend[name])
        axes.plot(*points[name], "o", color=colour, markersize=5)
    axes.set(aspect="equal", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.legend(
        loc="upper left", bbox_to_anchor=(1.02, 1), fontsize=8, frameon=False, title="AUC; dot: operating point"
    )
    return figure


def confusion_figure(rows: pd.DataFrame, title: str) -> Figure:
    """Confusion matrix at the operating point; rows: `label` and `called`."""
    table = np.zeros((2, 2), int)
    np.add.at(table, (rows["label"].to_numpy(), rows["called"].to_numpy()), 1)
    figure, axes = _axes(4, 3.6, title, "called", "pathology")
    axes.imshow(table, cmap="Blues", vmin=0, vmax=max(1, table.sum(axis=1).max()))
    names = ["benign", "malignant"]
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
    for (row, column), count in np.ndenumerate(table):
        share = count / max(1, table[row].sum())
        colour = "white" if share > 0.6 else "black"
        axes.text(column, row, f"{count}\n{share:.0%}", ha="center", va="center", color=colour)
    return figure


def history_figure(history: Sequence[dict[str, float]], kept_epoch: int, title: str) -> Figure:
    """Loss and clinical validation metrics over the epochs; the epoch that was kept is marked."""
    table = pd.DataFrame(history)
    table.index = pd.RangeIndex(1, len(table) + 1)
    figure = Figure(figsize=(9, 3.4))
    left, right = figure.subplots(1, 2)
    for column, label in (("loss", "training (weighted, augmented)"), ("val_loss", "validation")):
        left.plot(table[column], marker=".", label=label)
    for column in ("val_auc", "val_sensitivity", "val_specificity"):
        right.plot(table[column], marker=".", label=column.removeprefix("val_"))
    left.set(title=title, xlabel="epoch", ylabel="loss")
    right.set(title="validation (threshold 0.5)", xlabel="epoch", ylim=(-0.02, 1.02))
    for axes in (left, right):
        axes.axvline(kept_epoch + 1, color="#999999", linestyle=":", label="kept")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    return figure


def samples_figure(
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


def _outlines(mask: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.int32]]:
    """Closed outlines (points, 2) as x, y."""
    found, _ = cv2.findContours(np.ascontiguousarray(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [np.concatenate([outline, outline[:1]])[:, 0] for outline in found]


def with_interval(row: pd.Series, metric: str) -> str:
    """`0.758 (0.712-0.801)`; a value that cannot be estimated is a dash."""
    if pd.isna(row[metric]):
        return "-"
    value, low, high = (f"{row[name]:.3f}" for name in (metric, f"{metric}_low", f"{metric}_high"))
    return f"{value} ({low}-{high})" if pd.notna(row[f"{metric}_low"]) else value


def comparison_markdown(comparison: pd.DataFrame, columns: Sequence[str] = TABLE_METRICS) -> str:
    """The comparison table for people: every metric in `columns` with its interval."""
    head = [
        "model",
        "weights",
        "samples",
        "n (patients)",
        *(name.upper() if len(name) < 4 else name for name in columns),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for _, row in comparison.iterrows():
        count = f"{row['n']:.0f} ({row['n_patients']:.0f})"
        cells = [row["model"], row["weights"], row["samples"], count, *(with_interval(row, name) for name in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
