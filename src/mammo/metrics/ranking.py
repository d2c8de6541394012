"""ROC curves of many resamples at once: rows are ranked once, then a resample costs a cumulative sum."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mammo.metrics.discrimination import Floats, Mask, ratio
from mammo.metrics.resampling import Integers, LabelledRows, Weights


class Ranking(NamedTuple):
    """Rows from the highest score down; `last` is the place where each run of equal scores ends."""

    row: Integers
    positive: Mask
    last: Integers


def rank_rows(positive: Mask, score: Floats, rows: Integers) -> Ranking:
    """Rank the rows with these numbers by their score (n,)."""
    row = rows[np.argsort(-score[rows], kind="stable")]
    return Ranking(row, positive[row], np.flatnonzero(np.diff(score[row], append=np.nan) != 0))


def rank_strata(rows: LabelledRows, score: Floats) -> list[Ranking]:
    """Rank the rows of each group by their score (n,)."""
    return [rank_rows(rows.positive, score, stratum) for stratum in rows.strata]


def roc_counts(ranking: Ranking, weights: Weights) -> tuple[Weights, Weights]:
    """Return true and false positives (distinct scores, resamples) as the threshold falls past each score.

    weights: (resamples, n), how often each row counts.
    """
    ordered = weights.T[ranking.row]
    exact = np.result_type(ordered, np.int64)
    tp = np.cumsum(ordered * ranking.positive[:, None], axis=0, dtype=exact)[ranking.last]
    predicted_positive = np.cumsum(ordered, axis=0, dtype=exact)[ranking.last]
    return tp, predicted_positive - tp


def auc_of_counts(tp: Weights, fp: Weights) -> Floats:
    """Return the area (resamples,) of the trapezoids under (fp, tp), so that ties count 1/2."""
    gained = np.diff(fp, axis=0, prepend=0)
    twice = np.einsum("ir,ir->r", tp, gained) + np.einsum("ir,ir->r", tp[:-1], gained[1:])
    return ratio(twice, 2.0 * tp[-1:].sum(axis=0) * fp[-1:].sum(axis=0))


def average_over_groups(metric: Callable[[Weights, Weights], Floats], curves: list[tuple[Weights, Weights]]) -> Floats:
    """Average a metric of the groups' (tp, fp), weighted by the rows drawn from each group; (resamples,)."""
    size = np.stack([(tp[-1:] + fp[-1:]).sum(axis=0) for tp, fp in curves])
    value = np.stack([metric(tp, fp) for tp, fp in curves])
    return ratio(np.sum(value * size, axis=0), size.sum(axis=0))


def resampled_aucs(rankings: list[Ranking], weights: Weights) -> Floats:
    """Return the AUC (resamples,) under weights (resamples, n), averaged over the rankings of the groups."""
    return average_over_groups(auc_of_counts, [roc_counts(ranking, weights) for ranking in rankings])
