"""A model beside a reader at the reader's own rates: sensitivity at the same specificity, and the other way round.

The model's empirical ROC curve is read, between its points along the line that joins them, at the reader's rate on the
same rows. No threshold is chosen for use: it is a comparison at a matched rate, as in reader studies (Obuchowski &
Bullen, Phys Med Biol 2018), and no performance that a frozen threshold would have. What cannot be estimated is nan.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mammo.metrics import discrimination
from mammo.metrics.discrimination import Floats, Mask
from mammo.metrics.ranking import Ranking, average_over_groups, rank_strata, roc_counts
from mammo.metrics.resampling import Interval, LabelledRows, Resampling, Weights, bootstrap_values, percentile_limits

RATES = ("sensitivity", "specificity")


@dataclass(frozen=True)
class MatchedRate:
    """A rate of the reader, of the model where the model's other rate is the reader's, and model less reader."""

    rate: str
    reader: Interval
    model: Interval
    difference: Interval


def match_rates(
    rows: LabelledRows, prob: ArrayLike, reader_positive: ArrayLike, resampling: Resampling
) -> list[MatchedRate]:
    """Return the sensitivity at the reader's specificity, and the specificity at the reader's sensitivity.

    prob: (n,) finite; reader_positive: (n,) 0/1, the reader's calls on the same rows. Limits are percentiles over
    resampled patients, in which the reader's rate is measured again. Over groups the model's rate is their average,
    weighted by rows. ValueError for wrong input.
    """
    decision = discrimination.binary(reader_positive, "reader_positive")
    rankings = rank_strata(rows, discrimination.finite(prob, rows.n))

    def values(weights: Weights) -> dict[str, Floats]:
        return _measure(rankings, rows.positive, decision, weights)

    draws, point = bootstrap_values(values, rows, resampling), values(np.ones((1, rows.n)))

    def interval(name: str) -> Interval:
        limits = percentile_limits(draws[name], resampling.confidence)
        return Interval(float(point[name][0]), *limits, rows.n, rows.n_patients)

    parts = ("reader", "model", "difference")
    return [MatchedRate(rate, *(interval(f"{rate}_{part}") for part in parts)) for rate in RATES]


def _measure(rankings: list[Ranking], positive: Mask, decision: Mask, weights: Weights) -> dict[str, Floats]:
    """Return the reader's rates, the model's at the same other rate, and the differences, each (resamples,)."""
    counts = discrimination.counts(positive, decision, weights)
    sensitivity, specificity = discrimination.sensitivity(*counts), discrimination.specificity(*counts)
    curves = [roc_counts(ranking, weights) for ranking in rankings]

    def sensitivity_at(tp: Weights, fp: Weights) -> Floats:
        return _read_curves(_from_zero(fp), _from_zero(tp), 1 - specificity)

    def specificity_at(tp: Weights, fp: Weights) -> Floats:
        # Read from the other end, as a curve of what is not called.
        missed, spared = (counts[-1] - _from_zero(counts)[::-1] for counts in (tp, fp))
        return _read_curves(missed, spared, 1 - sensitivity)

    model = {
        "sensitivity": average_over_groups(sensitivity_at, curves),
        "specificity": average_over_groups(specificity_at, curves),
    }
    values: dict[str, Floats] = {}
    for rate, reader in zip(RATES, (sensitivity, specificity), strict=True):
        values |= {f"{rate}_reader": reader, f"{rate}_model": model[rate], f"{rate}_difference": model[rate] - reader}
    return values


def _from_zero(counts: Weights) -> Weights:
    return np.vstack([np.zeros_like(counts[:1]), counts])


def _read_curves(x: Weights, y: Weights, at: Floats) -> Floats:
    """Return the share of y (points, resamples) reached where that of x is `at` (resamples,); nan without a class."""
    return np.array([_read_curve(*curve) for curve in zip(x.T, y.T, at, strict=True)])


def _read_curve(x: Floats, y: Floats, at: float) -> float:
    top_x, top_y = x[-1], y[-1]
    if not (top_x and top_y) or np.isnan(at):
        return np.nan
    # Of equal x the last point, which is the highest one; rounding must not step off it.
    share = x / top_x
    place = int(np.searchsorted(share, at + 1e-12, side="right")) - 1
    if place + 1 == share.size or abs(share[place] - at) <= 1e-12:
        return float(y[place] / top_y)
    step = (at - share[place]) / (share[place + 1] - share[place])
    return float((y[place] + step * (y[place + 1] - y[place])) / top_y)
