"""The tables of metrics/evaluation/ behind one row of the comparison table, from its predictions.

Everything that is fitted (operating points, calibrators, conformal sets) sees the validation rows only.
"""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd

from mammo.core.config import EvaluateConfig
from mammo.evaluation import aggregation, calibrators, held_out, operating_point, reader, reader_models, subgroups
from mammo.metrics import auc_tests, bootstrap, calibration, conformal, decision_curve
from mammo.metrics.discrimination import Mask
from mammo.metrics.resampling import Interval, LabelledRows, Resampling
from mammo.metrics.thresholds import READER_CUT

METRIC_COLUMNS = ["point", "metric", "value", "low", "high", "n", "n_patients"]
COLUMNS = {
    "metrics": ["model", "samples", "level", *METRIC_COLUMNS],
    "operating_points": ["model", *operating_point.COLUMNS],
    "reader_comparison": ["model", *reader.COLUMNS],
    "reader_errors": ["model", *reader_models.COLUMNS],
    "subgroups": ["model", *subgroups.COLUMNS],
    "errors": ["model", *subgroups.ERROR_COLUMNS],
    "calibration": ["model", "method", *calibration.SUMMARY_COLUMNS],
    "reliability": ["model", "method", "bin", "mean_prob", "share_malignant", "low", "high", "n"],
    "decision_curve": ["model", "threshold_prob", "net_benefit", "treat_all", "treat_none"],
    "conformal": [
        "model", "confidence", "coverage", "coverage_low", "coverage_high", "decided",
        "accuracy_decided", "sensitivity_decided", "specificity_decided", "n",
    ],
}  # fmt: skip
MEASURED = ("patient_id", "split", "fold", "part", "label", "prob")  # the columns that metrics are computed from
THRESHOLD_PROBS = np.linspace(0.01, 0.99, 99).round(2)


def tabulate_predictions(
    predictions: pd.DataFrame, cases: pd.DataFrame, samples: str, config: EvaluateConfig, seed: int
) -> dict[str, pd.DataFrame]:
    """Return all tables by name, without the column `model`.

    predictions: schemas.PREDICTIONS or schemas.OUT_OF_FOLD; cases: schemas.CASES plus `size`, all samples; samples:
    what the rows are, for metrics.csv. A cross-validation has no calibration, decision curve or conformal sets: its
    folds are models of their own.
    """
    reported = operating_point.decide(predictions, config)
    tables = {
        "metrics": _tabulate_levels(predictions, cases, config, seed).assign(samples=samples),
        "operating_points": operating_point.tabulate_drift(predictions, config.rule, config.value),
        "reader_comparison": reader.compare_at_readers_rates(reported, cases, config, seed),
        "subgroups": subgroups.evaluate_subgroups(reported, cases, confidence=config.confidence),
        "errors": subgroups.rank_errors(reported, cases, config.errors),
    }
    if "fold" in predictions:
        return tables
    summary, reliability = _calibration(predictions, config)
    return tables | {
        "calibration": summary,
        "reliability": reliability,
        "decision_curve": _decision_curve(predictions),
        "conformal": _conformal(predictions, config, seed),
    }


def _tabulate_levels(predictions: pd.DataFrame, cases: pd.DataFrame, config: EvaluateConfig, seed: int) -> pd.DataFrame:
    """Return `tabulate_metrics` at every configured level that the samples can be raised to."""
    possible = aggregation.possible_levels(cases)
    parts = [
        tabulate_metrics(aggregation.aggregate(predictions, cases, level), config, seed).assign(level=level)
        for level in config.levels
        if level in possible
    ]
    return pd.concat(parts, ignore_index=True)


def tabulate_metrics(predictions: pd.DataFrame, config: EvaluateConfig, seed: int) -> pd.DataFrame:
    """Return rows of metrics.csv for one model at one level, without the columns model, samples and level.

    predictions: schemas.PREDICTIONS or schemas.OUT_OF_FOLD, as they are or raised to a level (`aggregate`). Point
    "all" has what needs no threshold, the others (`reported_points`) the metrics of the decisions, each at thresholds
    that were chosen on the validation rows of these very predictions. auc has bootstrap limits by patient, auc_delong
    the same value with clustered DeLong limits, which also hold for few patients.
    """
    predictions = predictions[[name for name in MEASURED if name in predictions]]
    rows = predictions[predictions["split"] != "val"]
    parts = [_interval_rows(operating_point.WITHOUT_THRESHOLD, _score_intervals(rows, config, seed))]
    for point, (rule, value) in operating_point.reported_points(config.rule, config.value).items():
        thresholds = operating_point.choose_thresholds(predictions, rule, value)
        intervals = _decision_intervals(operating_point.apply_threshold(predictions, thresholds), config, seed)
        parts.append(_interval_rows(point, intervals))
    return pd.concat(parts, ignore_index=True)


