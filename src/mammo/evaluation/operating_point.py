"""Operating points: chosen on validation rows, frozen, reported on the rows that nothing was chosen on.

A prediction table is schemas.PREDICTIONS (reported: split "test"), `held_out.hold_out` (reported: "held_out"; each part
has the threshold that the others chose) or schemas.OUT_OF_FOLD (reported: "oof"; each fold has its own threshold, from
its own inner validation rows). Predicted positive means prob >= threshold.
"""

import numpy as np
import pandas as pd

from mammo.core.config import EvaluateConfig
from mammo.core.errors import InputError
from mammo.core.schemas import BIRADS_ORDER
from mammo.evaluation.held_out import number_parts
from mammo.metrics import discrimination
from mammo.metrics.thresholds import READER_CUT, THRESHOLD_RULES

OPERATING = "operating"
WITHOUT_THRESHOLD = "all"  # the point of metrics that need none
FIXED_POINTS = {
    "sensitivity_90": ("target_sensitivity", 0.90),
    "sensitivity_95": ("target_sensitivity", 0.95),
    "specificity_80": ("target_specificity", 0.80),
    "specificity_90": ("target_specificity", 0.90),
}
# The score (reader.score_birads) from which the reader calls: BI-RADS 4 or higher, which recommends a biopsy. 0
# (incomplete: further imaging, no assessment yet) and a missing assessment are no call.
BIRADS_CALL = BIRADS_ORDER.index(4) / (len(BIRADS_ORDER) - 1)
RATES = {"sensitivity": discrimination.sensitivity, "specificity": discrimination.specificity}
COLUMNS = ["rule", "threshold", "metric", "validation", "test", "drift"]
# By label and decision.
OUTCOMES = {(1, 1): "true positive", (1, 0): "false negative", (0, 1): "false positive", (0, 0): "true negative"}


def reported_points(rule: str, value: float) -> dict[str, tuple[str, float]]:
    """Return every reported point as (rule, value) by name: the chosen one first, then the fixed ones.

    The reader's cut has no others beside it: six ranks reach no target.
    """
    return {OPERATING: (rule, value), **({} if rule == READER_CUT else FIXED_POINTS)}


def name_point(point: str, rule: str, value: float) -> str:
    """Return the name of a point for a table: the chosen one is named by its rule, a fixed one by itself."""
    if point != OPERATING:
        return point
    if rule == READER_CUT:
        return "BI-RADS 4 or higher"
    return rule if rule == "youden" else f"{rule}={value:g}"


def choose_thresholds(predictions: pd.DataFrame, rule: str, value: float) -> "pd.Series[float]":
    """Choose the threshold by a rule of THRESHOLD_RULES on the validation rows, by fold (0 without folds).

    No other row is used. Raises InputError, naming the fold, for an unknown rule, a value that the rule cannot use, or
    validation rows that lack a class that it needs.
    """
    if rule not in THRESHOLD_RULES:
        raise InputError(f"unknown rule {rule!r} for the operating point; there are {', '.join(THRESHOLD_RULES)}")
    validation = predictions[predictions["split"] == "val"]
    if validation.empty:
        raise InputError(
            "no row has split `val`, so that no operating point can be chosen; predict validation rows too"
        )
    chosen = {fold: _choose(rows, rule, value, fold) for fold, rows in validation.groupby(number_parts(validation))}
    return pd.Series(chosen, name="threshold", dtype=np.float64).rename_axis("fold")


def apply_threshold(predictions: pd.DataFrame, thresholds: "pd.Series[float]") -> pd.DataFrame:
    """Return the reported rows (test or out of fold) with their `threshold` and `predicted_positive` (0/1).

    thresholds: by fold, as `choose_thresholds` returns them.
    """
    return _decide(predictions[predictions["split"] != "val"], thresholds)


def decide(predictions: pd.DataFrame, config: EvaluateConfig) -> pd.DataFrame:
    """Return the reported rows at the configured operating point, chosen on the validation rows and frozen."""
    return apply_threshold(predictions, choose_thresholds(predictions, config.rule, config.value))


def name_outcomes(rows: pd.DataFrame) -> list[str]:
    """Return the outcome (OUTCOMES) of each row; rows: label and predicted_positive."""
    return [OUTCOMES[pair] for pair in zip(rows["label"], rows["predicted_positive"], strict=True)]


def tabulate_drift(predictions: pd.DataFrame, rule: str, value: float) -> pd.DataFrame:
    """Return rows of operating_points.csv without the model: each point's rates on validation and test, and the drift.

    Drift is test less validation. With folds the rates pool the folds' rows, each decided at its own threshold, and
    `threshold` is the folds' mean. A rate whose class is missing is nan.
    """
    rows: list[dict[str, object]] = []
    for point, (point_rule, point_value) in reported_points(rule, value).items():
        thresholds = choose_thresholds(predictions, point_rule, point_value)
        rows += _drift(predictions, thresholds, name_point(point, point_rule, point_value))
    return pd.DataFrame(rows, columns=COLUMNS)


def _drift(predictions: pd.DataFrame, thresholds: "pd.Series[float]", name: str) -> list[dict[str, object]]:
    validation = _rates(_decide(predictions[predictions["split"] == "val"], thresholds))
    test = _rates(apply_threshold(predictions, thresholds))
    return [
        {
            "rule": name,
            "threshold": float(thresholds.mean()),
            "metric": rate,
            "validation": validation[rate],
            "test": test[rate],
            "drift": test[rate] - validation[rate],
        }
        for rate in RATES
    ]


def _rates(rows: pd.DataFrame) -> dict[str, float]:
    counts = discrimination.counts(rows["label"].to_numpy(), rows["predicted_positive"].to_numpy())
    return {name: float(rate(*counts)) for name, rate in RATES.items()}


def _decide(rows: pd.DataFrame, thresholds: "pd.Series[float]") -> pd.DataFrame:
    threshold = number_parts(rows).map(thresholds).astype(np.float64)
    if threshold.isna().any():
        lacking = sorted(number_parts(rows)[threshold.isna()].unique())
        raise InputError(
            f"fold(s) {', '.join(map(str, lacking))} have no validation rows and so no operating point; "
            "cross-validate again"
        )
    return rows.assign(threshold=threshold, predicted_positive=(rows["prob"] >= threshold).astype(np.int64))


def _choose(validation: pd.DataFrame, rule: str, value: float, fold: object) -> float:
    try:
        return THRESHOLD_RULES[rule](validation["label"].to_numpy(), validation["prob"].to_numpy(), value)
    except ValueError as error:
        where = f"fold {fold}, " if "fold" in validation else ""
        raise InputError(f"operating point {rule}={value:g}: {where}validation rows: {error}") from None
