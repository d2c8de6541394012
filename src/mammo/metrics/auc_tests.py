"""DeLong's variance of AUCs, clustered by patient, and the tests that compare AUCs.

What cannot be estimated is nan (a class or patients missing, no variation to learn from); wrong input raises a
ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata, t

from mammo.metrics import discrimination
from mammo.metrics.discrimination import Floats, Mask, ratio
from mammo.metrics.ranking import rank_strata, resampled_aucs
from mammo.metrics.resampling import (
    NO_SPREAD,
    Integers,
    Interval,
    LabelledRows,
    Resampling,
    Weights,
    bootstrap_values,
    check_confidence,
    percentile_limits,
)


@dataclass(frozen=True)
class PairedTest:
    """Difference b - a of two AUCs whose rows or patients overlap, its limits and two-sided p; nan where not
    estimable."""

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    n_patients: int


@dataclass(frozen=True)
class Subsets:
    """Two sets of rows, each (n,) 0/1, that may share patients and even rows."""

    a: ArrayLike
    b: ArrayLike


def delong_covariance(positive: Mask, scores: Floats, patient: Integers) -> tuple[Floats, Floats]:
    """Return AUCs (models,) and their covariance (models, models) with rows of one patient correlated.

    positive: (n,); scores: (models, n) finite; patient: (n,) numbers from 0. nan without both classes; the covariance
    also where a class has rows of one patient alone. DeLong et al., Biometrics 1988; by midranks in O(n log n): Sun &
    Xu, IEEE Signal Process Lett 2014; clustered: Obuchowski, Biometrics 1997.
    """
    aucs, deviation = _placements(positive, scores)
    return aucs, _covariance(positive, deviation, patient)


def delong_interval(rows: LabelledRows, prob: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the AUC with limits from its DeLong variance on the logit scale, which keeps them within 0-1.

    prob: (n,) finite. The limits are nan where the variance is 0 or not estimable, so for an AUC of 0 or 1. ValueError
    for wrong input. Pepe, The Statistical Evaluation of Medical Tests for Classification and Prediction, 2003.
    """
    check_confidence(confidence)
    score = _score_table([prob], rows.n)
    value = variance = 0.0
    for stratum in rows.strata:
        share = stratum.size / max(1, rows.n)
        (auc,), ((spread,),) = delong_covariance(rows.positive[stratum], score[:, stratum], rows.patient[stratum])
        value += share * float(auc)
        variance += share**2 * float(spread)
    low = high = np.nan
    if variance > NO_SPREAD**2 and 0 < value < 1:
        centre = np.log(value / (1 - value))
        margin = norm.ppf((1 + confidence) / 2) * np.sqrt(variance) / (value * (1 - value))
        low, high = (float(1 / (1 + np.exp(-limit))) for limit in (centre - margin, centre + margin))
    return Interval(value, low, high, rows.n, rows.n_patients)


def paired_auc_test(rows: LabelledRows, prob_a: ArrayLike, prob_b: ArrayLike, resampling: Resampling) -> PairedTest:
    """Compare two models' AUCs on the same rows: b - a, bootstrap limits by patient, DeLong p-value.

    prob_a, prob_b: (n,) finite. The limits are percentiles of the difference when patients, with both models' scores,
    are resampled. The p-value is that of the z-test with Obuchowski's variance: it has no floor at 1/resamples and no
    Monte Carlo noise, so that it survives `holm`. Near significance the two may disagree by a hair. nan where not
    estimable; p is 1 for no difference at all. ValueError for wrong input.
    """
    scores = _score_table([prob_a, prob_b], rows.n)
    rankings_a, rankings_b = (rank_strata(rows, score) for score in scores)

    def values(weights: Weights) -> dict[str, Floats]:
        return {"difference": resampled_aucs(rankings_b, weights) - resampled_aucs(rankings_a, weights)}

    draws = bootstrap_values(values, rows, resampling)
    low, high = percentile_limits(draws["difference"], resampling.confidence)
    difference, variance = auc_difference(rows, scores)
    return PairedTest(difference, low, high, _two_sided(difference, variance), rows.n, rows.n_patients)


