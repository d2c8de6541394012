"""Intervals of the clinical metrics from resampled patients.

What cannot be estimated is nan (a class or patients missing, no variation to learn from); wrong input raises a
ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from mammo.metrics import classification, discrimination, proportions
from mammo.metrics.discrimination import Floats, Mask, ratio
from mammo.metrics.ranking import Ranking, auc_of_counts, average_over_groups, rank_rows, rank_strata, roc_counts
from mammo.metrics.resampling import (
    Interval,
    LabelledRows,
    Resampling,
    Weights,
    bootstrap_values,
    mostly_defined,
    percentile_limits,
)

# The rows that a proportion is a proportion of; a metric that is no proportion of rows has no entry.
_PROPORTION_OF: dict[str, Callable[[Mask, Mask], Mask]] = {
    "accuracy": lambda positive, decision: np.ones_like(positive),
    "sensitivity": lambda positive, decision: positive,
    "specificity": lambda positive, decision: ~positive,
    "ppv": lambda positive, decision: decision,
    "npv": lambda positive, decision: ~decision,
}


@dataclass(frozen=True)
class _Proportions:
    """The metrics that are shares of correct decisions: correct (n,), and the rows (n,) of which each is a share."""

    correct: Mask
    denominators: Mapping[str, Mask]


# Where these are undefined they are infinite (or a class is missing, which may hide anything).
_UNBOUNDED = {"likelihood_ratio_positive", "likelihood_ratio_negative", "diagnostic_odds"}


def clustered_intervals(
    rows: LabelledRows, prob: ArrayLike, predicted_positive: ArrayLike, resampling: Resampling
) -> dict[str, Interval]:
    """Return auc, average_precision, brier and each `classification.AT_THRESHOLD` metric with limits by patient.

    prob: (n,) finite; where it leaves 0-1 (a reader's score), brier is nan. predicted_positive: (n,) 0/1; the caller
    applies the threshold, in cross-validation that of each fold. Over groups auc and average_precision are averages.
    ValueError for wrong input.

    The limits are percentiles over resampled patients; resamples where a metric is undefined are left out. They are
    nan when these are more than 5 %, when there are fewer than two patients, and when all resamples agree (an AUC of
    1, constant scores): a bootstrap would claim certainty. Proportions (accuracy, sensitivity, specificity, PPV, NPV)
    have the limits of `proportions.clustered_limits` instead, which hold for few patients and near 0 and
    1. An undefined likelihood ratio or diagnostic odds counts as infinite; where that reaches a limit, both are nan.
    """
    decision = discrimination.binary(predicted_positive, "predicted_positive")
    score = discrimination.finite(prob, rows.n)
    score_values = partial(_score_values, rows.positive, score, rank_strata(rows, score), None)
    decision_values = partial(_decision_values, rows.positive, decision, None)
    return _intervals(
        lambda weights: score_values(weights) | decision_values(weights),
        rows,
        resampling,
        _proportions(rows.positive, decision),
    )


def curve_intervals(
    rows: LabelledRows,
    prob: ArrayLike,
    resampling: Resampling,
    min_specificity: float = classification.MIN_SPECIFICITY,
) -> dict[str, Interval]:
    """Return auc, partial_auc, average_precision and brier with limits by patient, as `clustered_intervals` does.

    min_specificity: where the partial AUC starts, see `classification.partial_auc`; over groups it is averaged too.
    """
    score = discrimination.finite(prob, rows.n)
    limit = classification.max_false_positive_rate(min_specificity)
    return _intervals(partial(_score_values, rows.positive, score, rank_strata(rows, score), limit), rows, resampling)


def decision_intervals(
    rows: LabelledRows, predicted_positive: ArrayLike, resampling: Resampling, prevalence: float | None = None
) -> dict[str, Interval]:
    """Return each `classification.AT_THRESHOLD` metric with limits by patient, as `clustered_intervals` does.

    prevalence: adds ppv_at_prevalence and npv_at_prevalence, see `classification.ppv_at`.
    """
    decision = discrimination.binary(predicted_positive, "predicted_positive")
    return _intervals(
        partial(_decision_values, rows.positive, decision, prevalence),
        rows,
        resampling,
        _proportions(rows.positive, decision),
    )


def _proportions(positive: Mask, decision: Mask) -> _Proportions:
    discrimination.counts(positive, decision)  # refuses decisions of other rows
    return _Proportions(
        positive == decision, {name: select(positive, decision) for name, select in _PROPORTION_OF.items()}
    )


def _score_values(
    positive: Mask, score: Floats, rankings: list[Ranking], max_fpr: float | None, weights: Weights
) -> dict[str, Floats]:
    """Return metrics of the score under weights (resamples, n), each (resamples,); partial_auc if max_fpr is set."""
    curves = [roc_counts(ranking, weights) for ranking in rankings]
    values = {"auc": average_over_groups(auc_of_counts, curves)}
    if max_fpr is not None:
        values["partial_auc"] = average_over_groups(partial(_partial_auc_of_counts, max_fpr=max_fpr), curves)
    values["average_precision"] = average_over_groups(_average_precision_of_counts, curves)
    return values | {"brier": _brier_of_weights(positive, score, weights)}


def _decision_values(positive: Mask, decision: Mask, prevalence: float | None, weights: Weights) -> dict[str, Floats]:
    """Return metrics of the decisions under weights (resamples, n), each (resamples,)."""
    metrics = dict(classification.AT_THRESHOLD)
    if prevalence is not None:
        metrics |= {
            "ppv_at_prevalence": classification.ppv_at(prevalence),
            "npv_at_prevalence": classification.npv_at(prevalence),
        }
    table = discrimination.counts(positive, decision, weights)
    return {name: metric(*table) for name, metric in metrics.items()}


def _intervals(
    values: Callable[[Weights], dict[str, Floats]],
    rows: LabelledRows,
    resampling: Resampling,
    proportions_of: _Proportions | None = None,
) -> dict[str, Interval]:
    """Bootstrap `values` by patient; proportions_of: the metrics that are proportions of rows."""
    draws = bootstrap_values(values, rows, resampling)

    def limits(name: str) -> tuple[float, float]:
        if proportions_of is not None and name in proportions_of.denominators and mostly_defined(draws[name]):
            chosen = proportions_of.denominators[name]
            return proportions.clustered_limits(
                proportions_of.correct[chosen], rows.patient[chosen], resampling.confidence
            )
        percentiles = _open_percentiles if name in _UNBOUNDED else percentile_limits
        return percentiles(draws[name], resampling.confidence)

    point = values(np.ones((1, rows.n)))
    return {name: Interval(float(value), *limits(name), rows.n, rows.n_patients) for name, (value,) in point.items()}


def roc_band(
    rows: LabelledRows, prob: ArrayLike, false_positive_rate: ArrayLike, resampling: Resampling
) -> tuple[Floats, Floats]:
    """Return pointwise limits (points,) of the sensitivity at given false positive rates (points,), by patient.

    Vertical averaging (Fawcett, Pattern Recognition Letters 2006): each resample's curve is read at the same false
    positive rates. Resamples without both classes are left out; nan where they are more than 5 %. Groups are pooled.
    """
    score = discrimination.finite(prob, rows.n)
    grid = np.asarray(false_positive_rate, np.float64)
    ranking = rank_rows(rows.positive, score, np.arange(rows.n))

    def values(weights: Weights) -> dict[str, Floats]:
        tp, fp = (np.vstack([np.zeros((1, len(weights))), counts]) for counts in roc_counts(ranking, weights))
        rates = [_sensitivity_at(grid, *curve) for curve in zip(tp.T, fp.T, strict=True)]
        return {str(point): column for point, column in enumerate(np.transpose(rates))}

    draws = bootstrap_values(values, rows, resampling)
    low, high = np.transpose(
        [percentile_limits(draws[str(point)], resampling.confidence) for point in range(grid.size)]
    )
    return low, high


def _sensitivity_at(grid: Floats, tp: Floats, fp: Floats) -> Floats:
    """Return the sensitivity at the false positive rates of `grid`; nan where a class is missing."""
    if not (fp[-1] and tp[-1]):
        return np.full(grid.size, np.nan)
    return np.asarray(np.interp(grid, fp / fp[-1], tp / tp[-1]))


def _partial_auc_of_counts(tp: Weights, fp: Weights, max_fpr: float) -> Floats:
    """Return the standardised area (resamples,) under (fp, tp) up to a false positive rate."""
    n_positive, n_negative = (counts[-1:].sum(axis=0) for counts in (tp, fp))
    rise, width = (np.diff(counts, axis=0, prepend=0) for counts in (tp, fp))
    inside = np.clip(max_fpr * n_negative - (fp - width), 0, width)
    slope = np.divide(rise, width, out=np.zeros(tp.shape), where=width > 0)
    area = np.einsum("ir,ir->r", inside, tp - rise + slope * inside / 2)
    return classification.standardised(ratio(area, np.float64(1) * n_positive * n_negative), max_fpr)


def _average_precision_of_counts(tp: Weights, fp: Weights) -> Floats:
    """Return the step sum of precision x gained recall (resamples,)."""
    gained = np.diff(tp, axis=0, prepend=0)
    predicted_positive = tp + fp
    precision = np.divide(tp, predicted_positive, out=np.zeros(tp.shape), where=predicted_positive > 0)
    return ratio(np.einsum("ir,ir->r", gained, precision), tp[-1:].sum(axis=0))


def _brier_of_weights(positive: Mask, score: Floats, weights: Weights) -> Floats:
    if np.any((score < 0) | (score > 1)):
        return np.full(weights.shape[0], np.nan)
    return ratio(weights @ (score - positive) ** 2, weights.sum(axis=1))


def _open_percentiles(draws: Floats, confidence: float) -> tuple[float, float]:
    """Return `percentile_limits` with undefined draws counted as infinite.

    Without them the upper limit would be too low.
    """
    with np.errstate(invalid="ignore"):
        limits = percentile_limits(np.where(np.isnan(draws), np.inf, draws), confidence)
    return limits if np.isfinite(limits).all() else (np.nan, np.nan)
