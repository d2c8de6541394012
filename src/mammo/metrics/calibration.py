"""Measures of calibration, and calibrators: label (n,) 0/1, prob (n,) 0-1.

Calibrators are fitted on validation rows and judged on test rows. What cannot be estimated is nan, never a
number that a tolerance has chosen; input that is wrong raises a ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit
from scipy.stats import norm, rankdata
from scipy.stats import t as student
from sklearn.isotonic import IsotonicRegression

from mammo.core.errors import InputError
from mammo.metrics import classification, discrimination
from mammo.metrics.discrimination import Floats, Mask, ratio
from mammo.metrics.resampling import Integers, Interval, LabelledRows, check_confidence

Calibrator = Callable[[ArrayLike], Floats]

# The logit of a certain score is infinite; a fit sees it as one in a million, so that one wrong row weighs finitely.
PROB_FLOOR = 1e-6
# Logits closer than this differ by rounding alone: there is nothing to learn a slope from.
NO_SPREAD = 1e-9
SUMMARY_COLUMNS = [
    "ece", "brier", "reliability", "resolution", "uncertainty",
    "slope", "slope_low", "slope_high", "intercept", "intercept_low", "intercept_high", "n",
]  # fmt: skip
NEWTON_STEPS = 100
NEWTON_HALVINGS = 60
STEP_TOLERANCE = 1e-10
# Near the optimum a step changes the loss by less than its rounding.
LOSS_ROUNDING = 1e-12


@dataclass(frozen=True)
class ReliabilityCurve:
    """Mean probability and share of malignant rows per bin, from the lowest probabilities up; arrays (bins,).

    share: malignant rows of the bin / its rows, with limits `low` and `high`.
    """

    mean_prob: Floats
    share: Floats
    low: Floats
    high: Floats
    n: Integers


@dataclass(frozen=True)
class BrierDecomposition:
    """brier = reliability - resolution + uncertainty, to rounding; `within_bins` is already in `resolution`.

    Murphy's resolution is resolution + within_bins.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float


@dataclass(frozen=True)
class Recalibration:
    """Slope (1 is right; below: too extreme) and intercept (0 is right; below: too high) on the logit scale."""

    slope: Interval
    intercept: Interval


def labelled(label: ArrayLike, prob: ArrayLike) -> tuple[Mask, Floats]:
    """Return label (n,) as booleans and prob (n,) as floats; ValueError for anything but 0/1 and 0-1."""
    positive = discrimination.binary(label)
    return positive, probabilities(prob, positive.size)


def probabilities(prob: ArrayLike, n: int) -> Floats:
    """Return n probabilities as floats; ValueError for another length, NaN or a value outside 0-1."""
    score = discrimination.finite(prob, n)
    outside = (score < 0) | (score > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"prob is {score[row]} at row {row}; a probability is 0-1: map scores to it first")
    return score


def reliability_curve(
    label: ArrayLike,
    prob: ArrayLike,
    patient_id: ArrayLike | None = None,
    *,
    bins: int = 10,
    confidence: float = 0.95,
) -> ReliabilityCurve:
    """Compare predicted and observed shares in bins of equal count, with Wilson limits (JASA 1927).

    Equal counts, because a network's scores crowd: bins of equal width would leave some with a handful of
    rows, whose noise then dominates; bins of equal mass also bias the ECE less (Roelofs et al., AISTATS
    2022). Equal probabilities share a bin, so that the order of rows does not matter; therefore fewer than
    `bins` bins come back when there are few distinct values or rows.
    patient_id: (n,). When given, the trials behind a bin's limits are its patients, not its rows: as in
    `resampling`, rows of one patient are taken to say the same, which is the careful side.
    ValueError for wrong input.
    """
    positive, score = labelled(label, prob)
    bin_of_row = _bins(score, bins)
    n = np.bincount(bin_of_row)
    share = ratio(np.bincount(bin_of_row, positive), n)
    member = LabelledRows(positive, patient_id).patient
    trials = np.bincount(np.unique(np.stack([bin_of_row, member]), axis=1)[0])
    mean_prob = ratio(np.bincount(bin_of_row, score), n)
    return ReliabilityCurve(mean_prob, share, *wilson(share, trials, confidence), n)


def _bins(score: Floats, bins: int) -> Integers:
    """Return each row's bin (n,), numbered from 0 without a gap, by the middle rank of its probability."""
    if bins < 1:
        raise InputError(f"bins is {bins}; at least 1 is needed, usually 10")
    # Twice a middle rank is whole, so that the edges are exact.
    twice_rank = np.rint(2 * rankdata(score)).astype(np.intp)
    place = (twice_rank - 1) * bins // (2 * max(1, score.size))
    return np.unique(place, return_inverse=True)[1].astype(np.intp)