def chosen_auc(rows: LabelledRows, probs: Iterable[ArrayLike], resampling: Resampling) -> float:
    """Return the AUC to expect of the best of several models, when it was chosen on these very rows.

    probs: (models, n). The highest of many AUCs is partly the luckiest. So the best is chosen on each resample of
    the patients, and scored on the patients who were not drawn. Returned is the mean over the resamples that have
    both classes on both sides; nan where fewer than half have. ValueError for wrong input.
    Tsamardinos, Greasidou & Borboudakis, Machine Learning 107, 1895-1922, 2018 (BBC-CV).
    """
    rankings = [rank_strata(rows, score) for score in _score_table(probs, rows.n)]

    def aucs(weights: Weights) -> Floats:
        return np.stack([resampled_aucs(of_model, weights) for of_model in rankings])

    def values(weights: Weights) -> dict[str, Floats]:
        in_bag, out_of_bag = aucs(weights), aucs((weights == 0).astype(np.int32))
        defined = np.isfinite(in_bag).all(axis=0)
        best = np.argmax(np.where(defined, in_bag, 0), axis=0)
        return {"auc": np.where(defined, out_of_bag[best, np.arange(best.size)], np.nan)}

    draws = bootstrap_values(values, rows, resampling)["auc"]
    return float(np.nanmean(draws)) if np.isfinite(draws).mean() >= 0.5 else np.nan


def subset_auc_test(rows: LabelledRows, prob: ArrayLike, subsets: Subsets, confidence: float = 0.95) -> PairedTest:
    """Compare the AUCs of one score in two sets of rows that may share patients, even rows: b - a.

    prob: (n,) finite. The sets are not independent: the variance is Obuchowski's (Biometrics 1997) of each set less
    twice their covariance, in which a patient's rows in either set are summed first. Limits and p are of Student's t
    with the fewest patients of a class in a set, less one, as degrees of freedom: a variance learnt from few patients
    is itself uncertain. nan where a set lacks a class, has one from fewer than two patients (also in one of the groups
    that are used), or ranks all pairs alike. ValueError for wrong input.
    """
    sets = np.stack([discrimination.binary(subsets.a, "a"), discrimination.binary(subsets.b, "b")])
    if sets.shape[1] != rows.n:
        raise ValueError(f"a and b have {sets.shape[1]} rows but there are {rows.n} labels; give one per row")
    score = discrimination.finite(prob, rows.n)
    check_confidence(confidence)
    either = np.flatnonzero(sets.any(axis=0))
    # An empty set has no AUC, which a sum over no group would miss.
    aucs = np.where(sets.any(axis=1), 0.0, np.nan)
    covariance, freedom = np.zeros((2, 2)), np.zeros((2, 2))
    for used in (np.intersect1d(stratum, either) for stratum in rows.strata):
        if not used.size:
            continue
        positive, patient = rows.positive[used], rows.patient[used]
        share = ratio(sets[:, used].sum(axis=1), sets.sum(axis=1))
        values, spread = _subset_delong(positive, score[used], sets[:, used], patient)
        aucs += share * values
        covariance += np.outer(share, share) * spread
        freedom += _class_patients(positive, sets[:, used], patient) - 1
    if not np.all(np.diag(covariance) > NO_SPREAD**2):
        covariance = np.full((2, 2), np.nan)
    return PairedTest(
        *_student(float(aucs[1] - aucs[0]), covariance, float(freedom.min()), confidence),
        either.size,
        np.unique(rows.patient[either]).size,
    )


def holm(p_values: ArrayLike) -> Floats:
    """Return p-values (tests,) adjusted for the number of tests, so that the family-wise error holds.

    A test that was not estimable (nan) stays nan and does not count. ValueError for a p outside 0-1.
    Holm, Scand J Stat 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or np.any((p < 0) | (p > 1)):
        raise ValueError(f"p_values are {p_values!r}; expected one dimension of values from 0 to 1, or nan")
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.sum(~np.isnan(p))]
    stepped = p[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted


def _score_table(probs: Iterable[ArrayLike], n: int) -> Floats:
    return np.stack([discrimination.finite(prob, n, f"probs[{model}]") for model, prob in enumerate(probs)])


def _placements(positive: Mask, probs: Floats) -> tuple[Floats, Floats]:
    """Return AUCs (models,) and each row's placement in the other class, less the AUC (models, n)."""
    if positive.all() or not positive.any():
        return np.full(len(probs), np.nan), np.full(probs.shape, np.nan)
    place = rankdata(probs, axis=1)
    for rows in (positive, ~positive):
        place[:, rows] -= rankdata(probs[:, rows], axis=1)
    place /= np.where(positive, np.sum(~positive), np.sum(positive))
    place[:, ~positive] = 1 - place[:, ~positive]
    aucs = place[:, positive].mean(axis=1)
    return aucs, place - aucs[:, None]


