"""Each health monitor detects its own failure, and no other."""

import math

import numpy as np
import pytest

from mammo.training import health
from mammo.training.checkpoint import Epoch
from tests import arrays

SETTINGS = arrays.TRAIN.health.model_copy(
    update={
        "collapse_share": 0.98,
        "collapse_spread": 0.02,
        "collapse_epochs": 2,
        "sensitivity_floor": 0.1,
        "exploding_loss": 10.0,
        "overfitting_gap": 0.5,
    }
)
LABEL = np.array([1, 1, 0, 0])


def measured(*prob: float, loss: float = 0.6) -> Epoch:
    return health.measure_epoch(LABEL, np.array(prob), loss, SETTINGS) | {"loss": loss}


GOOD = measured(0.9, 0.2, 0.6, 0.1)


def test_validation_metrics_by_hand() -> None:
    assert health.validation_metrics(LABEL, np.array([0.9, 0.2, 0.6, 0.1])) == pytest.approx(
        {
            "val_auc": 3 / 4,
            "val_loss": -np.log([0.9, 0.2, 0.4, 0.9]).mean(),
            "val_sensitivity": 1 / 2,
            "val_specificity": 1 / 2,
            "val_spread": np.std([0.9, 0.2, 0.6, 0.1]),
            "val_called_malignant": 1 / 2,
        }
    )


def test_a_certain_error_has_a_finite_loss() -> None:
    assert np.isfinite(measured(0.0, 0.0, 1.0, 1.0)["val_loss"])


@pytest.mark.parametrize(
    ("prob", "collapsed"),
    [
        ((0.9, 0.9, 0.9, 0.9), 1.0),
        ((0.49, 0.48, 0.49, 0.48), 1.0),
        ((0.4, 0.1, 0.2, 0.3), 0.0),  # one class, but scores apart: a matter of the operating point
        ((0.51, 0.49, 0.51, 0.49), 0.0),  # hardly apart, but two classes
    ],
)
def test_collapse_is_one_class_and_scores_that_are_hardly_apart(prob: tuple[float, ...], collapsed: float) -> None:
    assert measured(*prob)["val_collapsed"] == collapsed


def test_a_collapse_is_objected_to_when_it_lasts() -> None:
    collapsed = measured(0.9, 0.9, 0.9, 0.9)
    assert health.restart_reason([collapsed], SETTINGS) is None
    assert health.restart_reason([collapsed, GOOD, collapsed], SETTINGS) is None
    assert "has collapsed: for 2 epochs" in str(health.restart_reason([GOOD, collapsed, collapsed], SETTINGS))


def test_nan_and_explosion_are_objected_to() -> None:
    assert health.restart_reason([GOOD], SETTINGS) is None
    assert health.restart_reason([GOOD | {"loss": math.nan}], SETTINGS) == "the training loss is nan"
    assert health.restart_reason([GOOD | {"loss": math.inf}], SETTINGS) == "the training loss is inf"
    assert health.restart_reason([measured(math.nan, 0.1, 0.2, 0.3)], SETTINGS) == "the model predicts nan"
    assert health.restart_reason([GOOD, GOOD | {"loss": 7.0}], SETTINGS) == "the training loss went from 0.6 to 7"
    assert health.restart_reason([GOOD, GOOD | {"loss": 5.0}], SETTINGS) is None


def test_rows_have_the_same_names_whatever_happens() -> None:
    assert set(measured(math.nan, 0.1, 0.2, 0.3)) == set(GOOD)


def test_low_sensitivity_and_over_fitting_are_flagged() -> None:
    assert GOOD["val_low_sensitivity"] == GOOD["overfitting"] == 0
    assert measured(0.1, 0.2, 0.6, 0.1)["val_low_sensitivity"] == 1
    assert measured(0.9, 0.2, 0.6, 0.1, loss=0.01)["overfitting"] == 1


def test_a_flag_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    low = measured(0.1, 0.2, 0.6, 0.1, loss=1.0)
    for rows in ([GOOD], [GOOD, low], [GOOD, low, low]):
        health.log_warnings(rows)
    assert caplog.messages == ["epoch 2: validation sensitivity is below train.health.sensitivity_floor"]