def wilson(share: ArrayLike, trials: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """Return the limits of shares (n,) of independent trials (n,) (Wilson, J Am Stat Assoc 1927)."""
    check_confidence(confidence)
    share, trials = np.asarray(share, np.float64), np.asarray(trials, np.float64)
    z = norm.ppf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    margin = z * np.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) / (1 + z**2 / trials)
    return np.clip(centre - margin, 0, 1), np.clip(centre + margin, 0, 1)


def expected_calibration_error(label: ArrayLike, prob: ArrayLike, *, bins: int = 10) -> float:
    """Return the mean distance of predicted and observed share over the bins of `reliability_curve`, by rows.

    Even perfect probabilities have an error above 0 here, the more so the fewer rows a bin holds: compare it
    at the same n and bins only. nan without rows; ValueError for wrong input. Naeini et al., AAAI 2015.
    """
    curve = reliability_curve(label, prob, bins=bins)
    return float(ratio(np.sum(curve.n * np.abs(curve.share - curve.mean_prob)), curve.n.sum()))


def brier_decomposition(label: ArrayLike, prob: ArrayLike, *, bins: int = 10) -> BrierDecomposition:
    """Split the Brier score over the bins of `reliability_curve` (Murphy, J Appl Meteorol 1973).

    Murphy's identity holds where a bin holds one probability. A bin of several adds their variance less
    twice their covariance with the label, `within_bins`; it is counted as resolution, because it is what the
    ranking inside bins gains or costs, and so the identity is exact at any binning (Stephenson et al.,
    Weather Forecast 2008). nan without rows; ValueError for wrong input.
    """
    positive, score = labelled(label, prob)
    curve = reliability_curve(label, prob, bins=bins)
    bin_of_row, weight, base = _bins(score, bins), ratio(curve.n, positive.size), ratio(positive.sum(), positive.size)
    off_prob, off_label = score - curve.mean_prob[bin_of_row], positive - curve.share[bin_of_row]
    within = float(ratio(np.sum(off_prob**2 - 2 * off_prob * off_label), positive.size))
    return BrierDecomposition(
        brier=classification.brier(positive, score),
        reliability=_mean(weight, (curve.mean_prob - curve.share) ** 2),
        resolution=_mean(weight, (curve.share - base) ** 2) - within,
        uncertainty=float(base * (1 - base)),
        within_bins=within,
    )


def _mean(weight: Floats, values: Floats) -> float:
    """Return the mean under weights (bins,) of sum 1; nan without a bin."""
    return float(np.sum(weight * values)) if weight.size else np.nan


def slope_and_intercept(
    label: ArrayLike, prob: ArrayLike, patient_id: ArrayLike | None = None, *, confidence: float = 0.95
) -> Recalibration:
    """Regress the label on logit(prob): the calibration slope, and the intercept with the slope held at 1.

    The intercept is calibration-in-the-large: one fitted beside a free slope would depend on it (Cox,
    Biometrika 1958; Van Calster et al., BMC Med 2019). Limits: the sandwich variance with scores summed per
    patient (Liang & Zeger, Biometrika 1986), times G/(G - 1), and Student's t with G - 1 degrees of freedom
    for G patients; without patient_id (n,) each row counts as one. A sandwich, because resamples of few
    patients are often separable, where a bootstrap has no slope.

    nan: both without both classes, or with a prob of exactly 0 or 1 (no finite logit, and a clipped one
    would let the clip choose the slope); the slope when constant or separating scores leave none; limits
    with fewer than two patients. ValueError for wrong input.
    """
    positive, score = labelled(label, prob)
    check_confidence(confidence)
    member = LabelledRows(positive, patient_id).patient
    certain = bool(np.any((score == 0) | (score == 1)))
    log_odds = logit(score)
    ones = np.ones((positive.size, 1))
    slope = intercept = Interval(np.nan, np.nan, np.nan, positive.size, _count(member))
    if not certain and _overlap(log_odds, positive):
        design = np.column_stack([log_odds, ones])
        slope = _coefficient(design, positive, np.zeros(positive.size), member, confidence)
    if not certain and _both_classes(positive):
        intercept = _coefficient(ones, positive, log_odds, member, confidence)
    return Recalibration(slope, intercept)


def _count(member: Integers) -> int:
    return int(member.max(initial=-1)) + 1


def _both_classes(positive: Mask) -> bool:
    return bool(positive.any() and not positive.all())


def _overlap(log_odds: Floats, positive: Mask) -> bool:
    """Say whether the classes' scores interleave, without which the slope is infinite or free.

    Albert & Anderson, Biometrika 1984.
    """
    if not _both_classes(positive):
        return False
    malignant, benign = log_odds[positive], log_odds[~positive]
    return bool(min(benign.max() - malignant.min(), malignant.max() - benign.min()) > NO_SPREAD)


