"""Time the patient-clustered bootstrap of AUC: `python benchmarks/bootstrap_auc.py` (seconds, one core).

Prints the speed against a loop over sklearn.metrics.roc_auc_score at the size of the CBIS-DDSM test set, the
cost per row up to 100,000 rows, and the peak memory of the process.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.metrics.bootstrap import clustered_intervals
from mammo.metrics.ranking import rank_strata, resampled_aucs
from mammo.metrics.resampling import LabelledRows, Resampling, resample_blocks

ROWS, RESAMPLES, LOOP_RESAMPLES, SEED = 704, 10_000, 300, 0
SIZES = ((1_000, 2_000), (10_000, 1_000), (100_000, 200))


def cohort(n: int) -> tuple[NDArray[np.int_], NDArray[np.float64], NDArray[np.int_]]:
    """Return label, prob and patient_id (n,), two rows per patient on average, as in CBIS-DDSM."""
    rng = np.random.default_rng(SEED)
    patient_id = rng.integers(n // 2, size=n)
    label = (rng.random(n) < 0.4).astype(int)
    effect = rng.normal(size=n // 2)[patient_id]
    return label, 1 / (1 + np.exp(-(label + effect + rng.normal(size=n)))), patient_id


def ours(n: int, resamples: int) -> float:
    """Return the seconds that drawing and scoring all resamples takes."""
    label, prob, patient_id = cohort(n)
    start = perf_counter()
    rankings = rank_strata(LabelledRows(label, patient_id), prob)
    for weights in resample_blocks(patient_id, resamples, SEED):
        resampled_aucs(rankings, weights)
    return perf_counter() - start


def loop(n: int, resamples: int) -> float:
    """Return the seconds of a loop over scikit-learn, with the rows of each patient looked up beforehand."""
    label, prob, patient_id = cohort(n)
    rng = np.random.default_rng(SEED)
    rows_of = [np.flatnonzero(patient_id == patient) for patient in np.unique(patient_id)]
    start = perf_counter()
    for _ in range(resamples):
        rows = np.concatenate([rows_of[patient] for patient in rng.integers(len(rows_of), size=len(rows_of))])
        roc_auc_score(label[rows], prob[rows])
    return perf_counter() - start


def intervals(n: int, resamples: int) -> float:
    """Return the seconds that intervals of all clinical metrics take."""
    label, prob, patient_id = cohort(n)
    start = perf_counter()
    clustered_intervals(LabelledRows(label, patient_id), prob, prob >= 0.5, Resampling(resamples, SEED))
    return perf_counter() - start


def main() -> None:
    """Print the three measurements."""
    ours(ROWS, 100)
    fast, slow = ours(ROWS, RESAMPLES), loop(ROWS, LOOP_RESAMPLES) * RESAMPLES / LOOP_RESAMPLES
    print(f"{RESAMPLES:,} patient-clustered resamples of AUC on {ROWS} rows")
    print(f"  mammo.metrics          {fast:8.3f} s")
    print(f"  scikit-learn in a loop {slow:8.3f} s (scaled up from {LOOP_RESAMPLES} resamples)")
    print(f"  ratio                  {slow / fast:8.0f} x")
    print(f"  intervals of all metrics, {RESAMPLES:,} resamples: {intervals(ROWS, RESAMPLES):.2f} s")
    print("cost against size")
    for n, resamples in SIZES:
        seconds = ours(n, resamples)
        each = seconds / resamples
        print(f"  {n:7,} rows x {resamples:5,}: {seconds:6.2f} s, {each / n * 1e9:5.1f} ns per row and resample")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
