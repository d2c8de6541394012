"""Figures draw from the contract's tables, the same bytes each time, and survive missing classes and empty groups."""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from reporting import test_evaluation_report as run

from mammo.reporting.figures import contact_sheets, evaluation, overlays, png, style, training

ONE = "light_cnn"


def roc() -> Figure:
    return evaluation.draw_roc(run.roc(), {ONE: f"{ONE} .7"}, {ONE: (0.2, 0.8)}, "ROC")


def roc_band() -> Figure:
    return evaluation.draw_roc_band(run.roc(), ONE, ONE)


def calibration() -> Figure:
    return evaluation.draw_calibration(run.reliability([ONE]), ONE)


def decision_curve() -> Figure:
    return evaluation.draw_decision_curve(run.decision_curve(), [ONE])


def forest() -> Figure:
    return evaluation.draw_forest(run.subgroups([ONE]), 0.6, ONE)


def conformal() -> Figure:
    return evaluation.draw_conformal(run.conformal(), "coverage", [ONE])


def chosen(models: list[str] = run.ON_TEST) -> pd.DataFrame:
    table = run.operating_points(models)
    return table[table["rule"] == "target_sensitivity=0.9"]


def drift() -> Figure:
    return evaluation.draw_drift(chosen(), "sensitivity")


def aucs() -> Figure:
    rows = run.comparison()
    left = {f"auc_without_lesion{limit}": rows[f"auc{limit}"] - 0.2 for limit in ("", "_low", "_high")}
    return evaluation.draw_aucs(rows.assign(**left), "AUC")


def test_the_best_auc_stands_first() -> None:
    (axes,) = aucs().axes
    shown = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.lines[0].get_xdata(), strict=True))
    assert shown == run.comparison().set_index("model")["auc"].to_dict()
    assert list(shown.values()) == sorted(shown.values(), reverse=True)


def roc_panels() -> Figure:
    return evaluation.draw_roc_panels(run.roc(), {ONE: f"{ONE} .7"}, {ONE: (0.2, 0.8)}, "ROC")


def reader_errors() -> Figure:
    return evaluation.draw_reader_errors(run.reader_errors())


FIGURES = [roc, roc_band, roc_panels, aucs, calibration, decision_curve, forest, conformal, drift, reader_errors]


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_nothing_of_a_figure_lies_outside_of_it(draw: Callable[[], Figure]):
    """It is drawn once, at its own size: what lies outside would be cut off."""
    figure = draw()
    ink, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(ink.x0, ink.y0) >= -0.02 and ink.x1 <= width + 0.02 and ink.y1 <= height + 0.02


def test_a_figure_is_drawn_once_and_its_paper_is_white(monkeypatch: pytest.MonkeyPatch):
    draws = []
    monkeypatch.setattr(
        Figure, "draw", lambda self, renderer, draw=Figure.draw: draws.append(1) or draw(self, renderer)
    )
    image = png.encode_png(roc_band())
    assert draws == [1]
    assert (_decoded(image)[0, 0] == 255).all()
    assert png.page_width(image) == pytest.approx(evaluation.PANEL[0] * png.PAGE_DPI, abs=1)


def test_the_aucs_show_what_is_left_without_the_lesion():
    (axes,) = aucs().axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["AUC", "without the lesion"]


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_a_figure_drawn_twice_is_the_same_png(draw: Callable[[], Figure]):
    one = png.encode_png(draw())
    assert one.startswith(b"\x89PNG\r\n\x1a\n") and b"matplotlib" not in one.lower()
    assert one == png.encode_png(draw())
    assert cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR).std() > 1


def test_a_model_looks_the_same_everywhere_and_like_no_other():
    names = [*(f"model_{number}" for number in range(16)), "baseline_birads", "baseline_prevalence"]
    styles = style.style_models(names)
    assert list(styles) == names
    assert len(set(styles.values())) == len(names)
    assert {styles[name].colour for name in names[16:]} == {style.BASELINE_COLOUR}
    assert style.style_models([*names[:3], names[16]])["model_2"] == styles["model_2"]


def test_neighbouring_models_differ_by_more_than_colour():
    styles = list(style.style_models([f"model_{number}" for number in range(8)]).values())
    for one, other in pairwise(styles):
        assert one.line != other.line and one.marker != other.marker


def test_the_reader_s_curve_shows_each_of_its_points():
    (axes,) = roc().axes
    (reader,) = [line for line in axes.lines if line.get_label() == "baseline_birads"]
    assert reader.get_marker() != "None" and reader.get_marker() != ""
    (model,) = [line for line in axes.lines if line.get_label() == f"{ONE} .7"]
    assert model.get_marker() in ("", "None")
    assert any(line.get_xydata().tolist() == [[0.2, 0.8]] for line in axes.lines)


def test_a_band_is_drawn_where_limits_are_given():
    assert len(roc_band().axes[0].collections) == 1
    without = run.roc().drop(columns=["low", "high"])
    assert not evaluation.has_band(without)
    assert len(evaluation.draw_roc_band(without, ONE, ONE).axes[0].collections) == 0
    assert not evaluation.has_band(run.roc().assign(low=np.nan))


def test_an_empty_bin_is_not_drawn():
    upper, _ = calibration().axes
    (raw,) = [line for line in upper.lines if str(line.get_label()).startswith("raw")]
    assert len(raw.get_xdata()) == 9