def _score_intervals(rows: pd.DataFrame, config: EvaluateConfig, seed: int) -> dict[str, Interval]:
    """Return intervals of what needs no threshold; rows: the reported ones."""
    labelled, prob, resampling = (
        LabelledRows.from_table(rows),
        rows["prob"].to_numpy(),
        Resampling.from_config(config, seed),
    )
    by_bootstrap = bootstrap.curve_intervals(labelled, prob, resampling, config.min_specificity)
    if config.rule == READER_CUT:
        del by_bootstrap["brier"]  # ranks are no risks
    by_delong = auc_tests.delong_interval(labelled, prob, config.confidence)
    return {"auc": by_bootstrap["auc"], "auc_delong": by_delong, **by_bootstrap}


def _decision_intervals(rows: pd.DataFrame, config: EvaluateConfig, seed: int) -> dict[str, Interval]:
    """Return intervals of the metrics at a threshold; rows: `apply_threshold`."""
    return bootstrap.decision_intervals(
        LabelledRows.from_table(rows),
        rows["predicted_positive"].to_numpy(),
        Resampling.from_config(config, seed),
        config.prevalence,
    )


def _interval_rows(point: str, intervals: dict[str, Interval]) -> pd.DataFrame:
    rows = [
        (point, name, interval.value, interval.low, interval.high, interval.n, interval.n_patients)
        for name, interval in intervals.items()
    ]
    return pd.DataFrame(rows, columns=METRIC_COLUMNS)


def _calibration(predictions: pd.DataFrame, config: EvaluateConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    reported = predictions[predictions["split"] != "val"]
    label, patient_id = reported["label"].to_numpy(), reported["patient_id"].to_numpy(str)
    rows, curves = [], []
    for method, fit in calibrators.list_calibrators(predictions).items():
        prob = calibrators.calibrate(predictions, fit)
        measures = calibration.summary(label, prob, patient_id, confidence=config.confidence)
        rows.append({"method": method, **measures})
        if not np.isnan(prob).any():  # a method that could not be fitted has no curve
            curve = calibration.reliability_curve(label, prob, patient_id, confidence=config.confidence)
            table = pd.DataFrame(asdict(curve)).rename(columns={"share": "share_malignant"})
            curves.append(table.assign(method=method, bin=range(1, len(table) + 1)))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


def _decision_curve(predictions: pd.DataFrame) -> pd.DataFrame:
    label, risk = (
        predictions.loc[predictions["split"] != "val", "label"].to_numpy(),
        calibrators.estimate_risk(predictions),
    )
    return pd.DataFrame(
        {
            "threshold_prob": THRESHOLD_PROBS,
            "net_benefit": decision_curve.net_benefit(label, risk, THRESHOLD_PROBS),
            "treat_all": decision_curve.treat_all(label, THRESHOLD_PROBS),
            "treat_none": decision_curve.treat_none(THRESHOLD_PROBS),
        }
    )


def _conformal(predictions: pd.DataFrame, config: EvaluateConfig, seed: int) -> pd.DataFrame:
    def fit(validation: pd.DataFrame) -> Callable[[pd.DataFrame], Mask]:
        to_sets = conformal.fit(validation["label"].to_numpy(), validation["prob"].to_numpy(), config.conformal)
        return lambda rows: np.moveaxis(to_sets(rows["prob"].to_numpy()), 0, 1)

    reported = predictions[predictions["split"] != "val"]
    by_level = np.moveaxis(held_out.cross_fit(predictions, fit), 1, 0)
    labelled, rows = LabelledRows.from_table(reported), []
    for confidence, sets in zip(config.conformal, by_level, strict=True):
        result = conformal.measure_sets(labelled, sets, confidence, Resampling.from_config(config, seed))
        rows.append(
            {
                "confidence": confidence,
                "coverage": result.coverage.value,
                "coverage_low": result.coverage.low,
                "coverage_high": result.coverage.high,
                "decided": result.decided.value,
                "accuracy_decided": result.accuracy.value,
                "sensitivity_decided": result.sensitivity.value,
                "specificity_decided": result.specificity.value,
                "n": len(reported),
            }
        )
    return pd.DataFrame(rows)
