"""The AUC within strata of another score: what is left of a ranking once that score is held still.

A malignant and a benign row are compared only where both lie in one stratum; every such pair counts the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from mammo.metrics import discrimination
from mammo.metrics.auc_tests import PairedTest
from mammo.metrics.discrimination import Floats, ratio
from mammo.metrics.ranking import Ranking, rank_rows, roc_counts
from mammo.metrics.resampling import (
    NO_SPREAD,
    Interval,
    LabelledRows,
    Resampling,
    Weights,
    bootstrap_values,
    percentile_limits,
)


def controlled_auc(rows: LabelledRows, prob: ArrayLike, stratum: ArrayLike, resampling: Resampling) -> Interval:
    """Return the AUC over pairs within strata, with limits by patient; nan where no stratum has both classes.

    prob: (n,) finite; stratum: (n,) integers. Over the groups of `rows` it is the average weighted by their rows, as
    the plain AUC is. Janes & Pepe, Am J Epidemiol 2008 (covariate-adjusted ROC).
    """
    rankings = _rank(rows, prob, stratum)
    draws = bootstrap_values(lambda weights: {"auc": _aucs(rankings, weights)}, rows, resampling)["auc"]
    value = float(_aucs(rankings, np.ones((1, rows.n), np.int64))[0])
    return Interval(value, *percentile_limits(draws, resampling.confidence), rows.n, rows.n_patients)


def paired_controlled_test(
    rows: LabelledRows, probs: tuple[ArrayLike, ArrayLike], stratum: ArrayLike, resampling: Resampling
) -> PairedTest:
    """Compare two models' controlled AUCs on the same rows: b - a, percentile limits, z-test by the bootstrap's SD.

    probs: of a and b, each (n,). The p-value is that of a normal difference, so that it has no floor at 1/resamples; 1
    for no difference at all, nan where not estimable.
    """
    rankings_a, rankings_b = (_rank(rows, prob, stratum) for prob in probs)

    def difference(weights: Weights) -> dict[str, Floats]:
        return {"difference": _aucs(rankings_b, weights) - _aucs(rankings_a, weights)}

    value = float(difference(np.ones((1, rows.n), np.int64))["difference"][0])
    draws = bootstrap_values(difference, rows, resampling)["difference"]
    low, high = percentile_limits(draws, resampling.confidence)
    return PairedTest(value, low, high, _two_sided(value, draws), rows.n, rows.n_patients)


def _rank(rows: LabelledRows, prob: ArrayLike, stratum: ArrayLike) -> list[list[Ranking]]:
    """Rank the rows of each stratum in each group of `rows`; a stratum without both classes has no pair."""
    score, place = discrimination.finite(prob, rows.n), np.asarray(stratum)
    if place.shape != (rows.n,):
        raise ValueError(f"stratum has shape {place.shape} but there are {rows.n} labels; give one stratum per row")
    return [
        [rank_rows(rows.positive, score, group[place[group] == value]) for value in np.unique(place[group])]
        for group in rows.strata
    ]


def _aucs(groups: list[list[Ranking]], weights: Weights) -> Floats:
    """Return the controlled AUC (resamples,) under weights (resamples, n)."""
    values, sizes = [], []
    for rankings in groups:
        curves = [roc_counts(ranking, weights) for ranking in rankings]
        won = np.sum([_won(tp, fp) for tp, fp in curves], axis=0)
        pairs = np.sum([tp[-1].astype(np.float64) * fp[-1] for tp, fp in curves], axis=0)
        values.append(ratio(won, pairs))
        sizes.append(np.sum([tp[-1] + fp[-1] for tp, fp in curves], axis=0))
    return ratio(np.sum(np.stack(values) * sizes, axis=0), np.sum(sizes, axis=0))


def _won(tp: Weights, fp: Weights) -> Floats:
    """Return how many pairs (resamples,) the malignant row wins, ties 1/2."""
    gained = np.diff(fp, axis=0, prepend=0)
    twice = np.einsum("ir,ir->r", tp, gained) + np.einsum("ir,ir->r", tp[:-1], gained[1:])
    return np.asarray(twice / 2, np.float64)


def _two_sided(difference: float, draws: Floats) -> float:
    spread = float(np.nanstd(draws)) if np.isfinite(draws).any() else np.nan
    if spread > NO_SPREAD:
        return float(2 * norm.sf(abs(difference) / spread))
    return 1.0 if abs(difference) < NO_SPREAD else np.nan
