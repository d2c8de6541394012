"""Means with limits by patient: by hand, against the known spread of a mean, and where there is nothing to resample."""

import numpy as np
import pytest
from scipy.stats import norm

from mammo.metrics.clustered_means import clustered_means
from mammo.metrics.resampling import Resampling

HOW = Resampling(2000, seed=0)


def test_rows_with_a_nan_count_for_no_column():
    result = clustered_means([[1, 5], [3, np.nan], [5, 7]], ["a", "b", "c"], HOW)
    assert list(result.mean) == [3, 6]
    assert (result.n, result.n_patients) == (2, 2)


def test_limits_are_those_of_the_mean_of_many_independent_patients():
    values = np.random.default_rng(1).normal(2, 3, 400)
    row = clustered_means(values, np.arange(400), HOW).row()
    margin = norm.ppf(0.975) * values.std() / np.sqrt(400)
    assert row["low"] == pytest.approx(values.mean() - margin, abs=0.05)
    assert row["high"] == pytest.approx(values.mean() + margin, abs=0.05)


def test_copies_of_a_patients_sample_add_nothing():
    values = np.random.default_rng(1).normal(size=50)
    once = clustered_means(values, np.arange(50), HOW)
    thrice = clustered_means(np.repeat(values, 3), np.repeat(np.arange(50), 3), HOW)
    assert thrice.row() | {"n": 50} == pytest.approx(once.row())


@pytest.mark.parametrize(("values", "patients"), [([1, 2], ["a", "a"]), ([2, 2], ["a", "b"]), ([np.nan], ["a"])])
def test_without_two_patients_who_differ_there_are_no_limits(values, patients):
    result = clustered_means(values, patients, HOW)
    assert np.isnan([result.low[0], result.high[0]]).all()
    assert np.isnan(result.mean[0]) == bool(np.isnan(values).all())
