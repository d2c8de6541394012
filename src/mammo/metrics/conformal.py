"""Prediction sets that may hold both classes ("refer"): split conformal prediction through MAPIE.

A set holds benign, malignant, both or neither; one class decides, everything else is referred to a reader. The
promise is that sets of confidence c hold the truth in a share c of new rows, over both classes together
(marginal: it may fail in the rarer class, so read sensitivity beside it).

It holds if validation and test rows are exchangeable. Here that is approximate at best: rows of one patient are
alike, so that fewer rows than counted are independent and the realised coverage varies more than n suggests
(therefore intervals by patient); the official test set was not drawn at random with validation; and where
`train.keep` is `best`, validation also chose the epoch. Coverage on test is measured, not assumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mapie.classification import SplitConformalClassifier
from numpy.typing import ArrayLike

from mammo.core.errors import InputError
from mammo.metrics import bootstrap, calibration
from mammo.metrics.discrimination import Floats, Mask
from mammo.metrics.resampling import Interval, LabelledRows, Resampling


@dataclass(frozen=True)
class Sets:
    """Prediction sets of one confidence on labelled rows, each value with its limits by patient.

    coverage: share of rows whose set holds their label. decided: share of rows with one class in the set. accuracy,
    sensitivity, specificity: among decided rows; their `n` is how many these are.
    """

    confidence: float
    coverage: Interval
    decided: Interval
    accuracy: Interval
    sensitivity: Interval
    specificity: Interval


class _IdentityClassifier:
    """The fitted classifier that MAPIE needs; its input (n, 1) is already the probability."""

    classes_ = np.array([0, 1])

    def predict_proba(self, prob: Floats) -> Floats:
        return np.column_stack([1 - prob[:, 0], prob[:, 0]])


def fit(label: ArrayLike, prob: ArrayLike, confidences: Sequence[float]) -> Callable[[ArrayLike], Mask]:
    """Return the function from prob (n,) to sets (levels, n, 2): whether benign, and malignant, is in the set.

    label (m,) 0/1, prob (m,) 0-1: validation rows. confidences: (levels,), each between 0 and 1. The score is 1 -
    prob of the true class, which makes the sets smallest (LAC: Sadinle et al., JASA 2019). A level that needs more
    validation rows than there are gets both classes in every set, as its quantile is infinite (Angelopoulos & Bates,
    Found Trends Mach Learn 2023). ValueError for wrong input and for validation rows of one class.
    """
    positive, score = calibration.labelled(label, prob)
    _check_confidences(confidences)
    if positive.all() or not positive.any():
        raise InputError(
            f"{positive.sum()} of {positive.size} validation rows are malignant; sets need both classes: "
            "check the split"
        )
    reachable = [confidence for confidence in confidences if _is_reachable(positive.size, confidence)]
    if not reachable:
        return lambda new_prob: np.ones((len(confidences), np.size(new_prob), 2), dtype=bool)
    classifier = SplitConformalClassifier(
        _IdentityClassifier(), confidence_level=reachable, conformity_score="lac", prefit=True
    )
    classifier.conformalize(score[:, None], positive.astype(np.int64))

    def sets(new_prob: ArrayLike) -> Mask:
        test = calibration.probabilities(new_prob, np.size(new_prob))
        result = np.ones((len(confidences), test.size, 2), dtype=bool)
        if test.size:
            levels = [place for place, confidence in enumerate(confidences) if confidence in reachable]
            result[levels] = np.moveaxis(classifier.predict_set(test[:, None])[1], -1, 0)
        return result

    return sets


def quantiles(label: ArrayLike, prob: ArrayLike, confidences: Sequence[float]) -> list[float]:
    """Return the quantile (0-1) of each confidence: `fit` puts a class into the set where its prob >= 1 - quantile.

    label, prob: validation rows. A quantile is the score of a validation row, the highest at which a class is in the
    set; infinite where there are too few rows, so that every set holds both classes.
    """
    positive, score = calibration.labelled(label, prob)
    true_class_prob = np.where(positive, score, 1 - score)
    in_set = fit(label, prob, confidences)(np.concatenate([true_class_prob, [0.0]]))[:, :, 1]
    return [math.inf if level[-1] else float(1 - true_class_prob[level[:-1]].min()) for level in in_set]


def _check_confidences(confidences: Sequence[float]) -> None:
    wrong = [confidence for confidence in confidences if not 0 < confidence < 1]
    if wrong or len(confidences) == 0:
        raise InputError(f"confidences are {list(confidences)}; give at least one, each between 0 and 1, such as 0.9")


def _is_reachable(n: int, confidence: float) -> bool:
    """Say whether n validation rows reach the level by MAPIE's rule, which refuses fewer."""
    # Rounded, because 1 - .9 is below .1 in floating point; MAPIE subtracts decimals.
    risk = round(1 - confidence, 12)
    return n >= max(1 / risk, 1 / (1 - risk))


def measure_sets(rows: LabelledRows, sets: Mask, level: float, resampling: Resampling) -> Sets:
    """Measure the sets (n, 2) of one level on test rows: coverage, share decided, and the decisions' metrics.

    level: the sets' own confidence. The limits are those of `bootstrap.decision_intervals`. An empty set covers nothing
    and decides nothing. nan where nothing is decided or a class is missing among the decided. ValueError for wrong
    input.
    """
    if sets.shape != (rows.n, 2):
        raise InputError(f"sets have shape {sets.shape}; expected ({rows.n}, 2): benign and malignant per row")

    def intervals(positive: Mask, decision: Mask, subset: Mask) -> dict[str, Interval]:
        return bootstrap.decision_intervals(
            LabelledRows(positive[subset], rows.patient[subset]), decision[subset], resampling
        )

    every = np.ones_like(rows.positive)
    covered = np.where(rows.positive, sets[:, 1], sets[:, 0])
    decided = sets.sum(axis=1) == 1
    # A share of rows is the accuracy of saying so where the truth is always yes.
    coverage, share = (intervals(every, statement, every)["accuracy"] for statement in (covered, decided))
    when_decided = intervals(rows.positive, sets[:, 1], decided)
    return Sets(level, coverage, share, *(when_decided[name] for name in ("accuracy", "sensitivity", "specificity")))
