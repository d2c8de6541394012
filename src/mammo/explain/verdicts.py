"""The checks of saliency maps by name, and the rule by which a method passes or fails one.

A verdict rests on the interval of a check's value over resampled patients: passed where all of it is on the right side
of the limit, failed where all of it is on the wrong side, else undecided, also with fewer than two patients.
"""

import numpy as np
import pandas as pd

from mammo.metrics.clustered_means import Means

CASCADE, PERTURBATION, IMAGES = "cascade", "perturbation", "images"  # sanity_checks
LABELS, TEACHING, SEEDS = "labels", "teaching", "seeds"  # label_randomization
CHECKS = {
    CASCADE: "rank correlation with the model's own maps once all layers are randomised (Adebayo et al. 2018)",
    PERTURBATION: "area under the probability as pixels appear in a map's order, less that as they vanish",
    IMAGES: "rank correlation of the maps of two patients",
    LABELS: "rank correlation with the maps of a model of permuted labels",
    TEACHING: "rank correlation with the maps under another seed, less that with the maps of permuted labels",
    SEEDS: "rank correlation with the maps under another seed, less that of two patients' maps",
}
MAX_CORRELATION = 0.5  # of maps that should not be alike
# Of a perturbation: also the maps of an untrained network explain its output, which hardly moves. Ten of them, of four
# architectures, reached .008 at most, the trained ones .04 to .19.
MIN_GAIN = 0.02
VERDICTS = PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
BELOW, ABOVE = "below", "above"  # where a value must lie


def judge_check(check: str, means: Means, must: str, limit: float) -> dict[str, object]:
    """Return a row of sanity.csv: check, value, low, high, must, limit, verdict, n, n_patients.

    means: of one column. must: whether the value has to lie BELOW or ABOVE the limit.
    """
    row = means.row()
    value = {"check": check, "value": row.pop("mean"), "low": row.pop("low"), "high": row.pop("high")}
    return {**value, "must": must, "limit": limit, "verdict": _judge(means, must, limit), **row}


def _judge(means: Means, must: str, limit: float) -> str:
    if means.n_patients < 2:
        return UNDECIDED
    # Without limits the patients agree throughout.
    ends = means.mean if np.isnan(means.low[0]) else np.concatenate([means.low, means.high])
    if (ends < limit).all():
        return PASSED if must == BELOW else FAILED
    if (ends > limit).all():
        return PASSED if must == ABOVE else FAILED
    return UNDECIDED


def verdict_metrics(checks: pd.DataFrame) -> dict[str, float]:
    """Return rows of sanity.csv as metrics: `<method>_<check>_failed` and `_undecided`, 0 or 1."""
    names = checks["method"] + "_" + checks["check"] + "_"
    return {
        f"{name}{verdict}": float(actual == verdict)
        for verdict in (FAILED, UNDECIDED)
        for name, actual in zip(names, checks["verdict"], strict=True)
    }
