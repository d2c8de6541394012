"""Means over samples, with limits over resampled patients: a patient's samples are drawn together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammo.metrics.discrimination import Floats
from mammo.metrics.resampling import LabelledRows, Resampling, Weights, bootstrap_values, percentile_limits


@dataclass(frozen=True)
class Means:
    """Means and their limits (columns,), of n samples of n_patients."""

    mean: Floats
    low: Floats
    high: Floats
    n: int
    n_patients: int

    def row(self, column: int = 0) -> dict[str, float]:
        """Return mean, low, high, n and n_patients of one column."""
        limits = {"mean": self.mean[column], "low": self.low[column], "high": self.high[column]}
        return {**limits, "n": self.n, "n_patients": self.n_patients}


def clustered_means(values: npt.ArrayLike, patient_id: npt.ArrayLike, resampling: Resampling) -> Means:
    """Return the means of the columns of values (n, columns) or (n,), over the rows without nan.

    Limits are percentiles (Field & Welsh, J R Stat Soc B 2007), nan where patients are fewer than two or agree
    throughout; without any row the means are nan too.
    """
    columns = np.asarray(values, np.float64)
    columns = columns[:, np.newaxis] if columns.ndim == 1 else columns
    complete = ~np.isnan(columns).any(axis=1)
    columns = columns[complete]
    rows = LabelledRows(np.zeros(len(columns), bool), np.asarray(patient_id)[complete])

    def means(weights: Weights) -> dict[str, Floats]:
        resampled = (weights @ columns) / weights.sum(axis=1, keepdims=True)
        return {str(number): column for number, column in enumerate(resampled.T)}

    mean, limits = np.full(columns.shape[1], np.nan), np.full((2, columns.shape[1]), np.nan)
    if rows.n:
        mean = columns.mean(axis=0)
    if rows.n_patients > 1:
        draws = bootstrap_values(means, rows, resampling)
        limits = np.array([percentile_limits(column, resampling.confidence) for column in draws.values()]).T
    return Means(mean, limits[0], limits[1], rows.n, rows.n_patients)
