"""Prediction tables -> clinical metrics with intervals: the rows of the comparison table."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo import metrics, statistics
from mammo.params import EvaluateParams
from mammo.statistics import Interval, PairedTest


@dataclass(frozen=True)
class Evaluated:
    """One row of the comparison table, and the called samples behind it.

    `rows`: sample_id, patient_id, label, prob, called of the reported samples. `thresholds`: the operating point
    (several where each fold has its own).
    """

    rows: pd.DataFrame
    thresholds: list[float]
    intervals: dict[str, Interval]

    def values(self) -> dict[str, float]:
        """Every metric, its limits as <metric>_low and <metric>_high, n, n_patients and the threshold."""
        flat = {"n": float(len(self.rows)), "n_patients": float(self.rows["patient_id"].nunique())}
        for name, interval in self.intervals.items():
            flat |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return flat | {"threshold": float(np.mean(self.thresholds))}


def on_test(predictions: pd.DataFrame, params: EvaluateParams, seed: int) -> Evaluated:
    """Choose the operating point on the validation rows, freeze it, and report the test rows.

    predictions: tables.PREDICTIONS.
    """
    threshold = _operating_point(predictions[predictions["split"] == "val"], params)
    test = predictions[predictions["split"] == "test"]
    test = test.assign(called=(test["prob"] >= threshold).astype(np.int64))
    return Evaluated(test, [threshold], _intervals(test, params, seed))


def out_of_fold(predictions: pd.DataFrame, params: EvaluateParams, seed: int) -> Evaluated:
    """The same for a cross-validation: each fold has its own operating point, from its inner validation rows.

    predictions: tables.OUT_OF_FOLD. The AUC is the mean over folds, because the scores of two models share no scale.
    """
    thresholds = {
        fold: _operating_point(rows, params)
        for fold, rows in predictions[predictions["split"] == "val"].groupby("fold")
    }
    held_out = predictions[predictions["split"] == "oof"]
    called = (held_out["prob"] >= held_out["fold"].map(thresholds)).astype(np.int64)
    held_out = held_out.assign(called=called)
    intervals = _intervals(held_out, params, seed, held_out["fold"].to_numpy())
    return Evaluated(held_out, list(thresholds.values()), intervals)


def compare(evaluated: dict[str, Evaluated], params: EvaluateParams, seed: int) -> pd.DataFrame:
    """Paired tests of the AUC between every two of `evaluated` over the same samples, with Holm's correction."""
    names = list(evaluated)
    pairs = [(a, b) for position, a in enumerate(names) for b in names[position + 1 :]]
    tests = [_paired(evaluated[a].rows, evaluated[b].rows, params, seed) for a, b in pairs]
    table = pd.DataFrame(pairs, columns=["model_a", "model_b"]).assign(
        difference=[test.difference for test in tests],
        low=[test.low for test in tests],
        high=[test.high for test in tests],
        p=[test.p_value for test in tests],
    )
    return table.assign(p_holm=statistics.holm(table["p"].to_numpy()))


def _operating_point(validation: pd.DataFrame, params: EvaluateParams) -> float:
    return metrics.threshold_for_sensitivity(
        validation["label"].to_numpy(), validation["prob"].to_numpy(), params.target_sensitivity
    )


def _intervals(
    rows: pd.DataFrame, params: EvaluateParams, seed: int, group: npt.NDArray[np.int64] | None = None
) -> dict[str, Interval]:
    return statistics.clustered_intervals(
        rows["label"].to_numpy(),
        rows["prob"].to_numpy(),
        rows["called"].to_numpy(),
        rows["patient_id"].to_numpy(),
        resamples=params.resamples,
        confidence=params.confidence,
        seed=seed,
        group=group,
    )


def _paired(a: pd.DataFrame, b: pd.DataFrame, params: EvaluateParams, seed: int) -> PairedTest:
    together = a.merge(b[["sample_id", "prob"]], on="sample_id", suffixes=("_a", "_b"), validate="one_to_one")
    return statistics.paired_auc_test(
        together["label"].to_numpy(),
        together["prob_a"].to_numpy(),
        together["prob_b"].to_numpy(),
        together["patient_id"].to_numpy(),
        resamples=params.resamples,
        confidence=params.confidence,
        seed=seed,
    )
