"""Two recipes are compared with the variance of another training: by simulation, and by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from mammo.metrics.auc_tests import auc_difference, delong_interval
from mammo.metrics.resampling import LabelledRows
from mammo.metrics.retraining import compare_recipes

N = 200
LABEL = np.random.default_rng(0).permutation(np.arange(N) % 2)


Floats = npt.NDArray[np.float64]


def members(rng: np.random.Generator, count: int, signal: Floats, luck: float) -> Floats:
    """Return scores (count, n) of trainings that catch the signal by chance more or less well."""
    strength = 1 + luck * rng.normal(size=(count, 1))
    return 1 / (1 + np.exp(-(strength * signal + 0.5 * rng.normal(size=(count, N)))))


def test_the_variance_is_the_patients_and_each_sides_of_its_members() -> None:
    rng = np.random.default_rng(1)
    signal = LABEL - 0.5 + rng.normal(size=N)
    a, b = members(rng, 3, signal, 0.5), members(rng, 4, signal, 0.5)
    rows = LabelledRows(LABEL, np.arange(N))
    difference, of_patients = auc_difference(rows, np.stack([a.mean(axis=0), b.mean(axis=0)]))
    of_members = [np.var([delong_interval(rows, prob).value for prob in part], ddof=1) / len(part) for part in (a, b)]
    test = compare_recipes(rows, a, b)
    assert test.difference == pytest.approx(difference)
    spread = (test.high - test.low) / 2
    assert spread > 1.96 * np.sqrt(of_patients + sum(of_members))
    assert (test.low + test.high) / 2 == pytest.approx(difference)


def test_two_trainings_of_one_recipe_differ_by_chance_and_are_not_told_apart() -> None:
    """On one fixed test set: a test that counts patients alone calls a third of such pairs different."""
    rng = np.random.default_rng(2)
    rows = LabelledRows(LABEL, np.arange(N))
    signal, other = (LABEL - 0.5) * 1.2 + rng.normal(size=N), (LABEL - 0.5) * 1.2 + rng.normal(size=N)

    def recipe() -> npt.NDArray[np.float64]:
        share = 0.5 + 0.35 * rng.normal(size=(3, 1))
        return 1 / (1 + np.exp(-(share * signal + (1 - share) * other + 0.2 * rng.normal(size=(3, N)))))

    trials = [compare_recipes(rows, recipe(), recipe()) for _ in range(200)]
    assert np.mean([trial.p_value < 0.05 for trial in trials]) <= 0.08
    assert np.mean([trial.low <= 0 <= trial.high for trial in trials]) >= 0.92


def test_a_recipe_that_is_better_whenever_it_is_trained_is_told_apart() -> None:
    rng = np.random.default_rng(3)
    weak, strong = (gap * (LABEL - 0.5) + rng.normal(size=N) for gap in (0.5, 2.5))
    test = compare_recipes(LabelledRows(LABEL, np.arange(N)), members(rng, 5, weak, 0.1), members(rng, 5, strong, 0.1))
    assert test.p_value < 0.001
    assert test.low > 0


def test_one_training_tells_nothing_of_another() -> None:
    prob = np.linspace(0, 1, N)[np.newaxis]
    with pytest.raises(ValueError, match="1 and 2 members; the variance of retraining needs two or more"):
        compare_recipes(LabelledRows(LABEL, np.arange(N)), prob, np.repeat(prob, 2, axis=0))
