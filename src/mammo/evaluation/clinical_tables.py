"""One row of the comparison table in depth: its predictions -> the tables of metrics/evaluation/.

Everything that is fitted (operating points, calibrators, conformal sets) sees the validation rows only.
"""

from dataclasses import asdict

import numpy as np
import pandas as pd

from mammo.core.config import EvaluateConfig
from mammo.evaluation import aggregation, evaluate, operating_point, subgroups
from mammo.metrics import calibration, conformal, decision_curve
from mammo.metrics.resampling import LabelledRows, Resampling

COLUMNS = {
    "metrics": ["model", "samples", "level", *evaluate.METRIC_COLUMNS],
    "operating_points": ["model", *operating_point.COLUMNS],
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
THRESHOLD_PROBS = np.linspace(0.01, 0.99, 99).round(2)


def of_predictions(
    predictions: pd.DataFrame, cases: pd.DataFrame, samples: str, params: EvaluateConfig, seed: int
) -> dict[str, pd.DataFrame]:
    """Tables by name, without the column `model`.

    predictions: tables.PREDICTIONS or tables.OUT_OF_FOLD; cases: tables.CASES plus `size`, all samples; samples: what
    the rows are, for metrics.csv. A cross-validation has no calibration, decision curve or conformal sets: its folds
    are models of their own.
    """
    called = operating_point.apply_threshold(
        predictions, operating_point.thresholds(predictions, params.rule, params.value)
    )
    found = {
        "metrics": _metrics(predictions, cases, params, seed).assign(samples=samples),
        "operating_points": operating_point.table(predictions, params.rule, params.value),
        "subgroups": subgroups.table(called, cases, confidence=params.confidence),
        "errors": subgroups.errors(called, cases, params.errors),
    }
    if "fold" in predictions:
        return found
    validation, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    summary, reliability = _calibration(validation, test, params)
    return found | {
        "calibration": summary,
        "reliability": reliability,
        "decision_curve": _decision_curve(test),
        "conformal": _conformal(validation, test, params, seed),
    }


def _metrics(predictions: pd.DataFrame, cases: pd.DataFrame, params: EvaluateConfig, seed: int) -> pd.DataFrame:
    possible = aggregation.possible_levels(cases)
    parts = [
        evaluate.metric_table(
            aggregation.aggregate(predictions, cases, level),
            params.rule,
            params.value,
            prevalence=params.prevalence,
            min_specificity=params.min_specificity,
            confidence=params.confidence,
            resamples=params.resamples,
            seed=seed,
        ).assign(level=level)
        for level in params.levels
        if level in possible
    ]
    return pd.concat(parts, ignore_index=True)


def _calibration(
    validation: pd.DataFrame, test: pd.DataFrame, params: EvaluateConfig
) -> tuple[pd.DataFrame, pd.DataFrame]:
    label, patient_id = test["label"].to_numpy(), test["patient_id"].to_numpy(str)
    rows, curves = [], []
    for method, fit in calibration.METHODS.items():
        prob = fit(validation["label"].to_numpy(), validation["prob"].to_numpy())(test["prob"].to_numpy())
        measures = calibration.summary(label, prob, patient_id, confidence=params.confidence)
        rows.append({"method": method, **measures})
        if not np.isnan(prob).any():  # a method that could not be fitted has no curve
            curve = calibration.reliability_curve(label, prob, patient_id, confidence=params.confidence)
            table = pd.DataFrame(asdict(curve)).rename(columns={"share": "share_malignant"})
            curves.append(table.assign(method=method, bin=range(1, len(table) + 1)))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


def _decision_curve(test: pd.DataFrame) -> pd.DataFrame:
    label, prob = test["label"].to_numpy(), test["prob"].to_numpy()
    return pd.DataFrame(
        {
            "threshold_prob": THRESHOLD_PROBS,
            "net_benefit": decision_curve.net_benefit(label, prob, THRESHOLD_PROBS),
            "treat_all": decision_curve.treat_all(label, THRESHOLD_PROBS),
            "treat_none": decision_curve.treat_none(THRESHOLD_PROBS),
        }
    )


def _conformal(validation: pd.DataFrame, test: pd.DataFrame, params: EvaluateConfig, seed: int) -> pd.DataFrame:
    to_sets = conformal.fit(validation["label"].to_numpy(), validation["prob"].to_numpy(), params.conformal)
    labelled = LabelledRows.from_table(test)
    rows = []
    for confidence, sets in zip(params.conformal, to_sets(test["prob"].to_numpy()), strict=True):
        found = conformal.measure_sets(labelled, sets, confidence, Resampling.from_config(params, seed))
        rows.append(
            {
                "confidence": confidence,
                "coverage": found.coverage.value,
                "coverage_low": found.coverage.low,
                "coverage_high": found.coverage.high,
                "decided": found.decided.value,
                "accuracy_decided": found.accuracy.value,
                "sensitivity_decided": found.sensitivity.value,
                "specificity_decided": found.specificity.value,
                "n": len(test),
            }
        )
    return pd.DataFrame(rows)