def _coefficient(design: Floats, positive: Mask, offset: Floats, member: Integers, confidence: float) -> Interval:
    """Return the first coefficient of the logistic regression with its clustered limits."""
    coefficients = _logistic(design, positive.astype(np.float64), offset)
    if np.isnan(coefficients).any():
        return Interval(np.nan, np.nan, np.nan, positive.size, _count(member))
    prob = expit(offset + design @ coefficients)
    patients = _count(member)
    variance = _sandwich(design, prob, positive - prob, member)[0, 0] if patients > 1 else np.nan
    # Compared this way round, nan too has no limits.
    spread = np.sqrt(variance) if variance > NO_SPREAD**2 else np.nan
    margin = student.ppf((1 + confidence) / 2, max(1, patients - 1)) * spread
    value = float(coefficients[0])
    return Interval(value, float(value - margin), float(value + margin), positive.size, patients)


def _sandwich(design: Floats, prob: Floats, residual: Floats, member: Integers) -> Floats:
    """Return the covariance (k, k) of logistic coefficients with rows of one patient correlated."""
    patients = _count(member)
    score = np.zeros((patients, design.shape[1]))
    np.add.at(score, member, design * residual[:, None])
    bread = np.linalg.pinv(_information(design, prob))
    covariance: Floats = bread @ (score.T @ score * patients / (patients - 1)) @ bread
    return covariance


def _information(design: Floats, prob: Floats) -> Floats:
    information: Floats = (design.T * (prob * (1 - prob))) @ design
    return information


def _logistic(design: Floats, target: Floats, offset: Floats) -> Floats:
    """Return the coefficients (k,) of greatest likelihood by Newton's method; nan where it does not settle.

    design: (n, k) of full rank; target: (n,) 0-1; offset: (n,) finite.
    """

    def loss(trial: Floats) -> float:
        log_odds = offset + design @ trial
        # Written so that no large terms cancel where confident scores are right and the loss is tiny.
        return float(np.sum(target * np.logaddexp(0, -log_odds) + (1 - target) * np.logaddexp(0, log_odds)))

    coefficients = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        prob = expit(offset + design @ coefficients)
        step = np.linalg.pinv(_information(design, prob)) @ (design.T @ (target - prob))
        if np.max(np.abs(step)) <= STEP_TOLERANCE * (1 + np.max(np.abs(coefficients))):
            return coefficients + step
        coefficients = coefficients + step * _damping(loss, coefficients, step)
    return np.full(design.shape[1], np.nan)


def _damping(loss: Callable[[Floats], float], coefficients: Floats, step: Floats) -> float:
    """Return the largest of 1, 1/2, 1/4 ... at which the step does not raise the loss."""
    limit = loss(coefficients) * (1 + LOSS_ROUNDING)
    tries = (0.5**halving for halving in range(NEWTON_HALVINGS))
    return next((part for part in tries if loss(coefficients + part * step) <= limit), 0.5**NEWTON_HALVINGS)


def raw(label: ArrayLike, prob: ArrayLike) -> Calibrator:
    """Return the calibrator that leaves probabilities as they are."""
    labelled(label, prob)
    return lambda new_prob: probabilities(new_prob, np.size(new_prob))


def temperature(label: ArrayLike, prob: ArrayLike) -> Calibrator:
    """Divide the logit by one fitted number (Guo et al., ICML 2017); keeps the ranking and .5.

    label, prob: validation rows. The targets are Platt's (see `platt`), so that scores which separate the
    classes have a temperature too. Not estimable, so nan for any prob: a class missing, all at .5, or a
    temperature that would have to be infinite or negative because the scores point the wrong way.
    """
    positive, score = labelled(label, prob)
    if not _both_classes(positive):
        return _not_estimable
    return _scaled(float(_logistic(_clipped_logit(score)[:, None], _targets(positive), np.zeros(score.size))[0]), 0.0)


def platt(label: ArrayLike, prob: ArrayLike) -> Calibrator:
    """Scale and shift the logit by logistic regression (Platt 1999); keeps the ranking.

    label, prob: validation rows. Fitted to Platt's targets (n1 + 1)/(n1 + 2) and 1/(n0 + 2) for n1 malignant
    and n0 benign rows, which keeps the fit finite when the scores separate the classes. Not estimable, so
    nan for any prob: a class missing, constant scores, or a slope that is not positive. That slope would
    reverse the ranking, and a calibrator must not: such scores are worse than none, and their model is at
    fault.
    """
    return _scaled(*platt_line(label, prob))


