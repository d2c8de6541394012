"""Figures of a training, drawn from its history (metrics/history/<model>.csv) and its validation predictions."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammo.evaluation.comparison_rows import tabulate_roc
from mammo.metrics import discrimination
from mammo.metrics.discrimination import WATCH_THRESHOLD
from mammo.reporting.figures import evaluation, style


def draw_history(history: pd.DataFrame, kept_epoch: int, title: str) -> Figure:
    """Draw loss and clinical validation metrics over the epochs, with restarts and the kept weights' epoch marked.

    history: one row per epoch with loss, val_loss, val_auc, val_sensitivity, val_specificity and optionally restarts,
    their number so far; kept_epoch: counted from 1.
    """
    table = history.set_axis(pd.RangeIndex(1, len(history) + 1))
    figure = Figure(figsize=(3.6, 4.8))
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"hspace": 0.18})
    style.set_margins(figure, 0.62, 0.48, 0.15, 0.32)
    for column, label in (("loss", "training (weighted, augmented)"), ("val_loss", "validation")):
        upper.plot(table[column], marker=".", label=label)
    for column in ("val_auc", "val_sensitivity", "val_specificity"):
        lower.plot(table[column], marker=".", label=column.removeprefix("val_"))
    style.set_text_sizes(upper, title)
    style.set_text_sizes(lower, f"validation (threshold {WATCH_THRESHOLD})")
    upper.set(ylabel="loss")
    lower.set(xlabel="epoch", ylim=(-0.02, 1.02))
    lower.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))  # there are no half epochs
    restarts = list(table.index[table.get("restarts", pd.Series(0.0, table.index)).diff() > 0])
    for axes in (upper, lower):
        axes.axvline(kept_epoch, color="#999999", linestyle=":", label="kept")
        for number, epoch in enumerate(restarts):
            axes.axvline(epoch - 0.5, color="#d62728", linestyle="--", label="restart" if number == 0 else None)
        axes.legend(fontsize=8, frameon=False)
    return figure


def draw_validation_roc(name: str, validation: pd.DataFrame) -> Figure:
    """Draw the ROC curve of a model on its validation rows; validation: label and prob."""
    decided = _decide(validation)
    counts = discrimination.counts(decided["label"], decided["predicted_positive"])
    point = (1 - float(discrimination.specificity(*counts)), float(discrimination.sensitivity(*counts)))
    curve = tabulate_roc(name, decided)
    return evaluation.draw_roc_band(curve, name, f"{name}, validation", {name: point})


def draw_validation_confusion(name: str, validation: pd.DataFrame) -> Figure:
    """Draw the confusion matrix of a model on its validation rows; validation: label and prob."""
    return evaluation.draw_confusion(_decide(validation), f"{name}, validation, threshold {WATCH_THRESHOLD}")


def _decide(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(predicted_positive=(rows["prob"] >= WATCH_THRESHOLD).astype(int))
