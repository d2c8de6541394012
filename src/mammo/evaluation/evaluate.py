"""Prediction tables -> clinical metrics with intervals: the rows of the comparison table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo.core.config import EvaluateConfig
from mammo.evaluation import operating_point
from mammo.metrics import auc_tests, bootstrap, classification
from mammo.metrics.auc_tests import PairedTest
from mammo.metrics.resampling import Interval, LabelledRows, Resampling

METRIC_COLUMNS = ["point", "metric", "value", "low", "high", "n", "n_patients"]
WITHOUT_THRESHOLD = "all"


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


def evaluate(predictions: pd.DataFrame, params: EvaluateConfig, seed: int) -> Evaluated:
    """Choose the operating point on the validation rows, freeze it, and report the other rows.

    predictions: tables.PREDICTIONS or tables.OUT_OF_FOLD. In a cross-validation each fold has its own operating point,
    and the AUC is the mean over folds, because the scores of two models share no scale.
    """
    thresholds = operating_point.thresholds(predictions, params.rule, params.value)
    rows = operating_point.apply_threshold(predictions, thresholds).drop(columns="threshold")
    intervals = bootstrap.clustered_intervals(
        LabelledRows.from_table(rows),
        rows["prob"].to_numpy(),
        rows["called"].to_numpy(),
        Resampling.from_config(params, seed),
    )
    return Evaluated(rows, thresholds.to_list(), intervals)


def metric_table(
    predictions: pd.DataFrame,
    rule: str,
    value: float,
    *,
    prevalence: float,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    min_specificity: float = classification.MIN_SPECIFICITY,
) -> pd.DataFrame:
    """Rows of metrics.csv for one model at one level, without the columns model, samples and level.

    predictions: tables.PREDICTIONS or tables.OUT_OF_FOLD, as they are or raised to a level (levels.at_level). Point
    "all" has what needs no threshold, the others (operating.points) the metrics of the calls, each at thresholds that
    were chosen on the validation rows of these very predictions. auc has bootstrap limits by patient, auc_delong the
    same value with clustered DeLong limits, which also hold for few patients.
    """
    rows = predictions[predictions["split"] != "val"]
    parts = [_interval_rows(WITHOUT_THRESHOLD, _of_scores(rows, min_specificity, resamples, seed, confidence))]
    for point, chosen in operating_point.points(rule, value).items():
        called = operating_point.apply_threshold(predictions, operating_point.thresholds(predictions, *chosen))
        intervals = bootstrap.decision_intervals(
            LabelledRows.from_table(called),
            called["called"].to_numpy(),
            Resampling(resamples, seed, confidence),
            prevalence,
        )
        parts.append(_interval_rows(point, intervals))
    return pd.concat(parts, ignore_index=True)


def retrained(tables: Sequence[pd.DataFrame]) -> dict[str, float]:
    """Mean and SD of the AUC over trainings that differ by their seed, or by the draw of the folds, and their number.

    tables: tables.PREDICTIONS or tables.OUT_OF_FOLD of each, over the same samples. Empty where there is one alone.
    """
    if len(tables) < 2:
        return {}
    aucs = [_auc(table[table["split"] != "val"]) for table in tables]
    mean, sd = float(np.mean(aucs)), float(np.std(aucs, ddof=1))
    return {"auc_retrained_mean": mean, "auc_retrained_sd": sd, "retrained": float(len(tables))}


def _auc(rows: pd.DataFrame) -> float:
    """The AUC as the comparison table has it, with folds the mean over them."""
    return auc_tests.delong_interval(LabelledRows.from_table(rows), rows["prob"].to_numpy()).value


def compare(evaluated: dict[str, Evaluated], params: EvaluateConfig, seed: int) -> pd.DataFrame:
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
    return table.assign(p_holm=auc_tests.holm(table["p"].to_numpy()))


def _of_scores(
    rows: pd.DataFrame, min_specificity: float, resamples: int, seed: int, confidence: float
) -> dict[str, Interval]:
    """Intervals of what needs no threshold; rows: the reported ones."""
    labelled, prob = LabelledRows.from_table(rows), rows["prob"].to_numpy()
    by_bootstrap = bootstrap.curve_intervals(labelled, prob, Resampling(resamples, seed, confidence), min_specificity)
    by_delong = auc_tests.delong_interval(labelled, prob, confidence)
    return {"auc": by_bootstrap["auc"], "auc_delong": by_delong, **by_bootstrap}


def _interval_rows(point: str, intervals: dict[str, Interval]) -> pd.DataFrame:
    rows = [
        (point, name, interval.value, interval.low, interval.high, interval.n, interval.n_patients)
        for name, interval in intervals.items()
    ]
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def _paired(a: pd.DataFrame, b: pd.DataFrame, params: EvaluateConfig, seed: int) -> PairedTest:
    together = a.merge(b[["sample_id", "prob"]], on="sample_id", suffixes=("_a", "_b"), validate="one_to_one")
    return auc_tests.paired_auc_test(
        LabelledRows(together["label"].to_numpy(), together["patient_id"].to_numpy()),
        together["prob_a"].to_numpy(),
        together["prob_b"].to_numpy(),
        Resampling.from_config(params, seed),
    )
