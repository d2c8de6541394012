"""Which samples the stage gradcam shows."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo import params, saliency
from mammo.errors import InputError
from stages import gradcam

OUTCOMES = list(gradcam.OUTCOMES.values())


def samples(outcomes: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": [f"P_{number}" for number in range(len(outcomes))], "outcome": outcomes})


@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 99))
def test_mixed_shows_every_outcome_alike_while_there_are_any(outcomes, count, seed):
    rows = samples(outcomes)
    chosen = gradcam.choose(rows, "mixed", count, seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(rows))
    assert list(chosen) == sorted(chosen)
    shown = rows["outcome"].iloc[chosen].value_counts()
    left = rows["outcome"].value_counts().sub(shown, fill_value=0)
    unused = [shown.get(name, 0) for name in left.index[left > 0]]
    assert not unused or shown.max() <= min(unused) + 1


def test_random_depends_on_the_seed_alone():
    rows = samples(OUTCOMES * 10)
    first, again, other = (gradcam.choose(rows, "random", 8, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert list(first) != list(other)


def test_samples_may_be_named():
    assert list(gradcam.choose(samples(OUTCOMES), ["P_2", "P_0"], 1, 0)) == [0, 2]
    with pytest.raises(InputError, match=r"no test sample is named P_9; there are e\.g\. P_0"):
        gradcam.choose(samples(OUTCOMES), ["P_9"], 1, 0)


def test_params_know_every_method():
    assert set(get_args(params.SaliencyMethod)) == set(saliency.METHODS)
