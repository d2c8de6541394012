"""Logistic regression on the vectors of a frozen base, as the head of a model."""

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mammo.core.config import ModelConfig, TrainConfig
from mammo.data.samples import Samples
from mammo.training import feature_cache, health, predict
from mammo.training.health import TrainingError
from mammo.training.result import EpochCallback, TrainingResult


def fit_logistic_head(
    model: keras.Model,
    train: Samples,
    validation: Samples,
    recipe: TrainConfig,
    own: ModelConfig,
    seed: int,
    log: EpochCallback,
) -> TrainingResult:
    """Logistic regression with an L2 penalty on the frozen base's vectors, written into the model's own layers.

    All augmented copies are rows; `inverse_l2` is divided by their number, so that it means the same for any.
    """
    if own.trainable or own.head_units:
        raise TrainingError("solver: logistic_regression needs `trainable: []` and `head_units: []`")
    copies = feature_cache.AugmentedFeatures(
        model, train, recipe.augmentation, own.augmentation_strength, seed, recipe.feature_copies
    )
    vectors = np.concatenate([copies(copy) for copy in range(copies.count)])
    labels = np.tile(train.labels, copies.count)
    scaler = StandardScaler().fit(vectors)
    weights = None if recipe.balance == "none" else "balanced"
    regression = LogisticRegression(C=own.inverse_l2 / copies.count, class_weight=weights, max_iter=2000)
    regression.fit(scaler.transform(vectors), labels)
    norm = model.get_layer("pool_norm")
    gamma = np.sqrt((scaler.var_ + norm.epsilon) / np.where(scaler.var_ > 0, scaler.var_, 1))
    norm.set_weights([gamma, np.zeros_like(scaler.mean_), scaler.mean_, scaler.var_])
    model.get_layer("logit").set_weights([regression.coef_.T, regression.intercept_])
    loss = float(
        keras.ops.mean(
            keras.losses.binary_crossentropy(
                train.labels[:, np.newaxis].astype(np.float32), feature_cache.head(model).predict_on_batch(copies(0))
            )
        )
    )
    prob = predict.probabilities(model, validation)
    values = health.measure_epoch(validation.labels, prob, loss, recipe.monitors) | {"loss": loss}
    log(0, values)
    return TrainingResult([values], 0)
