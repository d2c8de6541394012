"""DeLong's variance of AUCs, clustered by patient, and the paired tests built on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata, t

from mammo.metrics import discrimination
from mammo.metrics.bootstrap import (
    NO_SPREAD,
    Integers,
    Interval,
    Weights,
    _auc_of_counts,
    _bootstrap,
    _check_confidence,
    _check_resamples,
    _members,
    _over_groups,
    _patient_strata,
    _percentiles,
    _rank,
    _roc_counts,
    _strata,
)
from mammo.metrics.discrimination import Floats, Mask, ratio


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


def delong(label: ArrayLike, probs: ArrayLike) -> tuple[Floats, Floats]:
    """Return AUCs (models,) and their covariance (models, models), taking each row as independent.

    label: (n,) 0/1; probs: (models, n) finite. nan without both classes; the covariance also with one row of
    a class. DeLong et al., Biometrics 1988, by midranks in O(n log n): Sun & Xu, IEEE Signal Process Lett
    2014.
    """
    positive = discrimination.binary(label)
    return _delong(positive, _score_table(probs, positive.size), _members(None, positive.size)[0])


def clustered_delong(label: ArrayLike, probs: ArrayLike, patient_id: ArrayLike) -> tuple[Floats, Floats]:
    """Return what `delong` returns, with rows of one patient correlated; equal to it at one row per patient.

    patient_id: (n,). The covariance needs both classes, each from two patients, else nan. Obuchowski,
    Biometrics 1997.
    """
    positive = discrimination.binary(label)
    return _delong(positive, _score_table(probs, positive.size), _members(patient_id, positive.size)[0])


def delong_interval(
    label: ArrayLike,
    prob: ArrayLike,
    patient_id: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    group: ArrayLike | None = None,
) -> Interval:
    """Return the AUC with limits from its DeLong variance on the logit scale, which keeps them within 0-1.

    Clustered when patient_id (n,) is given, else each row counts as a patient. group: (n,) folds, as in
    `clustered_intervals`; a patient lies in one group. The limits are nan where the variance is 0 or cannot be
    had, so for an AUC of 0 or 1. ValueError for wrong input.
    Pepe, The Statistical Evaluation of Medical Tests for Classification and Prediction, 2003.
    """
    positive = discrimination.binary(label)
    _check_confidence(confidence)
    probs = _score_table([prob], positive.size)
    member, n_patients = _members(patient_id, positive.size)
    value = variance = 0.0
    for rows in _patient_strata(group, member, n_patients):
        share = rows.size / max(1, positive.size)
        (auc,), ((spread,),) = _delong(positive[rows], probs[:, rows], member[rows])
        value += share * float(auc)
        variance += share**2 * float(spread)
    low = high = np.nan
    if variance > NO_SPREAD**2 and 0 < value < 1:
        centre = np.log(value / (1 - value))
        margin = norm.ppf((1 + confidence) / 2) * np.sqrt(variance) / (value * (1 - value))
        low, high = (float(1 / (1 + np.exp(-limit))) for limit in (centre - margin, centre + margin))
    return Interval(value, low, high, positive.size, n_patients)


def delong_test(
    label: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    patient_id: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
) -> PairedTest:
    """Compare the AUCs of scores a and b (n,) on the same rows: z-test and normal limits for b - a.

    Clustered when patient_id (n,) is given, else each row counts as a patient. p is 1 for no difference, nan
    for a difference without variance; ValueError for wrong input.
    """
    positive = discrimination.binary(label)
    _check_confidence(confidence)
    member, n_patients = _members(patient_id, positive.size)
    probs = _score_table([a, b], positive.size)
    difference, variance = _auc_difference(positive, probs, member, _strata(None, positive.size))
    margin = norm.ppf((1 + confidence) / 2) * np.sqrt(variance) if variance > NO_SPREAD**2 else np.nan
    p_value = _two_sided(difference, variance)
    return PairedTest(difference, difference - margin, difference + margin, p_value, positive.size, n_patients)


def _score_table(probs: Any, n: int) -> Floats:
    return np.stack([discrimination.finite(prob, n, f"probs[{model}]") for model, prob in enumerate(probs)])


def _delong(positive: Mask, probs: Floats, member: Integers) -> tuple[Floats, Floats]:
    aucs, deviation = _placements(positive, probs)
    return aucs, _covariance(positive, deviation, member)


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


def _covariance(positive: Mask, deviation: Floats, member: Integers) -> Floats:
    """Return the covariance (models, models) from placements summed per patient (Obuchowski 1997)."""
    models, n_patients = len(deviation), int(member.max(initial=-1)) + 1
    malignant, benign = (np.zeros((n_patients, models)) for _ in range(2))
    for sums, rows in ((malignant, positive), (benign, ~positive)):
        np.add.at(sums, member[rows], deviation[:, rows].T)
        sums /= max(1, rows.sum())
    patients = [np.unique(member[rows]).size for rows in (positive, ~positive, positive | ~positive)]
    if min(patients) < 2:
        return np.full((models, models), np.nan)
    of_malignant, of_benign, of_all = (count / (count - 1) for count in patients)
    cross = malignant.T @ benign
    covariance: Floats = (
        of_malignant * malignant.T @ malignant + of_benign * benign.T @ benign + of_all * (cross + cross.T)
    )
    return covariance


def _auc_difference(positive: Mask, probs: Floats, member: Integers, strata: list[Integers]) -> tuple[float, float]:
    """Return the AUC of probs[1] less that of probs[0], averaged over strata by rows, and its variance.

    The variance is that of the difference of placements: exactly 0 for equal rankings, unlike a sum of
    covariances.
    """
    difference = variance = 0.0
    for rows in strata:
        share = rows.size / max(1, positive.size)
        aucs, deviation = _placements(positive[rows], probs[:, rows])
        difference += share * float(aucs[1] - aucs[0])
        variance += share**2 * float(_covariance(positive[rows], np.diff(deviation, axis=0), member[rows])[0, 0])
    return difference, variance


def _two_sided(difference: float, variance: float) -> float:
    if variance > NO_SPREAD**2:
        return float(2 * norm.sf(abs(difference) / np.sqrt(variance)))
    return 1.0 if abs(difference) < NO_SPREAD and not np.isnan(variance) else np.nan


def paired_auc_test(
    label: ArrayLike,
    prob_a: ArrayLike,
    prob_b: ArrayLike,
    patient_id: ArrayLike,
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
    group: ArrayLike | None = None,
) -> PairedTest:
    """Compare two models' AUCs on the same rows: b - a, bootstrap limits by patient, DeLong p-value.

    label (n,) 0/1; prob_a, prob_b (n,) finite; patient_id (n,). group: (n,) folds, as in
    `clustered_intervals`; a patient lies in one group. The limits are percentiles of the difference when
    patients, with both models' scores, are resampled. The p-value is that of the z-test with Obuchowski's
    variance: it has no floor at 1/resamples and no Monte Carlo noise, so that it survives `holm`. Near
    significance the two may disagree by a hair. nan where not estimable; p is 1 for no difference at all.
    ValueError for wrong input.
    """
    positive = discrimination.binary(label)
    probs = _score_table([prob_a, prob_b], positive.size)
    member, n_patients = _members(patient_id, positive.size)
    _check_resamples(resamples)
    _check_confidence(confidence)
    strata = _patient_strata(group, member, n_patients)
    rankings_a, rankings_b = ([_rank(positive, score, rows) for rows in strata] for score in probs)

    def values(weights: Weights) -> dict[str, Floats]:
        a, b = (
            _over_groups(_auc_of_counts, [_roc_counts(ranking, weights) for ranking in rankings])
            for rankings in (rankings_a, rankings_b)
        )
        return {"difference": b - a}

    draws = _bootstrap(values, member, n_patients, resamples, seed)
    low, high = _percentiles(draws["difference"], confidence)
    difference, variance = _auc_difference(positive, probs, member, strata)
    return PairedTest(difference, low, high, _two_sided(difference, variance), positive.size, n_patients)


def chosen_auc(
    label: ArrayLike,
    probs: ArrayLike,
    patient_id: ArrayLike,
    *,
    resamples: int,
    seed: int,
    group: ArrayLike | None = None,
) -> float:
    """Return the AUC to expect of the best of several models, when it was chosen on these very rows.

    probs: (models, n). The highest of many AUCs is partly the luckiest. So the best is chosen on each resample of
    the patients, and scored on the patients who were not drawn. Returned is the mean over the resamples that have
    both classes on both sides; nan where fewer than half have. group: (n,) folds, as in `clustered_intervals`.
    ValueError for wrong input.
    Tsamardinos, Greasidou & Borboudakis, Machine Learning 107, 1895-1922, 2018 (BBC-CV).
    """
    positive = discrimination.binary(label)
    scores = _score_table(probs, positive.size)
    member, n_patients = _members(patient_id, positive.size)
    strata = _patient_strata(group, member, n_patients)
    rankings = [[_rank(positive, score, rows) for rows in strata] for score in scores]

    def aucs(weights: Weights) -> Floats:
        return np.stack(
            [_over_groups(_auc_of_counts, [_roc_counts(ranking, weights) for ranking in one]) for one in rankings]
        )

    def values(weights: Weights) -> dict[str, Floats]:
        drawn, others = aucs(weights), aucs((weights == 0).astype(np.int32))
        defined = np.isfinite(drawn).all(axis=0)
        best = np.argmax(np.where(defined, drawn, 0), axis=0)
        return {"auc": np.where(defined, others[best, np.arange(best.size)], np.nan)}

    draws = _bootstrap(values, member, n_patients, resamples, seed)["auc"]
    return float(np.nanmean(draws)) if np.isfinite(draws).mean() >= 0.5 else np.nan


def subset_auc_test(
    label: ArrayLike,
    prob: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    patient_id: ArrayLike,
    *,
    confidence: float = 0.95,
    group: ArrayLike | None = None,
) -> PairedTest:
    """Compare the AUCs of one score in two sets of rows that may share patients, even rows: b - a.

    label, a, b: (n,) 0/1, a and b saying which rows are in the set; prob: (n,) finite; patient_id: (n,). group:
    (n,) folds, as in `clustered_intervals`. The sets are not independent: the variance is Obuchowski's
    (Biometrics 1997) of each set less twice their covariance, in which a patient's rows in either set are
    summed first. Limits and p are of Student's t with the fewest patients of a class in a set, less one, as
    degrees of freedom: a variance learnt from few patients is itself uncertain. nan where a set lacks a class,
    has one from fewer than two patients (also in one of the groups that are used), or ranks all pairs alike.
    ValueError for wrong input.
    """
    positive = discrimination.binary(label)
    sets = np.stack([discrimination.binary(a, "a"), discrimination.binary(b, "b")])
    if sets.shape[1] != positive.size:
        raise ValueError(f"a and b have {sets.shape[1]} rows but there are {positive.size} labels; give one per row")
    score = discrimination.finite(prob, positive.size)
    _check_confidence(confidence)
    member, n_patients = _members(patient_id, positive.size)
    either = np.flatnonzero(sets.any(axis=0))
    # An empty set has no AUC, which a sum over no group would miss.
    aucs = np.where(sets.any(axis=1), 0.0, np.nan)
    covariance, freedom = np.zeros((2, 2)), np.zeros((2, 2))
    for used in (np.intersect1d(rows, either) for rows in _patient_strata(group, member, n_patients)):
        if not used.size:
            continue
        share = ratio(sets[:, used].sum(axis=1), sets.sum(axis=1))
        values, spread = _subset_delong(positive[used], score[used], sets[:, used], member[used])
        aucs += share * values
        covariance += np.outer(share, share) * spread
        freedom += _class_patients(positive[used], sets[:, used], member[used]) - 1
    if not np.all(np.diag(covariance) > NO_SPREAD**2):
        covariance = np.full((2, 2), np.nan)
    return PairedTest(
        *_student(float(aucs[1] - aucs[0]), covariance, float(freedom.min()), confidence),
        either.size,
        np.unique(member[either]).size,
    )


def _subset_delong(positive: Mask, score: Floats, sets: Mask, member: Integers) -> tuple[Floats, Floats]:
    """Return AUCs (sets,) and their covariance (sets, sets); sets: (sets, n)."""
    aucs, variances = np.full(len(sets), np.nan), np.full(len(sets), np.nan)
    deviation = np.zeros(sets.shape)
    for one, inside in enumerate(sets):
        aucs[one : one + 1], own = _placements(positive[inside], score[np.newaxis, inside])
        variances[one] = _covariance(positive[inside], own, member[inside])[0, 0]
        deviation[one, inside] = own[0]
        for rows in (positive, ~positive):
            # `_covariance` averages over all rows of a class; this set has only some of them.
            deviation[one, rows] *= rows.sum() / max(1, np.sum(rows & inside))
    covariance = _covariance(positive, deviation, member)
    # Of each set alone: its own, smaller number of patients corrects its variance.
    np.fill_diagonal(covariance, variances)
    return aucs, covariance


def _class_patients(positive: Mask, sets: Mask, member: Integers) -> Floats:
    """Return how many patients each class (column) of each set (row) comes from, (sets, 2)."""
    return np.array(
        [[np.unique(member[rows & inside]).size for rows in (positive, ~positive)] for inside in sets], np.float64
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
