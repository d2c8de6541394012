"""Coverage of 95 % limits of a sensitivity for few patients: percentiles of resamples, and the limits in use.

    python benchmarks/proportion_intervals.py [SIMULATIONS]

Prints a Markdown table: share of simulations whose limits hold the truth, those that lie below it, and their width.
"""

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mammo.metrics import proportions
from mammo.metrics.discrimination import Mask
from mammo.metrics.resampling import Integers

RESAMPLES = 400
Limits = Callable[[Mask, Integers, float], tuple[float, float]]


def percentiles(success: Mask, patient: Integers, confidence: float) -> tuple[float, float]:
    """Return percentiles over resampled patients, exact limits at 0 and 1: what was in use before."""
    counts, sums = np.bincount(patient), np.bincount(patient, success)
    if success.mean() in (0, 1):
        return proportions.exact_limits(float(success.mean()), counts.size, confidence)
    weights = np.random.default_rng(0).multinomial(counts.size, np.full(counts.size, 1 / counts.size), RESAMPLES)
    low, high = np.quantile(weights @ sums / (weights @ counts), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def draw(rng: np.random.Generator, patients: int, share: float, alike: float) -> tuple[Mask, Integers]:
    """Return calls and patients of 1 to 4 malignant rows each; alike: the correlation of a patient's rows."""
    patient = np.repeat(np.arange(patients), rng.choice([1, 2, 3, 4], p=[0.4, 0.4, 0.1, 0.1], size=patients))
    scale = (1 - alike) / alike
    of_patient = rng.beta(share * scale, (1 - share) * scale, size=patients)
    return rng.random(patient.size) < of_patient[patient], patient


def coverage(limits: Limits, seed: int, count: int, truth: tuple[int, float, float]) -> NDArray[np.float64]:
    """Return the shares of simulations that cover, and lie below, the truth, and the mean width."""
    rng = np.random.default_rng(seed)
    low, high = np.transpose([limits(*draw(rng, *truth), 0.95) for _ in range(count)])
    return np.array([np.mean((low <= truth[1]) & (truth[1] <= high)), np.mean(high < truth[1]), np.mean(high - low)])


def main(count: int) -> None:
    """Print the table."""
    print("| malignant patients | sensitivity | correlation | percentiles: covered, below, width | in use: the same |")
    print("|---|---|---|---|---|")
    for patients in (20, 30, 60, 120):
        for share in (0.8, 0.9):
            for alike in (0.1, 0.4, 0.8):
                truth = (patients, share, alike)
                cells = [coverage(limits, 1, count, truth) for limits in (percentiles, proportions.clustered_limits)]
                shown = [f"{100 * one[0]:.1f} %, {100 * one[1]:.1f} %, {one[2]:.3f}" for one in cells]
                print(f"| {patients} | {share} | {alike} | {shown[0]} | {shown[1]} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
