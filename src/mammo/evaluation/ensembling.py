"""Several predictions -> one: of several models, or of a lesion's views. What is fitted sees validation rows only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, minimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mammo.core.errors import InputError
from mammo.core.schemas import KEY
from mammo.evaluation import aggregation

Floats = npt.NDArray[np.float64]
SAMPLE = ["sample_id", "patient_id", "split", "label"]
PROB_FLOOR = 1e-6
# What the views of one lesion, or of one breast, have in common; a breast has both views in one sample.
VIEWS_OF = {
    "lesion": [column for column in KEY if column != "view"],
    "image": aggregation.LEVELS["breast"],
    "breast": aggregation.LEVELS["breast"],
}
STACKING_C = 0.1  # members agree with each other, and validation rows are few


@dataclass(frozen=True)
class Combination:
    """A weight per member, on probabilities; or on log-odds, with an intercept, where `stacked`."""

    weights: Floats
    intercept: float = 0.0
    stacked: bool = False

    def __call__(self, probs: Floats) -> Floats:
        """Probabilities (n, models) -> (n,)."""
        if self.stacked:
            return np.asarray(expit(_log_odds(probs) @ self.weights + self.intercept))
        return np.clip(probs @ self.weights, 0, 1)


def combine(tables: dict[str, pd.DataFrame], method: str) -> tuple[pd.DataFrame, dict[str, float]]:
    """The ensemble's prediction table and the weight of each member.

    tables: tables.PREDICTIONS by model name, over the same samples.
    """
    first = next(iter(tables.values()))[SAMPLE].reset_index(drop=True)
    for name, table in tables.items():
        if not table[SAMPLE].reset_index(drop=True).equals(first):
            raise InputError(
                f"predictions of {name} are for other samples than {next(iter(tables))}'s; rerun its stage"
            )
    probs = np.column_stack([table["prob"].to_numpy(np.float64) for table in tables.values()])
    validation = (first["split"] == "val").to_numpy()
    combination = METHODS[method](probs[validation], first.loc[validation, "label"].to_numpy(np.float64))
    weights = dict(zip(tables, combination.weights.tolist(), strict=True))
    return first.assign(prob=combination(probs)), weights


def over_views(predictions: pd.DataFrame, cases: pd.DataFrame, unit: str) -> pd.DataFrame:
    """`predictions` (tables.PREDICTIONS) in which each sample has the mean log-odds of its lesion's or breast's views.

    cases: tables.CASES, which say what belongs together: a lesion has the same abnormality_id in CC and MLO. A sample
    whose other view is missing keeps its own score. Nothing is fitted.
    """
    aggregation.check_located(predictions, cases)
    keys = ["split", *VIEWS_OF[unit]]
    located = predictions.merge(cases[["sample_id", *KEY[1:]]], on="sample_id", how="left", validate="one_to_one")
    odds = located.assign(odds=_log_odds(located["prob"].to_numpy())).groupby(keys)["odds"].transform("mean")
    return predictions.assign(prob=np.asarray(expit(odds)))


def mean(probs: Floats, label: Floats) -> Combination:
    """Equal weights."""
    return Combination(np.full(probs.shape[1], 1 / probs.shape[1]))


def weighted(probs: Floats, label: Floats) -> Combination:
    """Weights, not negative and of sum 1, with the lowest log-loss on probs (n, models) and label (n,)."""

    def log_loss(weights: npt.NDArray[Any]) -> float:
        prob = np.clip(probs @ weights, PROB_FLOOR, 1 - PROB_FLOOR)
        return float(-np.mean(label * np.log(prob) + (1 - label) * np.log(1 - prob)))

    count = probs.shape[1]
    found = minimize(
        log_loss,
        x0=np.full(count, 1 / count),
        method="SLSQP",
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.ones(count), 1, 1),
    )
    weights = np.clip(found.x, 0, None)
    return Combination(np.asarray(weights / weights.sum(), np.float64))


def stacked(probs: Floats, label: Floats) -> Combination:
    """Logistic regression on the members' standardised log-odds; with one class alone, their mean."""
    if len(np.unique(label)) < 2:
        return mean(probs, label)
    scaler = StandardScaler().fit(_log_odds(probs))
    fitted = LogisticRegression(C=STACKING_C).fit(scaler.transform(_log_odds(probs)), label)
    weights = np.asarray(fitted.coef_[0] / scaler.scale_, np.float64)
    return Combination(weights, float(fitted.intercept_[0] - weights @ scaler.mean_), stacked=True)


def _log_odds(probs: Floats) -> Floats:
    return np.asarray(logit(np.clip(probs, PROB_FLOOR, 1 - PROB_FLOOR)))


METHODS: dict[str, Callable[[Floats, Floats], Combination]] = {"mean": mean, "weighted": weighted, "stacked": stacked}