def _covariance(positive: Mask, deviation: Floats, patient: Integers) -> Floats:
    """Return the covariance (models, models) from placements summed per patient (Obuchowski 1997)."""
    models, n_patients = len(deviation), int(patient.max(initial=-1)) + 1
    malignant, benign = (np.zeros((n_patients, models)) for _ in range(2))
    for sums, rows in ((malignant, positive), (benign, ~positive)):
        np.add.at(sums, patient[rows], deviation[:, rows].T)
        sums /= max(1, rows.sum())
    patients = [np.unique(patient[rows]).size for rows in (positive, ~positive, positive | ~positive)]
    if min(patients) < 2:
        return np.full((models, models), np.nan)
    of_malignant, of_benign, of_all = (count / (count - 1) for count in patients)
    cross = malignant.T @ benign
    covariance: Floats = (
        of_malignant * malignant.T @ malignant + of_benign * benign.T @ benign + of_all * (cross + cross.T)
    )
    return covariance


def auc_difference(rows: LabelledRows, scores: Floats) -> tuple[float, float]:
    """Return the AUC of scores[1] less that of scores[0], averaged over groups by rows, and its variance.

    The variance is that of the difference of placements: exactly 0 for equal rankings, unlike a sum of
    covariances.
    """
    difference = variance = 0.0
    for stratum in rows.strata:
        share, positive = stratum.size / max(1, rows.n), rows.positive[stratum]
        aucs, deviation = _placements(positive, scores[:, stratum])
        difference += share * float(aucs[1] - aucs[0])
        spread = _covariance(positive, np.diff(deviation, axis=0), rows.patient[stratum])
        variance += share**2 * float(spread[0, 0])
    return difference, variance


def _two_sided(difference: float, variance: float) -> float:
    if variance > NO_SPREAD**2:
        return float(2 * norm.sf(abs(difference) / np.sqrt(variance)))
    return 1.0 if abs(difference) < NO_SPREAD and not np.isnan(variance) else np.nan


def _subset_delong(positive: Mask, score: Floats, sets: Mask, patient: Integers) -> tuple[Floats, Floats]:
    """Return AUCs (sets,) and their covariance (sets, sets); sets: (sets, n)."""
    aucs, variances = np.full(len(sets), np.nan), np.full(len(sets), np.nan)
    deviation = np.zeros(sets.shape)
    for number, inside in enumerate(sets):
        (aucs[number],), (placement,) = _placements(positive[inside], score[np.newaxis, inside])
        variances[number] = _covariance(positive[inside], placement[np.newaxis], patient[inside])[0, 0]
        deviation[number, inside] = placement
        for rows in (positive, ~positive):
            # `_covariance` averages over all rows of a class; this set has only some of them.
            deviation[number, rows] *= rows.sum() / max(1, np.sum(rows & inside))
    covariance = _covariance(positive, deviation, patient)
    # Of each set alone: its smaller number of patients corrects its variance.
    np.fill_diagonal(covariance, variances)
    return aucs, covariance


def _class_patients(positive: Mask, sets: Mask, patient: Integers) -> Floats:
    """Return how many patients each class (column) of each set (row) comes from, (sets, 2)."""
    return np.array(
        [[np.unique(patient[rows & inside]).size for rows in (positive, ~positive)] for inside in sets], np.float64
    )


def _student(
    difference: float, covariance: Floats, freedom: float, confidence: float
) -> tuple[float, float, float, float]:
    """Return difference, its limits and two-sided p; nan where the variance is 0 or unknown."""
    variance = float(covariance.trace() - covariance[0, 1] - covariance[1, 0])
    if not (variance > NO_SPREAD**2 and freedom >= 1):
        return difference, np.nan, np.nan, np.nan
    error = np.sqrt(variance)
    margin = float(t.ppf((1 + confidence) / 2, freedom) * error)
    p_value = float(2 * t.sf(abs(difference) / error, freedom))
    return difference, difference - margin, difference + margin, p_value
