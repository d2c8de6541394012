"""Several predictions -> one: of several models, or of a lesion's views. What is fitted sees validation rows only."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from mammo.data import lesions
from mammo.evaluation import aggregation, held_out

Floats = npt.NDArray[np.float64]
SAMPLE = ["sample_id", "patient_id", "split", "label"]
PROB_FLOOR = 1e-6
# What the views of one lesion, or of one breast, have in common; a breast has both views in one sample.
VIEWS_OF = {
    "lesion": aggregation.LEVELS["abnormality"],
    "image": aggregation.LEVELS["breast"],
    "breast": aggregation.LEVELS["breast"],
}
STACKING_C = 0.1  # members agree with each other, and validation rows are few
DECIMALS = 6  # of fitted weights
TOLERANCE = 1e-8  # of the logistic regression: its error stays below the last of DECIMALS
SUM_TOLERANCE = 1e-6  # of weights that are shares
PROBABILITIES, LOG_ODDS = "probabilities", "log_odds"  # kinds of a combination


@dataclass(frozen=True)
class Combination:
    """A weight per member, on probabilities; or on log-odds, with an intercept.

    members: names in the order of the weights; empty where only arrays are combined.
    """

    weights: Floats
    kind: str = PROBABILITIES
    intercept: float = 0.0
    members: tuple[str, ...] = ()

    def __call__(self, probs: Floats) -> Floats:
        """Return the combined probabilities: (n, members) -> (n,)."""
        if self.kind == LOG_ODDS:
            return np.asarray(expit(_log_odds(probs) @ self.weights + self.intercept))
        return np.clip(probs @ self.weights, 0, 1)

    def by_member(self) -> dict[str, float]:
        """Return the weight of each member."""
        return dict(zip(self.members, self.weights.tolist(), strict=True))

    def to_json(self) -> str:
        """Return kind, intercept and weights by member; `from_json` gives the same numbers back."""
        content = {"kind": self.kind, "intercept": self.intercept, "weights": self.by_member()}
        return json.dumps(content, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Combination":
        """Return the combination that `to_json` wrote; raises InputError for any other text."""
        try:
            content = json.loads(text)
            kind, intercept, weights = content["kind"], float(content["intercept"]), content["weights"]
            values = np.array(list(weights.values()), np.float64)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise InputError(f"no combination of an ensemble: {error!r}; run `dvc repro ensemble`") from error
        combination = cls(values, kind, intercept, tuple(weights))
        if reason := combination._rejection_reason():
            raise InputError(f"no combination of an ensemble: {reason}; run `dvc repro ensemble`")
        return combination

    def _rejection_reason(self) -> str:
        """Return why no method of METHODS fits such numbers, or an empty text."""
        if self.kind not in (PROBABILITIES, LOG_ODDS) or not len(self.weights) or self.weights.ndim != 1:
            return f"kind {self.kind!r} with weights of shape {self.weights.shape}"
        if not (np.isfinite(self.weights).all() and np.isfinite(self.intercept)):
            return "a weight or the intercept is no finite number"
        shares = (self.weights >= 0).all() and abs(self.weights.sum() - 1) <= SUM_TOLERANCE and not self.intercept
        if self.kind == PROBABILITIES and not shares:
            return "weights of probabilities are at least 0, of sum 1, without an intercept"
        return ""


Fit = Callable[[Floats, Floats], Combination]  # probabilities (n, members) and labels (n,) to weights


def combine(tables: dict[str, pd.DataFrame], method: str, folds: "pd.Series[int]") -> tuple[pd.DataFrame, Combination]:
    """Return the ensemble's prediction table, and the combination that was fitted on its validation rows.

    tables: schemas.PREDICTIONS by model name, over the same samples. folds: the fold of each training patient's sample
    by sample_id (schemas.SPLITS). Validation rows are combined out of fold, by weights that were fitted on the rows of
    the other folds, so that what is fitted on them next sees scores as honest as those of the test rows.
    """
    first = next(iter(tables.values()))[SAMPLE].reset_index(drop=True)
    for name, table in tables.items():
        if not table[SAMPLE].reset_index(drop=True).equals(first):
            raise InputError(
                f"predictions of {name} are for other samples than {next(iter(tables))}'s; rerun its stage"
            )
    probs = np.column_stack([table["prob"].to_numpy(np.float64) for table in tables.values()])
    validation = (first["split"] == "val").to_numpy()
    label = first["label"].to_numpy(np.float64)
    combination = replace(METHODS[method](probs[validation], label[validation]), members=tuple(tables))
    prob = combination(probs)
    prob[validation] = _combine_out_of_fold(first.join(pd.DataFrame(probs)), METHODS[method], folds)
    combined = first.assign(prob=prob)
    if any("prob_without_lesion" not in table for table in tables.values()):
        return combined, combination
    without = np.column_stack([table["prob_without_lesion"].to_numpy(np.float64) for table in tables.values()])
    return combined.assign(prob_without_lesion=combination(without)), combination


def _combine_out_of_fold(rows: pd.DataFrame, method: Fit, folds: "pd.Series[int]") -> Floats:
    """Return the combined probability (n,) of each validation row, by what was fitted on the rows of the other folds.

    rows: SAMPLE, and a column of probabilities for each member, named by its number. Raise InputError for a row
    without a fold, or rows of one fold alone.
    """
    members = [column for column in rows if column not in SAMPLE]

    def fit(validation: pd.DataFrame) -> Callable[[pd.DataFrame], Floats]:
        combination = method(validation[members].to_numpy(), validation["label"].to_numpy(np.float64))
        return lambda reported: combination(reported[members].to_numpy())

    parts = held_out.hold_out(rows, folds.rename("fold").rename_axis("sample_id").reset_index())
    combined = parts.loc[parts["split"] != "val", ["sample_id"]].assign(prob=held_out.cross_fit(parts, fit))
    return combined.set_index("sample_id")["prob"][rows.loc[rows["split"] == "val", "sample_id"]].to_numpy()


def average_views(predictions: pd.DataFrame, cases: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return `predictions` with the mean log-odds of its lesion's, or breast's, views for each sample.

    predictions: schemas.PREDICTIONS; cases: schemas.CASES, which tell what belongs together: a lesion has the same
    abnormality_id in CC and MLO, unless the ids are exchanged (data.lesions). A sample whose other view is
    missing keeps its own score. Nothing is fitted.
    """
    aggregation.check_located(predictions, cases)
    keys = ["split", *VIEWS_OF[unit]]
    named = cases.assign(lesion=lesions.name_lesions(cases)) if unit == "lesion" else cases.assign(lesion="")
    located = predictions.merge(
        named[["sample_id", *KEY[1:], "lesion"]], on="sample_id", how="left", validate="one_to_one"
    )
    return predictions.assign(prob=average_log_odds(located["prob"].to_numpy(), [located[key] for key in keys]))


