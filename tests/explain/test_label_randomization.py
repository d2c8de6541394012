"""Maps of retrained models: a method that hangs on the labels passes, one that hangs on something else fails."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from mammo.data.samples import Samples
from mammo.explain import label_randomization
from mammo.metrics.resampling import Resampling
from tests import arrays

HOW = Resampling(200, seed=0)
PATIENTS = np.array([f"P{number // 2}" for number in range(20)], object)
Maps = npt.NDArray[np.float32]


def noise(seed: int, shape: tuple[int, ...] = (20, 8, 8)) -> Maps:
    return np.random.default_rng(seed).random(shape, np.float32)


def verdicts(maps: Maps, labels: Maps, seeds: list[Maps]) -> dict[str, str]:
    rows = label_randomization.correlate_maps(maps, labels, seeds, PATIENTS).assign(patient_id=PATIENTS)
    return label_randomization.check_agreement(rows, HOW).set_index("check")["verdict"].to_dict()


def test_maps_of_the_lesion_pass():
    lesion = noise(0)
    found = verdicts(lesion, noise(1), [lesion + 0.2 * noise(2), lesion + 0.2 * noise(3)])
    assert found == {"labels": "passed", "teaching": "passed", "seeds": "passed"}


def test_maps_that_show_the_image_whatever_was_taught_do_not_pass():
    edges = noise(0)
    assert verdicts(edges, edges, [edges, edges]) == {"labels": "failed", "teaching": "undecided", "seeds": "passed"}


def test_maps_that_are_more_like_those_of_permuted_labels_than_of_another_seed_fail():
    maps = noise(0)
    assert verdicts(maps, maps + noise(1), [maps + 9 * noise(2)])["teaching"] == "failed"


def test_maps_whose_pattern_is_the_models_own_fail_the_seeds():
    patterns = [np.broadcast_to(noise(seed, (1, 8, 8)), (20, 8, 8)) for seed in (7, 8)]
    of_model, of_another_seed = (pattern + 0.1 * noise(seed) for seed, pattern in enumerate(patterns))
    assert verdicts(of_model, noise(3), [of_another_seed])["seeds"] == "failed"


def test_without_a_map_to_tell_by_nothing_is_decided():
    even = np.zeros((20, 8, 8), np.float32)
    assert set(verdicts(noise(0), even, [even]).values()) == {"undecided"}
    assert verdicts(noise(0), noise(1), [])["seeds"] == "undecided"


def test_the_summary_holds_the_paired_differences():
    lesion = noise(0)
    labels = noise(1)
    labels[3] = 0  # even: this sample tells nothing of the labels
    rows = label_randomization.correlate_maps(lesion, labels, [lesion], PATIENTS).assign(patient_id=PATIENTS)
    found = label_randomization.summarize_agreement(rows, HOW).set_index("comparison")
    assert found.loc["seeds", "mean"] == pytest.approx(1)
    assert found.loc["seeds - labels", "mean"] == pytest.approx(1 - rows["labels"].mean())
    assert (found.loc["seeds - labels", "n"], found.loc["seeds - samples", "n"]) == (19, 20)


def test_labels_are_permuted_among_training_rows_alone():
    index = arrays.index()
    samples = Samples(index, np.zeros((len(index), 2, 2), np.uint8))
    first, again, other = (label_randomization.permute_labels(samples, seed).index for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    training = index["split"] == "train"
    pd.testing.assert_frame_equal(first[~training], index[~training])
    assert first.loc[training, "label"].sum() == index.loc[training, "label"].sum()
    moved = (first["label"] != index["label"]).sum()
    assert moved > 0.2 * training.sum()
    assert list(first["label"]) != list(other["label"])
    pd.testing.assert_frame_equal(samples.index, arrays.index())
