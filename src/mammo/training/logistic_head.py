"""Logistic regression on the vectors of a frozen base, as the head of a model."""

from collections.abc import Sequence

import keras
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mammo.core.config import TrainingConfig
from mammo.training import feature_cache, health
from mammo.training.feature_cache import AugmentedFeatures, FrozenBase
from mammo.training.health import TrainingError
from mammo.training.predict import FLIPS
from mammo.training.result import EpochCallback, TrainingData, TrainingResult
from mammo.training.vector_table import Vectors

LOGISTIC_REGRESSION = "logistic_regression"  # a value of models.*.optimizer
MAX_ITERATIONS = 2000


def fit_logistic_head(
    model: keras.Model, data: TrainingData, config: TrainingConfig, on_epoch_end: EpochCallback
) -> TrainingResult:
    """Fit a logistic regression with an L2 penalty on the frozen base's vectors, and write it into the model's head.

    Every augmented copy is a row, and with `mirrored_rows` every mirror image; `inverse_l2` is divided by the number of
    versions of an image, so that it does not depend on it.
    Raise TrainingError where the head has hidden layers.
    """
    if config.model.head_units:
        raise TrainingError(f"{LOGISTIC_REGRESSION} fits a linear head; it needs `head_units: []`")
    base = FrozenBase(model)
    features = AugmentedFeatures(base, data, config)
    versions = [features(copy) for copy in range(features.count)]
    if config.model.mirrored_rows:
        versions += base.extract_mirrored(data.train, FLIPS[1:])
    scaler, regression = _fit_regression(versions, data.train.labels, config)
    norm = model.get_layer("pool_norm")
    gamma = np.sqrt((scaler.var_ + norm.epsilon) / np.where(scaler.var_ > 0, scaler.var_, 1))
    norm.set_weights([gamma, np.zeros_like(scaler.mean_), scaler.mean_, scaler.var_])
    model.get_layer("logit").set_weights([regression.coef_.T, regression.intercept_])
    head = feature_cache.build_head(model)
    loss = _training_loss(head, features(0), data.train.labels)
    prob = keras.ops.convert_to_numpy(head.predict_on_batch(base.extract(data.validation)[:]))[:, 0]
    values = health.measure_epoch(data.validation.labels, prob.astype(np.float64), loss, config.train.health)
    values |= {"loss": loss, "restarts": 0.0}
    on_epoch_end(0, values)
    return TrainingResult([values], 0)


def _fit_regression(
    versions: Sequence[Vectors], labels: npt.NDArray[np.int64], config: TrainingConfig
) -> tuple[StandardScaler, LogisticRegression]:
    """Return both, fitted on `versions` of the same rows, whose labels (n,) are `labels`."""
    vectors = np.concatenate([version[:] for version in versions])
    scaler = StandardScaler().fit(vectors)
    class_weight = None if config.train.balance == "none" else "balanced"
    inverse_l2 = config.model.inverse_l2 / len(versions)
    regression = LogisticRegression(C=inverse_l2, class_weight=class_weight, max_iter=MAX_ITERATIONS)
    return scaler, regression.fit(scaler.transform(vectors), np.tile(labels, len(versions)))


def _training_loss(head: keras.Model, vectors: Vectors, labels: npt.NDArray[np.int64]) -> float:
    prob = head.predict_on_batch(vectors[:])
    loss = keras.losses.binary_crossentropy(labels[:, np.newaxis].astype(np.float32), prob)
    return float(keras.ops.mean(loss))
