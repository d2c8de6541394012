"""Scores of maps against masks: by hand on tiny arrays, and baselines whose scores are known in closed form."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mammo.core.errors import InputError
from mammo.explain import localization
from mammo.explain.localization import METRICS
from mammo.metrics.resampling import Resampling

SIDE = 8
MASKS = arrays.arrays(np.uint8, (3, SIDE, SIDE), elements=st.integers(0, 1))
MAPS = arrays.arrays(np.float32, (3, SIDE, SIDE), elements=st.sampled_from([0, 0.05, 0.25, 0.5, 0.55, 1]))


def lesion(*pixels: tuple[int, int]) -> npt.NDArray[np.uint8]:
    mask = np.zeros((1, 4, 4), np.uint8)
    for pixel in pixels:
        mask[(0, *pixel)] = 1
    return mask


def heat(**levels: tuple[int, int]) -> npt.NDArray[np.float32]:
    """A map (1, 4, 4) with a value in hundredths at a pixel: p100=(0, 0) is 1 in the first corner."""
    found = np.zeros((1, 4, 4), np.float32)
    for level, pixel in levels.items():
        found[(0, *pixel)] = int(level[1:]) / 100
    return found


def test_scores_by_hand():
    mask = lesion((0, 0), (0, 1))
    row = localization.score_maps(heat(p100=(0, 0), p60=(0, 2), p40=(3, 3)), mask).iloc[0]
    assert row["pointing"] == 1
    assert row["energy"] == pytest.approx(0.5)
    assert row["iou"] == pytest.approx(1 / 3)  # (0, 0) and (0, 2) against (0, 0) and (0, 1)
    assert row["iou_best"] == pytest.approx(1 / 2)
    assert row["best_threshold"] == pytest.approx(0.65)
    assert row["distance_px"] == 0
    assert row["area_share"] == 2 / 16


def test_the_distance_is_that_to_the_nearest_lesion_pixel():
    row = localization.score_maps(heat(p100=(3, 0)), lesion((0, 0), (0, 3))).iloc[0]
    assert row["pointing"] == 0
    assert row["distance_px"] == pytest.approx(3)


def test_a_shared_maximum_counts_by_its_share():
    found = heat(p100=(0, 0)) + heat(p100=(3, 0))
    row = localization.score_maps(found, lesion((0, 0))).iloc[0]
    assert row["pointing"] == 0.5
    assert row["distance_px"] == pytest.approx(1.5)


def test_the_best_threshold_is_one_for_all_rows():
    maps = np.concatenate([heat(p100=(0, 0), p30=(0, 1)), heat(p100=(0, 0), p80=(0, 1))])
    rows = localization.score_maps(maps, np.concatenate([lesion((0, 0))] * 2))
    assert rows["best_threshold"].unique() == pytest.approx([0.85])
    assert list(rows["iou"]) == [1, 0.5]
    assert list(rows["iou_best"]) == [1, 1]


@given(MASKS)
def test_the_random_baseline_is_known_in_closed_form(masks):
    rows = localization.score_maps(np.ones(masks.shape, np.float32), masks)
    marked = rows[rows["empty_mask"] == 0]
    for metric in METRICS:
        np.testing.assert_array_equal(marked[metric], marked[f"{metric}_random"])
    for metric in ("pointing", "energy", "iou", "iou_best"):
        np.testing.assert_allclose(marked[metric], marked["area_share"])


@given(MAPS, MASKS)
def test_scores_stay_in_their_ranges_and_empty_rows_are_marked(maps, masks):
    rows = localization.score_maps(maps, masks)
    assert list(rows["empty_mask"] == 1) == [not mask.any() for mask in masks]
    assert list(rows["empty_map"] == 1) == [not found.any() for found in maps]
    scored, empty = rows[rows["empty_mask"] == 0], rows[rows["empty_mask"] == 1]
    assert empty[list(METRICS)].isna().all(axis=None)
    shares = scored[["pointing", "energy", "iou", "iou_best"]]
    assert ((shares >= 0) & (shares <= 1)).all(axis=None)
    assert (shares[scored["empty_map"] == 1] == 0).all(axis=None)
    assert (scored["distance_px"].isna() == (scored["empty_map"] == 1)).all()
    assert scored["iou_best"].sum() >= scored["iou"].sum() - 1e-9


@given(MASKS)
def test_a_map_that_is_the_mask_is_perfect(masks):
    rows = localization.score_maps(masks.astype(np.float32), masks).query("empty_mask == 0")
    assert (rows[["pointing", "energy", "iou", "iou_best"]] == 1).all(axis=None)
    assert (rows["distance_px"] == 0).all()


@given(MAPS, MASKS)
def test_scores_do_not_depend_on_the_side_a_breast_lies_on(maps, masks):
    scores, mirrored = localization.score_maps(maps, masks), localization.score_maps(maps[..., ::-1], masks[..., ::-1])
    pd.testing.assert_frame_equal(scores, mirrored, rtol=1e-4)


def test_the_centre_wins_on_a_centred_lesion_and_is_a_disc_at_the_fixed_threshold():
    mask = (localization.centre_map((64, 64)) >= localization.FIXED_THRESHOLD).astype(np.uint8)[np.newaxis]
    assert mask.mean() == pytest.approx(np.pi / 16, abs=0.01)
    row = localization.score_maps(np.zeros((1, 64, 64), np.float32), mask).iloc[0]
    assert (row["pointing_centre"], row["iou_centre"], row["distance_px_centre"]) == (1, 1, 0)
    assert row["energy_centre"] == pytest.approx(0.5, abs=0.02)  # of a cone: half its volume within half its radius


def test_the_same_maps_have_the_same_scores_to_the_last_bit():
    rng = np.random.default_rng(0)
    masks = np.zeros((8, 64, 64), np.uint8)
    for mask, (top, left) in zip(masks, rng.integers(8, 40, (8, 2)), strict=True):
        mask[top : top + 15, left : left + 9] = 1
    maps = rng.random(masks.shape, np.float32)
    sizes = rng.integers(1, 5000, 20)
    kept = [(np.empty(size), localization.score_maps(maps, masks)) for size in sizes]  # other memory for each call
    for _, table in kept[1:]:
        pd.testing.assert_frame_equal(table, kept[0][1], check_exact=True)


def test_masks_of_another_shape_are_refused():
    with pytest.raises(InputError, match="one mask"):
        localization.score_maps(np.zeros((2, 4, 4), np.float32), np.zeros((1, 4, 4), np.uint8))


def cohort(patients: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    masks = (rng.random((2 * patients, SIDE, SIDE)) < 0.2).astype(np.uint8)
    masks[0] = 0
    maps = (0.5 * masks + rng.random(masks.shape)).astype(np.float32)
    maps[1] = 0
    return localization.score_maps(maps / maps.max(), masks).assign(
        patient_id=np.repeat([f"P{number}" for number in range(patients)], 2),
        call=np.tile(["correct", "correct", "wrong"], patients)[: 2 * patients],
        abnormality_type=np.tile(["mass", "calcification"], patients),
        size=pd.Categorical(rng.choice(["small", "large"], 2 * patients), ["small", "medium", "large"], ordered=True),
    )


def test_the_summary_has_means_limits_and_counts():
    rows = cohort()
    found = localization.summarize_scores(rows, Resampling(200, seed=1)).set_index(["variable", "value", "metric"])
    assert list(found.index.unique("variable")) == list(localization.VARIABLES)
    overall = found.loc[("all", "all", "energy")]
    assert overall["mean"] == pytest.approx(rows["energy"].mean())
    assert overall["centre"] == pytest.approx(rows["energy_centre"].mean())
    assert overall["low"] < overall["mean"] < overall["high"]
    assert overall["above_low"] < overall["above_centre"] < overall["above_high"]
    assert (overall["n"], overall["n_patients"], overall["n_undefined"]) == (59, 30, 1)
    assert found.loc[("all", "all", "distance_px"), "n_undefined"] == 2
    correct = rows.query("call == 'correct'")["pointing"].mean()
    assert found.loc[("call", "correct", "pointing"), "mean"] == pytest.approx(correct)
    assert ("size", "medium", "energy") not in found.index


def test_one_patient_has_no_limits():
    found = localization.summarize_scores(cohort(1), Resampling(100, seed=1))
    assert found[["low", "high"]].isna().all(axis=None)
