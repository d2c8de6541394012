"""Operating points: chosen on validation rows, frozen, reported on the rows that nothing was chosen on.

A prediction table is tables.PREDICTIONS (reported: split "test") or tables.OUT_OF_FOLD (reported: "oof"; each fold has
its own threshold, from its own inner validation rows). Called means prob >= threshold.
"""

import numpy as np
import pandas as pd

from mammo.core.errors import InputError
from mammo.metrics import discrimination
from mammo.metrics.thresholds import THRESHOLD_RULES

OPERATING = "operating"
FIXED_POINTS = {
    "sensitivity_90": ("target_sensitivity", 0.90),
    "sensitivity_95": ("target_sensitivity", 0.95),
    "specificity_80": ("target_specificity", 0.80),
    "specificity_90": ("target_specificity", 0.90),
}
RATES = {"sensitivity": discrimination.sensitivity, "specificity": discrimination.specificity}
COLUMNS = ["rule", "threshold", "metric", "validation", "test", "drift"]


def points(rule: str, value: float) -> dict[str, tuple[str, float]]:
    """Every reported point as (rule, value) by name: the chosen one first, then the fixed ones."""
    return {OPERATING: (rule, value), **FIXED_POINTS}


def describe(point: str, rule: str, value: float) -> str:
    """The name of a point for a table: the chosen one is named by its rule, a fixed one by itself."""
    if point != OPERATING:
        return point
    return rule if rule == "youden" else f"{rule}={value:g}"


def thresholds(predictions: pd.DataFrame, rule: str, value: float) -> "pd.Series[float]":
    """The threshold that a rule of metrics.THRESHOLD_RULES chooses on the validation rows, by fold (0 without folds).

    Sees no other row. Raises InputError, naming the fold, for an unknown rule, a value that the rule cannot use, or
    validation rows that lack a class that it needs.
    """
    if rule not in THRESHOLD_RULES:
        raise InputError(f"unknown rule {rule!r} for the operating point; there are {', '.join(THRESHOLD_RULES)}")
    validation = predictions[predictions["split"] == "val"]
    if validation.empty:
        raise InputError(
            "no row has split `val`, so that no operating point can be chosen; predict validation rows too"
        )
    chosen = {fold: _choose(rows, rule, value, fold) for fold, rows in validation.groupby(_fold(validation))}
    return pd.Series(chosen, name="threshold", dtype=np.float64).rename_axis("fold")


def apply_threshold(predictions: pd.DataFrame, frozen: "pd.Series[float]") -> pd.DataFrame:
    """The reported rows (test or out of fold) with their `threshold` and `called` (0/1); frozen: see `thresholds`."""
    return _call(predictions[predictions["split"] != "val"], frozen)


def table(predictions: pd.DataFrame, rule: str, value: float) -> pd.DataFrame:
    """Rows of operating_points.csv without the model: each point's rates on validation and test, and test less
    validation.

    With folds the rates pool the folds' rows, each called at its own threshold, and `threshold` is the folds' mean.
    A rate whose class is missing is nan.
    """
    drifts = [_drift(predictions, point, *chosen) for point, chosen in points(rule, value).items()]
    return pd.DataFrame([row for rows in drifts for row in rows], columns=COLUMNS)


def _drift(predictions: pd.DataFrame, point: str, rule: str, value: float) -> list[dict[str, object]]:
    frozen = thresholds(predictions, rule, value)
    validation = _rates(_call(predictions[predictions["split"] == "val"], frozen))
    test = _rates(apply_threshold(predictions, frozen))
    return [
        {
            "rule": describe(point, rule, value),
            "threshold": float(frozen.mean()),
            "metric": rate,
            "validation": validation[rate],
            "test": test[rate],
            "drift": test[rate] - validation[rate],
        }
        for rate in RATES
    ]


def _rates(called: pd.DataFrame) -> dict[str, float]:
    counts = discrimination.counts(called["label"].to_numpy(), called["called"].to_numpy())
    return {name: float(rate(*counts)) for name, rate in RATES.items()}


def _call(rows: pd.DataFrame, frozen: "pd.Series[float]") -> pd.DataFrame:
    threshold = _fold(rows).map(frozen).astype(np.float64)
    if threshold.isna().any():
        lacking = sorted(_fold(rows)[threshold.isna()].unique())
        raise InputError(
            f"fold(s) {', '.join(map(str, lacking))} have no validation rows and so no operating point; "
            "cross-validate again"
        )
    return rows.assign(threshold=threshold, called=(rows["prob"] >= threshold).astype(np.int64))


def _choose(validation: pd.DataFrame, rule: str, value: float, fold: object) -> float:
    try:
        return THRESHOLD_RULES[rule](validation["label"].to_numpy(), validation["prob"].to_numpy(), value)
    except ValueError as error:
        where = f"fold {fold}, " if "fold" in validation else ""
        raise InputError(f"operating point {rule}={value:g}: {where}validation rows: {error}") from None


def _fold(rows: pd.DataFrame) -> "pd.Series[int]":
    return rows["fold"] if "fold" in rows else pd.Series(0, index=rows.index, name="fold")
