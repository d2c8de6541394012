"""Figures of a training: decisions on its validation rows at the threshold that it is watched by."""

import numpy as np
import pandas as pd

from mammo.metrics import discrimination
from mammo.metrics.discrimination import WATCH_THRESHOLD
from mammo.reporting.figures import training

VALIDATION = pd.DataFrame({"label": [0, 0, 0, 1, 1], "prob": [0.1, 0.4, 0.7, 0.5, 0.9]})


def test_the_confusion_matrix_is_that_at_the_watched_threshold() -> None:
    (axes,) = training.draw_validation_confusion("light_cnn", VALIDATION).axes
    assert [text.get_text() for text in axes.texts] == ["2\n67%", "1\n33%", "0\n0%", "2\n100%"]
    assert axes.get_title() == "light_cnn, validation, threshold 0.5"


def test_the_roc_curve_marks_the_watched_threshold() -> None:
    (axes,) = training.draw_validation_roc("light_cnn", VALIDATION).axes
    counts = discrimination.counts(VALIDATION["label"], VALIDATION["prob"] >= WATCH_THRESHOLD)
    point = [1 - discrimination.specificity(*counts), discrimination.sensitivity(*counts)]
    assert any(np.allclose(line.get_xydata(), [point]) for line in axes.lines if len(line.get_xydata()) == 1)
