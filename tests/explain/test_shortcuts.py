"""Where no diagnosis can come from: drawn films whose background, label and bare edge are known to the pixel."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mammo.explain import shortcuts
from mammo.explain.shortcuts import REGIONS
from mammo.metrics.resampling import Resampling

SIDE = 60
TISSUE, WHITE = 120, 255
MAPS = arrays.arrays(np.float32, (2, SIDE, SIDE), elements=st.sampled_from([0, 0.25, 1]))


def film(dtype: type = np.uint8) -> npt.NDArray[np.unsignedinteger]:
    """A breast on the left, half as wide as the image, on black."""
    image = np.zeros((SIDE, SIDE), dtype)
    image[5:55, :30] = TISSUE
    return image


def label() -> npt.NDArray[np.bool_]:
    place = np.zeros((SIDE, SIDE), bool)
    place[10:16, 45:55] = True
    return place


def strip(width: int, start: int = 0) -> npt.NDArray[np.bool_]:
    place = np.zeros((SIDE, SIDE), bool)
    place[:, start : start + width] = True
    return place


def test_a_map_on_the_background_on_a_label_and_along_a_side():
    image = film()
    image[label()] = 200
    background = np.zeros((SIDE, SIDE), np.float32)
    background[30:40, 40:50] = 1
    along = np.zeros((SIDE, SIDE), np.float32)
    along[20:30, :6] = 1  # half of it within the outermost 3 px
    maps = np.stack([background, label().astype(np.float32), along])
    found = shortcuts.measure_shares(maps, np.stack([image] * 3))
    np.testing.assert_allclose(found["outside_share"], [1, 0, 0])
    np.testing.assert_allclose(found["marks_share"], [0, 1, 0])
    np.testing.assert_allclose(found["sides_share"], [0, 0, 0.5])
    np.testing.assert_allclose(found["marks_area"], label().mean())


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("start", [0, 1])
def test_a_bare_film_edge_is_a_mark_on_any_side(turns, start):
    image = np.full((SIDE, SIDE), TISSUE, np.uint8)
    image[strip(3, start)] = WHITE
    found = shortcuts.find_regions(np.rot90(image, turns))
    np.testing.assert_array_equal(found["marks"], np.rot90(strip(3, start), turns))


def test_a_bare_edge_is_one_behind_the_black_beyond_a_film_too():
    image = np.full((SIDE, SIDE), TISSUE, np.uint8)
    image[strip(10)] = 0
    image[strip(2, 10)] = WHITE
    np.testing.assert_array_equal(shortcuts.find_regions(image)["marks"], strip(2, 10))


@pytest.mark.parametrize("place", [strip(8), strip(3, 20), strip(3) & (np.arange(SIDE) < 20)[:, np.newaxis]])
def test_a_muscle_a_dense_streak_and_a_short_white_edge_are_none(place):
    image = np.full((SIDE, SIDE), TISSUE, np.uint8)
    image[place] = WHITE
    assert not shortcuts.find_regions(image)["marks"].any()


def test_a_dark_pixel_in_the_breast_is_not_outside():
    image = film()
    image[20:22, 10:12] = 0
    outside = shortcuts.find_regions(image)["outside"]
    assert not outside[5:55, :30].any()
    assert outside[5:55, 30:].all()


@given(MAPS)
def test_an_even_map_has_the_areas_and_any_other_shares_of_one(maps):
    image = film()
    image[label()] = 200
    even = shortcuts.measure_shares(np.ones((1, SIDE, SIDE), np.float32), image[np.newaxis]).iloc[0]
    for region in REGIONS:
        assert even[f"{region}_share"] == pytest.approx(even[f"{region}_area"])
    found = shortcuts.measure_shares(maps, np.stack([image] * 2))
    empty = ~maps.any(axis=(1, 2))
    for region in REGIONS:
        assert list(found[f"{region}_share"].isna()) == list(empty)
        assert found[f"{region}_share"].dropna().between(0, 1).all()
    assert (found["outside_share"] + found["marks_share"]).dropna().max() <= 1 + 1e-6 or empty.all()


def test_an_image_without_a_region_has_no_share_in_it():
    found = shortcuts.measure_shares(np.ones((1, SIDE, SIDE)), np.full((1, SIDE, SIDE), TISSUE, np.uint8)).iloc[0]
    assert np.isnan([found[f"{region}_{kind}"] for region in ("outside", "marks") for kind in ("share", "area")]).all()
    assert found["sides_share"] == pytest.approx(1 - 0.9**2)


def test_both_depths_have_the_same_regions():
    eight, sixteen = film(), film(np.uint16) * np.uint16(257)
    eight[strip(2)], sixteen[strip(2)] = WHITE, 65535
    for one, other in zip(
        shortcuts.find_regions(eight).values(), shortcuts.find_regions(sixteen).values(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def shares(outside: list[float]) -> pd.DataFrame:
    rows = pd.DataFrame({f"{region}_{kind}": np.nan for region in REGIONS for kind in ("share", "area")}, [*outside])
    return rows.assign(outside_share=outside, outside_area=0.3).reset_index(drop=True)


def test_the_worst_come_first_and_only_those_beyond_an_even_map():
    found = shortcuts.rank_worst(shares([0.2, 0.9, np.nan, 0.5, 0.4]), 2)
    assert {region: list(positions) for region, positions in found.items()} == {"outside": [1, 3]}


def test_the_summary_is_beside_an_even_map():
    rows = shares([0.2, 0.9, np.nan, 0.5]).assign(patient_id=["a", "b", "c", "c"])
    found = shortcuts.summarize_shares(rows, Resampling(200, seed=0)).set_index("region")
    outside = found.loc["outside"]
    assert outside["mean"] == pytest.approx(1.6 / 3)
    assert outside["above_even"] == pytest.approx(1.6 / 3 - 0.3)
    assert (outside["n"], outside["n_patients"], outside["n_undefined"]) == (3, 3, 1)
    assert outside["low"] < outside["mean"] < outside["high"]
    assert np.isnan(found.loc["marks", "mean"])
