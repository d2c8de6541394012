"""Figures draw and are the same bytes again; the table for people shows values, intervals and what is not known."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from mammo.core.config import load_config
from mammo.evaluation.comparison_rows import tabulate_roc
from mammo.reporting import comparison
from mammo.reporting.figures import contact_sheets, evaluation, overlays, png, training
from stages import publish
from tests import arrays

PNG = b"\x89PNG\r\n\x1a\n"


def roc() -> Figure:
    names = ["light_cnn", "baseline_birads"]
    curves = [tabulate_roc(name, arrays.predictions(skill=skill)) for skill, name in enumerate(names)]
    legend = {name: f"{name} .7" for name in names}
    return evaluation.draw_roc(pd.concat(curves), legend, dict.fromkeys(names, (0.2, 0.8)), "ROC")


def confusion() -> Figure:
    return evaluation.draw_confusion(
        pd.DataFrame({"label": [0, 0, 1, 1, 1], "predicted_positive": [0, 1, 1, 1, 0]}), "light_cnn"
    )


def history() -> Figure:
    epochs = [
        {"loss": 1 / n, "val_loss": 2 / n, "val_auc": 0.6, "val_sensitivity": 0.5, "val_specificity": float("nan")}
        for n in range(1, 5)
    ]
    return training.draw_history(pd.DataFrame(epochs), 3, "light_cnn")


def overlay_sheet() -> Figure:
    images, masks = arrays.images(np.array([1, 0, 1, 1, 0]))
    heat = np.random.default_rng(0).random(images.shape).astype(np.float32)
    return contact_sheets.draw_contact_sheet(images, masks.astype(np.uint8), list("abcde"), heat)


def contact_sheet_of_one() -> Figure:
    images, masks = arrays.images(np.array([1]))
    return contact_sheets.draw_contact_sheet(images, masks.astype(np.uint8), ["a"])


FIGURES = [roc, confusion, history, overlay_sheet, contact_sheet_of_one]


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_a_figure_drawn_twice_is_the_same_png(draw: Callable[[], Figure], tmp_path):
    png.save_figure(draw(), tmp_path / "new" / "one.png")
    png.save_figure(draw(), tmp_path / "new" / "two.png")
    content = (tmp_path / "new" / "one.png").read_bytes()
    assert content.startswith(PNG)
    assert b"matplotlib" not in content.lower()
    assert content == (tmp_path / "new" / "two.png").read_bytes()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"one.png", "two.png"}
    assert cv2.imread(str(tmp_path / "new" / "one.png")).std() > 1


def test_the_confusion_matrix_shows_its_counts():
    (axes,) = confusion().axes
    assert [text.get_text() for text in axes.texts] == ["1\n50%", "1\n50%", "1\n33%", "2\n67%"]


def test_a_confusion_matrix_without_a_class_draws():
    figure = evaluation.draw_confusion(
        pd.DataFrame({"label": [0, 0], "predicted_positive": [0, 0]}), "no malignant row"
    )
    assert [text.get_text() for text in figure.axes[0].texts] == ["2\n100%", "0\n0%", "0\n0%", "0\n0%"]


def test_the_kept_epoch_is_marked_where_people_count_from_one():
    for axes in history().axes:
        (kept,) = [line for line in axes.lines if line.get_label() == "kept"]
        assert set(kept.get_xdata()) == {3}


def test_roc_curves_run_from_corner_to_corner_and_show_the_operating_point():
    (axes,) = roc().axes
    for name in ("light_cnn .7", "baseline_birads .7"):
        (curve,) = [line for line in axes.lines if line.get_label() == name]
        assert curve.get_xydata()[0].tolist() == [0, 0]
        assert curve.get_xydata()[-1].tolist() == [1, 1]
    assert sum(line.get_xydata().tolist() == [[0.2, 0.8]] for line in axes.lines) == 2


def test_a_contact_sheet_outlines_lesions_only():
    images, masks = arrays.images(np.array([1, 0, 1, 1, 0]))
    panels = [overlays.draw_panel(*pair, 64) for pair in zip(images, masks.astype(np.uint8), strict=True)]
    outlined = [bool((panel == overlays.OUTLINE_COLOUR).all(axis=2).any()) for panel in panels]
    assert outlined == [True, False, True, True, False]


def row(**values: object) -> pd.Series:
    return pd.Series(
        {"auc": 0.7583, "auc_low": 0.7121, "auc_high": 0.8014, "ppv": np.nan, "ppv_low": np.nan, "ppv_high": np.nan}
        | values
    )


def test_a_value_stands_with_its_interval():
    assert comparison.format_interval(row(), "auc") == "0.758 (0.712-0.801)"


def test_a_value_without_an_interval_stands_alone():
    assert comparison.format_interval(row(auc_low=np.nan, auc_high=np.nan), "auc") == "0.758"


def test_what_cannot_be_estimated_is_a_dash():
    assert comparison.format_interval(row(), "ppv") == "-"


def test_one_training_has_no_spread():
    assert comparison.format_retrainings(row()) == comparison.format_retrainings(row(retrained=np.nan)) == "-"


def test_the_comparison_table_of_publish_fits_a_page():
    given = {"model": "light_cnn", "weights": "none", "samples": "official test", "n": 24.0, "n_patients": 12.0}
    metrics = ("auc", "sensitivity", "specificity", "accuracy", "ppv", "npv", "f1")
    values = dict.fromkeys(metrics, 0.5) | {f"{name}_low": 0.4 for name in metrics}
    values |= {f"{name}_high": 0.6 for name in metrics}
    again = {"retrained": 3.0, "auc_retrained_mean": 0.5, "auc_retrained_sd": 0.01}
    config = load_config(Path(__file__).resolve().parents[2] / "params.yaml")
    text = publish._render(pd.DataFrame([given | values | again]), config)
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(line.count("|") <= 5 for line in tables)
    assert "24 samples of 12 patients" in text and "0.500 ± 0.010 (3)" in text
    assert "comparison.csv" in text and "Synthetic cohort" in text
