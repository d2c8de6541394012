"""A finished model on cases of another hospital: metrics at its frozen operating point, drift, and what k cases give.

Nothing here changes the model's own threshold or calibration.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.errors import InputError
from mammo.metrics import bootstrap, calibration
from mammo.metrics.resampling import LabelledRows, Resampling
from mammo.metrics.thresholds import THRESHOLD_RULES

SIZES = (20, 50, 100, 200, 500)  # of local cases that a threshold and a calibration are fitted on
DRAWS = 200  # of the cases to fit on, by patient
TARGETS = {"target_sensitivity": "sensitivity", "target_specificity": "specificity"}
METRICS = ["auc", "sensitivity", "specificity", "accuracy", "ppv", "npv", "brier"]
RATES = ["sensitivity", "specificity", "brier_shipped", "brier_refitted"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ShippedPoint:
    """The operating point of a model: prob >= threshold is malignant, which `rule` at `value` chose."""

    rule: str
    value: float
    threshold: float


def tabulate_metrics(rows: pd.DataFrame, point: ShippedPoint, resampling: Resampling) -> pd.DataFrame:
    """Return metric, value, low, high, n, n_patients at the frozen point; limits by patient.

    rows: patient_id, label (0/1), prob.
    """
    prob = rows["prob"].to_numpy(np.float64)
    intervals = bootstrap.clustered_intervals(
        LabelledRows(rows["label"].to_numpy(), rows["patient_id"].to_numpy()), prob, prob >= point.threshold, resampling
    )
    columns = ("value", "low", "high", "n", "n_patients")
    return pd.DataFrame(
        [{"metric": name} | {column: getattr(intervals[name], column) for column in columns} for name in METRICS]
    )


def tabulate_drift(rows: pd.DataFrame, metrics: pd.DataFrame, point: ShippedPoint) -> pd.DataFrame:
    """Return what the model promises beside what holds here: quantity, promised, here, low, high.

    rows: patient_id, label, prob, calibrated (nan without a calibration). metrics: `tabulate_metrics` of the rows.
    """
    drift = []
    if target := TARGETS.get(point.rule):
        measured = metrics.set_index("metric").loc[target]
        drift.append({"quantity": target, "promised": point.value, "here": measured["value"]})
        drift[-1] |= {"low": measured["low"], "high": measured["high"]}
    line = calibration.slope_and_intercept(
        rows["label"].to_numpy(), rows["calibrated"].fillna(rows["prob"]).to_numpy(), rows["patient_id"].to_numpy(str)
    )
    for name, promised, interval in (("slope", 1.0, line.slope), ("intercept", 0.0, line.intercept)):
        here = {"here": interval.value, "low": interval.low, "high": interval.high}
        drift.append({"quantity": f"calibration {name}", "promised": promised, **here})
    return pd.DataFrame(drift)


def simulate_refits(rows: pd.DataFrame, point: ShippedPoint, seed: int) -> pd.DataFrame:
    """Return what a threshold and a Platt calibration fitted on k of the cases give on the others, over DRAWS draws.

    One row per k of SIZES of which at least as many cases are left: k, draws (those with both classes on either
    side), the mean of each of RATES, and the limits of sensitivity and specificity that hold 95 % of the draws.
    rows: patient_id, label, prob, calibrated.
    """
    table = []
    for size in (size for size in SIZES if 2 * size <= len(rows)):
        measured = pd.DataFrame(_refits(rows, size, point, np.random.default_rng(seed)), columns=RATES)
        if measured.empty:
            continue
        row = {"k": size, "draws": len(measured), **measured.mean()}
        for rate in RATES[:2]:
            row[f"{rate}_low"], row[f"{rate}_high"] = np.percentile(measured[rate], (2.5, 97.5))
        table.append(row)
    return pd.DataFrame(table)


def _refits(
    rows: pd.DataFrame, size: int, point: ShippedPoint, rng: np.random.Generator
) -> Iterator[tuple[float, ...]]:
    """Yield RATES on the cases that a draw leaves out."""
    codes, patients = pd.factorize(rows["patient_id"])
    label, prob = rows["label"].to_numpy(np.int64), rows["prob"].to_numpy(np.float64)
    shipped = rows["calibrated"].fillna(rows["prob"]).to_numpy(np.float64)
    for _ in range(DRAWS):
        rank = rng.permutation(len(patients))[codes]  # of each row's patient
        drawn = rank <= np.sort(rank)[size - 1]
        if any(len(np.unique(label[part])) < 2 for part in (drawn, ~drawn)):
            continue
        threshold = THRESHOLD_RULES[point.rule](label[drawn], prob[drawn], point.value)
        refitted = calibration.platt(label[drawn], prob[drawn])(prob[~drawn])
        called, truth = prob[~drawn] >= threshold, label[~drawn] == 1
        errors = [float(((score - truth) ** 2).mean()) for score in (shipped[~drawn], refitted)]
        yield float(called[truth].mean()), float((~called[~truth]).mean()), *errors


def check_labels(rows: pd.DataFrame) -> None:
    """Raise InputError where the answered cases lack a class."""
    if rows["label"].nunique() < 2:
        raise InputError(
            f"{len(rows)} cases have an answer, all of label {rows['label'].iloc[0] if len(rows) else 'none'}; metrics "
            "need both benign and malignant cases"
        )