def platt_line(label: ArrayLike, prob: ArrayLike) -> tuple[float, float]:
    """Return slope and shift of `platt` on the logit scale; nan where they are not estimable."""
    positive, score = labelled(label, prob)
    log_odds = _clipped_logit(score)
    if not _both_classes(positive) or np.ptp(log_odds) <= NO_SPREAD:
        return math.nan, math.nan
    slope, shift = _logistic(np.column_stack([log_odds, np.ones(score.size)]), _targets(positive), np.zeros(score.size))
    return (float(slope), float(shift)) if slope > NO_SPREAD else (math.nan, math.nan)


def isotonic(label: ArrayLike, prob: ArrayLike) -> Calibrator:
    """Fit the rising step function nearest to the labels (Zadrozny & Elkan, KDD 2002), joined by lines.

    label, prob: validation rows. Never reverses the ranking but makes ties, so that the AUC may change;
    overfits below about a thousand rows (Niculescu-Mizil & Caruana, ICML 2005). Bounded by Platt's targets
    (see `platt`), because a run of benign rows is no proof that a cancer is impossible. Constant scores
    become the share of malignant rows. Not estimable, so nan for any prob: a class missing.
    """
    positive, score = labelled(label, prob)
    if not _both_classes(positive):
        return _not_estimable
    lowest, highest = np.unique(_targets(positive))
    fitted = IsotonicRegression(y_min=lowest, y_max=highest, out_of_bounds="clip").fit(score, positive)
    return lambda new_prob: np.asarray(fitted.predict(probabilities(new_prob, np.size(new_prob))), np.float64)


def observed_risk(label: ArrayLike, prob: ArrayLike) -> Calibrator:
    """Return the calibrator from ranks to the share of malignant rows that was observed at each.

    label (n,), prob (n,): validation rows with few distinct scores, such as a reader's assessments, which are ranks and
    no risks. A rank's share counts one row of the overall share beside its own rows, so that no rank is certain.
    Between two ranks the line that joins them is read; beyond the outermost, that rank. It may change the order of
    ranks where the rows do. Constant scores become the overall share. nan for any prob without both classes.
    """
    positive, score = labelled(label, prob)
    if not _both_classes(positive):
        return _not_estimable
    ranks, place = np.unique(score, return_inverse=True)
    risk = (np.bincount(place, positive) + positive.mean()) / (np.bincount(place) + 1)
    return lambda new_prob: np.asarray(np.interp(probabilities(new_prob, np.size(new_prob)), ranks, risk), np.float64)


METHODS: dict[str, Callable[[ArrayLike, ArrayLike], Calibrator]] = {
    "raw": raw,
    "temperature": temperature,
    "platt": platt,
    "isotonic": isotonic,
}


def _targets(positive: Mask) -> Floats:
    malignant = int(positive.sum())
    benign = positive.size - malignant
    return np.where(positive, (malignant + 1) / (malignant + 2), 1 / (benign + 2))


def _clipped_logit(score: Floats) -> Floats:
    clipped: Floats = logit(np.clip(score, PROB_FLOOR, 1 - PROB_FLOOR))
    return clipped


def _scaled(slope: float, shift: float) -> Calibrator:
    """Map prob to expit(slope logit(prob) + shift), 0 and 1 to themselves; nan unless the slope is positive."""
    # Compared this way round, a slope of nan is not estimable either.
    if not slope > NO_SPREAD:
        return _not_estimable
    return lambda new_prob: np.asarray(
        expit(slope * logit(probabilities(new_prob, np.size(new_prob))) + shift), np.float64
    )


def _not_estimable(prob: ArrayLike) -> Floats:
    return np.full(np.size(prob), np.nan)


def summary(
    label: ArrayLike,
    prob: ArrayLike,
    patient_id: ArrayLike | None = None,
    *,
    bins: int = 10,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Return the calibration measures of one model on its test rows by column name, and n.

    label, prob, patient_id: (n,). All but n are nan where every prob is, as a calibrator that could not be
    fitted returns them; ValueError for a few nan and for other wrong input.
    """
    n = {"n": float(np.size(label))}
    if np.size(prob) and np.isnan(np.asarray(prob, np.float64)).all():
        # Without rows nothing is estimable: every column, and nan in it.
        return summary([], []) | n
    parts = brier_decomposition(label, prob, bins=bins)
    line = slope_and_intercept(label, prob, patient_id, confidence=confidence)
    return {
        "ece": expected_calibration_error(label, prob, bins=bins),
        "brier": parts.brier,
        "reliability": parts.reliability,
        "resolution": parts.resolution,
        "uncertainty": parts.uncertainty,
        "slope": line.slope.value,
        "slope_low": line.slope.low,
        "slope_high": line.slope.high,
        "intercept": line.intercept.value,
        "intercept_low": line.intercept.low,
        "intercept_high": line.intercept.high,
    } | n
