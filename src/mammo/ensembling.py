"""Several models' predictions -> one. What is fitted here sees validation rows only."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import Bounds, LinearConstraint, minimize

from mammo.errors import InputError

Floats = npt.NDArray[np.float64]
SAMPLE = ["sample_id", "patient_id", "split", "label"]
PROB_FLOOR = 1e-6


def combine(tables: dict[str, pd.DataFrame], method: str) -> tuple[pd.DataFrame, dict[str, float]]:
    """The ensemble's prediction table and the weight of each member.

    tables: tables.PREDICTIONS by model name, over the same samples.
    """
    first = next(iter(tables.values()))[SAMPLE].reset_index(drop=True)
    for name, table in tables.items():
        if not table[SAMPLE].reset_index(drop=True).equals(first):
            raise InputError(
                f"predictions of {name} are for other samples than {next(iter(tables))}'s; rerun its stage"
            )
    probs = np.column_stack([table["prob"].to_numpy(np.float64) for table in tables.values()])
    validation = (first["split"] == "val").to_numpy()
    weights = METHODS[method](probs[validation], first.loc[validation, "label"].to_numpy(np.float64))
    return first.assign(prob=np.clip(probs @ weights, 0, 1)), dict(zip(tables, weights.tolist(), strict=True))


def mean(probs: Floats, label: Floats) -> Floats:
    """Equal weights (models,)."""
    return np.full(probs.shape[1], 1 / probs.shape[1])


def weighted(probs: Floats, label: Floats) -> Floats:
    """Weights (models,), not negative and of sum 1, with the lowest log-loss on probs (n, models) and label (n,)."""

    def log_loss(weights: npt.NDArray[Any]) -> float:
        prob = np.clip(probs @ weights, PROB_FLOOR, 1 - PROB_FLOOR)
        return float(-np.mean(label * np.log(prob) + (1 - label) * np.log(1 - prob)))

    count = probs.shape[1]
    found = minimize(
        log_loss,
        x0=np.full(count, 1 / count),
        method="SLSQP",
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.ones(count), 1, 1),
    )
    weights = np.clip(found.x, 0, None)
    return np.asarray(weights / weights.sum(), np.float64)


METHODS: dict[str, Callable[[Floats, Floats], Floats]] = {"mean": mean, "weighted": weighted}
