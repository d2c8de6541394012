"""The comparison of models as the finished run left it: its rows, by level, and their paired tests.

Nothing is computed here: `evaluate` and `publish` wrote all of it.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mammo import operating, results
from mammo.errors import InputError
from mammo.evaluation import WITHOUT_THRESHOLD

LEVELS = Path("metrics/evaluation/metrics.csv")
PAIRED_TESTS = Path("metrics/paired_tests.csv")
POINTS = (WITHOUT_THRESHOLD, operating.OPERATING)  # what the comparison table shows of a level's metrics
LIMITS = ("_low", "_high")
NO_TESTS = pd.DataFrame(columns=["model_a", "model_b", "difference", "low", "high", "p", "p_holm"])
SMALLER_IS_BETTER = {"brier", "likelihood_ratio_negative"}


def rows(names: Sequence[str] = (), level: str | None = None, sort: str | None = None) -> pd.DataFrame:
    """The rows of `names` in their order, all where there are none: model, samples, weights, unit, metrics with limits.

    level: a sample is raised to it (mammo.levels), as in metrics/evaluation/metrics.csv. sort: a metric, best first.
    Raises InputError for what is not there, naming what is.
    """
    comparison = results.read_comparison()
    found = comparison if level is None else _at_level(comparison, level)
    if unknown := [name for name in names if name not in set(found["model"])]:
        where = results.COMPARISON if level is None else f"{LEVELS}, level {level}"
        raise InputError(f"{', '.join(unknown)}: not in {where}; there are {', '.join(found['model'])}")
    if names:
        found = found.set_index("model", drop=False).loc[list(dict.fromkeys(names))]
    return found.reset_index(drop=True) if sort is None else _sorted(found, sort)


def tests(names: Sequence[str]) -> pd.DataFrame:
    """The paired tests among `names`: model_a, model_b, difference of the AUC (b - a), low, high, p, p_holm.

    Holm's correction is that over all pairs of the table. Models that were not tested on the same samples have none.
    """
    if not PAIRED_TESTS.is_file():
        raise InputError(f"{PAIRED_TESTS} does not exist; run `dvc repro evaluate`")
    found = pd.read_csv(PAIRED_TESTS)
    return found[found["model_a"].isin(names) & found["model_b"].isin(names)].reset_index(drop=True)


def _at_level(comparison: pd.DataFrame, level: str) -> pd.DataFrame:
    if not LEVELS.is_file():
        raise InputError(f"{LEVELS} does not exist; run `dvc repro evaluate`")
    long = pd.read_csv(LEVELS)
    levels = list(dict.fromkeys(long["level"]))
    if level not in levels:
        raise InputError(f"level {level!r} was not evaluated; there are {', '.join(levels)} (evaluate.levels)")
    long = long[(long["level"] == level) & long["point"].isin(POINTS)]
    wide = [
        long.pivot_table(index="model", columns="metric", values=part, dropna=False).add_suffix(suffix)
        for part, suffix in (("value", ""), ("low", LIMITS[0]), ("high", LIMITS[1]))
    ]
    counts = long[long["metric"] == "auc"].set_index("model")[["samples", "n", "n_patients"]]
    known = comparison.set_index("model")[["unit", "weights"]]
    found = counts.join([known, *wide]).reindex(list(dict.fromkeys(long["model"])))
    return found.rename_axis("model").reset_index()


def _sorted(found: pd.DataFrame, metric: str) -> pd.DataFrame:
    numbers = [name for name in found.select_dtypes("number").columns if not name.endswith(LIMITS)]
    if metric not in numbers:
        raise InputError(f"cannot sort by {metric!r}; there are {', '.join(numbers)}")
    ascending = metric in SMALLER_IS_BETTER
    return found.sort_values(metric, ascending=ascending, kind="stable", na_position="last", ignore_index=True)
