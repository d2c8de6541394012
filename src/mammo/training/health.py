"""Health monitors of a training, and the action that each leads to.

| monitor | where it shows in the history | action |
|---|---|---|
| class collapse: validation rows predicted as one class, with nearly equal scores | `val_collapsed` | restart |
| NaN or an exploding loss | `loss` | restart |
| sensitivity below its floor | `val_low_sensitivity` | a warning; the history |
| over-fitting: validation loss far above training loss | `overfitting` | a warning; the history |
| resources: CPU, memory, disk, network, GPU | the run's `system/...` metrics on the MLflow server | shown |

A restart goes back to the last good epoch with a lower learning rate and classes sampled equally; `restarts` in the
history counts them. After `train.health.restarts` of them the training fails.
"""

import logging
import math

import numpy as np
import numpy.typing as npt

from mammo.core.config import HealthConfig
from mammo.core.errors import InputError
from mammo.metrics import discrimination
from mammo.metrics.discrimination import WATCH_THRESHOLD
from mammo.training.checkpoint import Epoch

WARNINGS = {
    "val_low_sensitivity": "validation sensitivity is below train.health.sensitivity_floor",
    "overfitting": "validation loss is above training loss by more than train.health.overfitting_gap",
}
log = logging.getLogger(__name__)


class TrainingError(InputError):
    """A training that cannot go on; the message says why and what to try."""


def measure_epoch(
    label: npt.NDArray[np.int64], prob: npt.NDArray[np.float64], loss: float, settings: HealthConfig
) -> Epoch:
    """Return one row of the history: metrics on validation rows and the flags of the monitors.

    label, prob: (n,), of the validation rows. loss: of the training. Metrics are NaN where `prob` is not finite.
    """
    if not np.isfinite(prob).all():
        names = ("val_auc", "val_loss", "val_sensitivity", "val_specificity", "val_spread")
        return dict.fromkeys(names, math.nan) | dict.fromkeys(("val_collapsed", *WARNINGS), 0.0)
    metrics = validation_metrics(label, prob)
    share_positive = metrics.pop("val_called_malignant")
    one_class = max(share_positive, 1 - share_positive) > settings.collapse_share
    return metrics | {
        "val_collapsed": float(one_class and metrics["val_spread"] < settings.collapse_spread),
        "val_low_sensitivity": float(metrics["val_sensitivity"] < settings.sensitivity_floor),
        "overfitting": float(metrics["val_loss"] - loss > settings.overfitting_gap),
    }


def validation_metrics(label: npt.NDArray[np.int64], prob: npt.NDArray[np.float64]) -> Epoch:
    """Return AUC, log-loss, sensitivity and specificity at 0.5, the SD of the scores and the share predicted positive.

    label, prob: (n,), finite.
    """
    predicted_positive = (prob >= WATCH_THRESHOLD).astype(np.int64)
    table = discrimination.counts(label, predicted_positive)
    clipped = np.clip(prob, 1e-7, 1 - 1e-7)
    return {
        "val_auc": discrimination.auc(label, prob),
        "val_loss": float(-np.mean(np.where(label == 1, np.log(clipped), np.log(1 - clipped)))),
        "val_sensitivity": float(discrimination.sensitivity(*table)),
        "val_specificity": float(discrimination.specificity(*table)),
        "val_spread": float(prob.std()),
        "val_called_malignant": float(predicted_positive.mean()),
    }


def restart_reason(rows: list[Epoch], settings: HealthConfig) -> str | None:
    """Return why the training needs a restart after the last of `rows`; None where it may go on.

    rows: the history since the last restart.
    """
    last = rows[-1]
    if not math.isfinite(last["loss"]):
        return f"the training loss is {last['loss']}"
    if not math.isfinite(last["val_loss"]):
        return "the model predicts nan"
    if last["loss"] > settings.exploding_loss * max(rows[0]["loss"], 0.1):
        return f"the training loss went from {rows[0]['loss']:.3g} to {last['loss']:.3g}"
    recent = rows[-settings.collapse_epochs :]
    if len(recent) == settings.collapse_epochs and all(row["val_collapsed"] for row in recent):
        return (
            f"the model has collapsed: for {settings.collapse_epochs} epochs it has called nearly all validation "
            f"rows the same, with scores of SD {last['val_spread']:.2g}"
        )
    return None


def log_warnings(rows: list[Epoch]) -> None:
    """Log a warning for every flag that the last of `rows` is the first to raise."""
    for flag, message in WARNINGS.items():
        if rows[-1][flag] and not any(row[flag] for row in rows[:-1]):
            log.warning("epoch %d: %s", len(rows), message)