def average_log_odds(prob: Floats, units: Sequence["pd.Series[Any]"]) -> Floats:
    """Return for each probability (n,) the mean log-odds over its unit, as a probability.

    units: columns (n,) that name it together. A unit of one keeps its own, within PROB_FLOOR of 0 and 1.
    """
    odds = pd.Series(_log_odds(prob), units[0].index)
    return np.asarray(expit(odds.groupby(list(units)).transform("mean")), np.float64)


def fit_mean(probs: Floats, label: Floats) -> Combination:
    """Return equal weights."""
    return Combination(np.full(probs.shape[1], 1 / probs.shape[1]))


def fit_weights(probs: Floats, label: Floats) -> Combination:
    """Return the weights, not negative and of sum 1, with the lowest log-loss on probs (n, members) and label (n,)."""

    def log_loss(weights: npt.NDArray[Any]) -> float:
        prob = np.clip(probs @ weights, PROB_FLOOR, 1 - PROB_FLOOR)
        return float(-np.mean(label * np.log(prob) + (1 - label) * np.log(1 - prob)))

    count = probs.shape[1]
    optimum = minimize(
        log_loss,
        x0=np.full(count, 1 / count),
        method="SLSQP",
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.ones(count), 1, 1),
    )
    equal = np.full(count, 1 / count)
    return Combination(min((round_weights(optimum.x), equal), key=log_loss))


def fit_stacking(probs: Floats, label: Floats) -> Combination:
    """Return a logistic regression on the members' standardised log-odds; with one class alone, their mean."""
    if len(np.unique(label)) < 2:
        return fit_mean(probs, label)
    scaler = StandardScaler().fit(_log_odds(probs))
    regression = LogisticRegression(C=STACKING_C, tol=TOLERANCE).fit(scaler.transform(_log_odds(probs)), label)
    weights = np.asarray(regression.coef_[0] / scaler.scale_, np.float64)
    intercept = float(regression.intercept_[0] - weights @ scaler.mean_)
    return Combination(weights.round(DECIMALS), LOG_ODDS, round(intercept, DECIMALS))


def round_weights(weights: npt.NDArray[Any]) -> Floats:
    """Return weights (members,), not negative and of sum 1, as multiples of 1e-6.

    What an optimiser returns differs in its last digits with the number of BLAS threads and the processor.
    """
    units = 10**DECIMALS
    parts = np.clip(weights, 0, None)
    counts = np.round(parts / parts.sum() * units).astype(np.int64)
    counts[np.argmax(counts)] += units - counts.sum()
    return np.asarray(counts / units, np.float64)


def _log_odds(probs: Floats) -> Floats:
    return np.asarray(logit(np.clip(probs, PROB_FLOOR, 1 - PROB_FLOOR)))


METHODS: dict[str, Fit] = {
    "mean": fit_mean,
    "weighted": fit_weights,
    "stacked": fit_stacking,
}