def test_the_decision_curve_shows_both_ways_without_a_model():
    (axes,) = decision_curve().axes
    labels = [line.get_label() for line in axes.lines]
    assert labels[:2] == ["call everyone", "call no one"] and ONE in labels
    assert axes.get_ylim()[0] > -0.2


def test_the_forest_plot_says_what_is_worse_and_what_cannot_be_estimated():
    (axes,) = forest().axes
    texts = [text.get_text() for text in axes.texts]
    assert sum(text.endswith("worse") for text in texts) == 1
    assert "not estimable (no malignant row)" in texts
    assert [text for text in texts if text == "breast density"] == ["breast density"]
    assert sum(line.get_marker() == "D" for line in axes.lines) == 1


@pytest.mark.parametrize(
    "note, text",
    [
        ("", "not estimable"),
        ("no benign row", "not estimable (no benign row)"),
        ("not estimable (no benign row)", "not estimable (no benign row)"),
    ],
)
def test_a_note_says_once_that_nothing_can_be_estimated(note: str, text: str):
    assert evaluation.not_estimable(note) == text


def test_a_forest_of_no_or_unknown_subgroups_draws():
    png.encode_png(evaluation.draw_forest(run.subgroups([ONE]).iloc[:0], np.nan, ONE))
    unknown = run.subgroups([ONE]).assign(auc=np.nan, low=np.nan, high=np.nan, note="no benign sample")
    png.encode_png(evaluation.draw_forest(unknown, np.nan, ONE))


def test_drift_goes_from_validation_to_test():
    table = chosen([ONE])
    for _, row in table.iterrows():
        (axes,) = evaluation.draw_drift(table, row["metric"]).axes
        (change,) = [line for line in axes.lines if len(line.get_xdata()) == 2]
        assert change.get_xdata().tolist() == [row["validation"], row["test"]]


def test_an_operating_point_without_a_class_draws_what_is_known():
    table = chosen([ONE]).assign(test=np.nan)
    (left,) = evaluation.draw_drift(table, "sensitivity").axes
    assert not [line for line in left.lines if len(line.get_xdata()) == 2]


def test_several_rules_of_a_model_are_told_apart():
    table = chosen([ONE])
    both = pd.concat([table, table.assign(rule="youden")])
    (left,) = evaluation.draw_drift(both, "sensitivity").axes
    assert [label.get_text() for label in left.get_yticklabels()] == [
        f"{ONE}, target_sensitivity=0.9",
        f"{ONE}, youden",
    ]


def test_an_empty_table_draws_empty_axes():
    assert png.encode_png(evaluation.draw_decision_curve(run.decision_curve().iloc[:0], []))
    assert png.encode_png(evaluation.draw_conformal(run.conformal().iloc[:0], "coverage", []))
    assert png.encode_png(evaluation.draw_drift(run.operating_points().iloc[:0], "sensitivity"))


def test_a_case_is_shown_with_its_outline_and_its_heat_beside():
    image, mask = np.full((16, 16), 90, np.uint8), np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 1
    plain = _decoded(overlays.encode_case(image, mask))
    heat = np.linspace(0, 1, 16, dtype=np.float32) * np.ones((16, 1), np.float32)
    pair = _decoded(overlays.encode_case(image, mask, heat))
    size = overlays.THUMBNAIL_PX
    assert plain.shape == (size, size, 3) and pair.shape == (size, 2 * size, 3)
    assert (plain == (136, 255, 0)).all(axis=2).any()
    np.testing.assert_array_equal(pair[:, :size], plain)
    assert not np.array_equal(pair[:, size:], plain)
    none = _decoded(overlays.encode_case(image, np.zeros_like(mask)))
    assert (none == 90).all()


def test_the_opacity_follows_the_map_and_a_high_floor_is_no_veil():
    image, mask = np.full((64, 64), 90, np.uint8), np.zeros((64, 64), np.uint8)
    heat = np.full((64, 64), 0.4, np.float32)
    heat[:, 48:] = 1
    panel = overlays.draw_panel(image, mask, 64, heat)
    assert (panel[:, :40] == 90).all()
    assert not (panel[:, 56:] == 90).all()


@pytest.mark.parametrize(("level", "words"), [(0.0, "nothing speaks for malignant"), (0.5, "even")])
def test_a_map_that_shows_nothing_says_why(level: float, words: str):
    image, mask = np.full((64, 64), 90, np.uint8), np.zeros((64, 64), np.uint8)
    heat = np.full((64, 64), level, np.float32)
    assert (overlays.draw_panel(image, mask, 64, heat) == 90).all()
    (axes,) = contact_sheets.draw_contact_sheet(image[None], mask[None], ["TP"], heat[None]).axes
    assert any(words in text.get_text() for text in axes.texts)
    assert overlays.explain_empty(np.eye(8, dtype=np.float32)) == ""


def _decoded(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def test_the_history_marks_restarts_once_in_its_legend():
    row = {"loss": 0.6, "val_loss": 0.6, "val_auc": 0.7, "val_sensitivity": 0.5, "val_specificity": 0.5}
    rows = [row | {"restarts": restarts} for restarts in (0.0, 0.0, 1.0, 1.0, 2.0)]
    left, right = training.draw_history(pd.DataFrame(rows), 5, "a model").axes
    assert all(tick == round(tick) for tick in right.get_xticks())
    for axes in (left, right):
        marks = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
        assert marks == [2.5, 4.5]
        assert [text.get_text() for text in axes.get_legend().get_texts()].count("restart") == 1
