"""Figures of a training: decisions on its validation rows at the threshold that it is watched by."""

import numpy as np
import pandas as pd
from reporting.test_evaluation_report import record

from mammo.metrics import discrimination
from mammo.metrics.discrimination import WATCH_THRESHOLD
from mammo.reporting.figures import training
from stages import report

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


def test_a_training_keeps_its_epoch_whatever_other_records_its_model_has() -> None:
    trained = [record("train", "light_cnn", metrics={"best_epoch": 7.0})]
    continued = [record("continue_training", None, metrics={"best_epoch": 2.0})]
    others = [record(stage, "light_cnn", metrics={"auc": 0.5}) for stage in ("evaluate", "gradcam", "seeds")]
    assert report.find_kept_epochs([*trained, *continued, *others]) == {"light_cnn": 7, "continue_training": 2}
