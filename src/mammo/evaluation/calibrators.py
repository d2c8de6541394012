"""Scores as risks: calibrators fitted on validation rows, cross-fitted by patient where these are reported themselves.

A decision curve compares a score with a threshold probability, so that it must be a risk. A model's score becomes one
by Platt's line, ranks (few distinct scores, such as a reader's assessments) by the risk that was observed at each.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mammo.evaluation import held_out
from mammo.metrics import calibration
from mammo.metrics.calibration import Calibrator
from mammo.metrics.discrimination import Floats

Method = Callable[[ArrayLike, ArrayLike], Calibrator]

MOST_RANKS = 10  # so many distinct validation scores, or fewer, are ranks
RANKS = "observed"


def list_calibrators(predictions: pd.DataFrame) -> dict[str, Method]:
    """Return what a prediction table is calibrated by: calibration.METHODS, or of ranks their observed risk alone.

    A rank has no calibration of its own: read as a probability it would only say how ranks were numbered.
    """
    return {RANKS: calibration.observed_risk} if are_ranks(predictions) else calibration.METHODS


def are_ranks(predictions: pd.DataFrame) -> bool:
    """Whether the scores of a prediction table have few distinct values on validation rows."""
    return predictions.loc[predictions["split"] == "val", "prob"].nunique() <= MOST_RANKS


def calibrate(predictions: pd.DataFrame, method: Method) -> Floats:
    """Return the reported rows' probabilities (n,) after a method, fitted on the validation rows (of the other parts).

    nan throughout where it could not be fitted on one of the parts.
    """

    def fit(validation: pd.DataFrame) -> Callable[[pd.DataFrame], Floats]:
        calibrator = method(validation["label"].to_numpy(), validation["prob"].to_numpy())
        return lambda rows: calibrator(rows["prob"].to_numpy())

    prob = held_out.cross_fit(predictions, fit)
    return np.full(prob.shape, np.nan) if np.isnan(prob).any() else prob


def estimate_risk(predictions: pd.DataFrame) -> Floats:
    """Return the reported rows' risks (n,), which a threshold probability may be compared with.

    By Platt's line, of ranks by the observed risk. Scores that rank validation rows the wrong way round have no line:
    their risk is the share of malignant validation rows, as of a score that knows nothing.
    """
    risk = calibrate(predictions, calibration.observed_risk if are_ranks(predictions) else calibration.platt)
    return calibrate(predictions, _overall_risk) if np.isnan(risk).any() else risk


def _overall_risk(label: ArrayLike, prob: ArrayLike) -> Calibrator:
    share = float(np.mean(np.asarray(label)))
    return lambda new_prob: np.full(np.size(new_prob), share)
