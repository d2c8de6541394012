"""Means over samples, with limits over resampled patients: a patient's samples are drawn together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mammo.core.config import EvaluateConfig
from mammo.metrics import bootstrap

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Resampling:
    """How limits are drawn; `confidence` is the share of resamples between them."""

    resamples: int
    seed: int
    confidence: float = 0.95

    @classmethod
    def of(cls, evaluate: EvaluateConfig, seed: int) -> "Resampling":
        """As the evaluation draws its own."""
        return cls(evaluate.resamples, seed, evaluate.confidence)


@dataclass(frozen=True)
class Means:
    """Means and their limits (columns,), of n samples of n_patients."""

    mean: Floats
    low: Floats
    high: Floats
    n: int
    n_patients: int

    def row(self, column: int = 0) -> dict[str, float]:
        """mean, low, high, n and n_patients of one column."""
        limits = {"mean": self.mean[column], "low": self.low[column], "high": self.high[column]}
        return {**limits, "n": self.n, "n_patients": self.n_patients}


def clustered_means(values: npt.ArrayLike, patient_id: npt.ArrayLike, how: Resampling) -> Means:
    """Means of the columns of values (n, columns) or (n,), over the rows without nan.

    Limits are percentiles (Field & Welsh, J R Stat Soc B 2007), nan where patients are fewer than two or agree
    throughout; without any row the means are nan too.
    """
    columns = np.asarray(values, np.float64)
    columns = columns[:, np.newaxis] if columns.ndim == 1 else columns
    known = ~np.isnan(columns).any(axis=1)
    used, patients = columns[known], np.asarray(patient_id)[known]
    n_patients = len(np.unique(patients))
    mean, limits = np.full(columns.shape[1], np.nan), np.full((2, columns.shape[1]), np.nan)
    if n_patients:
        mean = used.mean(axis=0)
    if n_patients > 1:
        weights = bootstrap.patient_resamples(patients, how.resamples, how.seed)
        draws = (weights @ used) / weights.sum(axis=1, keepdims=True)
        limits = np.quantile(draws, [(1 - how.confidence) / 2, (1 + how.confidence) / 2], axis=0)
        limits[:, limits[1] - limits[0] < bootstrap.NO_SPREAD] = np.nan
    return Means(mean, limits[0], limits[1], len(used), n_patients)
