"""What is watched during training: clinical metrics on validation after every epoch, class collapse, broken losses."""

from collections.abc import Callable

import keras
import numpy as np

from mammo import inference, metrics
from mammo.batches import Samples
from mammo.errors import InputError

THRESHOLD = 0.5  # for watching only; the operating point is chosen after training
Epoch = dict[str, float]


class TrainingError(InputError):
    """Training cannot go on; the message says why and what to try."""


class ValidationMetrics(keras.callbacks.Callback):
    """Adds AUC, sensitivity, specificity and loss on the validation rows to the logs of every epoch.

    `collapsed` is 1 where nearly all validation rows are called the same class (more than `collapse_share`).
    """

    def __init__(
        self, validation: Samples, model: keras.Model, collapse_share: float, log: Callable[[int, Epoch], None]
    ):
        super().__init__()
        self.validation = validation
        self.watched = model
        self.collapse_share = collapse_share
        self.log = log
        self.history: list[Epoch] = []

    def on_epoch_end(self, epoch: int, logs: Epoch) -> None:
        """Measure, write into `logs` (where early stopping reads it), keep and report."""
        if not np.isfinite(logs["loss"]):
            raise TrainingError(f"epoch {epoch + 1}: the training loss is {logs['loss']}; lower the learning rate")
        prob = inference.probabilities(self.watched, self.validation)
        if not np.isfinite(prob).all():
            raise TrainingError(f"epoch {epoch + 1}: the model predicts nan; lower the learning rate")
        logs.update(validation_metrics(self.validation, prob))
        called = logs.pop("val_called_malignant")
        logs["val_collapsed"] = float(max(called, 1 - called) > self.collapse_share)
        values = {key: float(value) for key, value in sorted(logs.items())}
        self.history.append(values)
        self.log(epoch, values)


def validation_metrics(validation: Samples, prob: np.ndarray) -> Epoch:
    """AUC, log-loss, sensitivity and specificity at 0.5, and the share called malignant."""
    label = validation.labels
    called = (prob >= THRESHOLD).astype(np.int64)
    table = metrics.counts(label, called)
    clipped = np.clip(prob, 1e-7, 1 - 1e-7)
    return {
        "val_auc": metrics.auc(label, prob),
        "val_loss": float(-np.mean(np.where(label == 1, np.log(clipped), np.log(1 - clipped)))),
        "val_sensitivity": float(metrics.AT_THRESHOLD["sensitivity"](*table)),
        "val_specificity": float(metrics.AT_THRESHOLD["specificity"](*table)),
        "val_called_malignant": float(called.mean()),
    }
