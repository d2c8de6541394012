"""A sample without its lesion: nothing of any lesion of the film is left, and all else stays."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from mammo.core import schemas
from mammo.core.config import PreprocessConfig
from mammo.data.images import preprocess, without_lesion
from mammo.data.images.transforms import Box, Film, Mask
from mammo.data.images.without_lesion import HEALTHY_TISSUE, INPAINTED, NONE_MARKED

SHAPE = (400, 300)
SETTINGS = PreprocessConfig(
    size_px=64,
    bits=8,
    context=1.5,
    clahe=None,
    window_percentiles=(0.0, 100.0),
    edge_margin=0.0,
    equalisation=0.0,
    blur_px=0.0,
)
SPECK = (80, 80, 84, 84)
FIRST, SECOND = (150, 60, 190, 100), (250, 120, 280, 150)
LESION_GREY = 250


def film_with(*lesions: Box, depth: npt.DTypeLike = np.uint8) -> Film:
    """A left breast of grey 100 +- 5 on black with one white speck, and lesions as bright as that."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = ((y / SHAPE[0] - 0.5) / 0.45) ** 2 + (x / SHAPE[1] / 0.85) ** 2 < 1
    film = inside * (100 + np.random.default_rng(0).normal(0, 5, SHAPE))
    for top, left, bottom, right in (SPECK, *lesions):
        film[top:bottom, left:right] = LESION_GREY
    return (film * (257 if depth == np.uint16 else 1)).astype(depth)


def mark(box: Box) -> str:
    return schemas.BOX_PREFIX + ",".join(map(str, box))


def case_of(root: Path, *lesions: Box, depth: npt.DTypeLike = np.uint8) -> dict[str, object]:
    assert cv2.imwrite(str(root / "film.png"), film_with(*lesions, depth=depth))
    return {"view": "CC", "image_path": "film.png", "mask_path": ";".join(map(mark, lesions))}


def brightest(image: Film) -> float:
    return float(image.max()) / (257 if image.dtype == np.uint16 else 1)


def bright_share(image: Film) -> float:
    return float((image > 0.8 * np.iinfo(image.dtype).max).mean())


# Inpainting


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_inpainting_hides_every_lesion_with_its_margin_and_changes_nothing_else(depth: npt.DTypeLike) -> None:
    film = film_with(FIRST, SECOND, depth=depth)
    filled = without_lesion.inpaint(film, [FIRST, SECOND])
    hidden = without_lesion.hide(SHAPE, [FIRST, SECOND]).astype(bool)
    assert filled.dtype == depth
    assert np.array_equal(filled[~hidden], film[~hidden])
    assert 80 < brightest(filled[hidden]) < 130
    assert hidden[FIRST[0] - 12 : FIRST[2] + 12, FIRST[1] - 12 : FIRST[3] + 12].all()


@pytest.mark.parametrize("box", [(0, 0, *SHAPE), (0, 0, 400, 10), (399, 299, 400, 300), (5, 0, 395, 260)])
def test_a_lesion_of_any_size_and_place_is_hidden(box: Box) -> None:
    filled = without_lesion.inpaint(film_with(box), [box])
    assert brightest(filled[without_lesion.hide(SHAPE, [box]) > 0]) < 130


# Another window


def masks(*lesions: Box) -> tuple[Mask, Mask]:
    return (film_with() > 50).astype(np.uint8), without_lesion.hide(SHAPE, lesions)


def test_the_healthy_window_has_the_same_size_and_no_lesion_and_as_much_breast() -> None:
    breast, hidden = masks(FIRST, SECOND)
    window = (140, 50, 200, 110)
    found = without_lesion.find_healthy_window(breast, hidden, window)
    assert found is not None
    top, left, bottom, right = found
    assert (bottom - top, right - left) == (60, 60)
    assert not hidden[top:bottom, max(0, left) : right].any()
    assert breast[top:bottom, max(0, left) : right].sum() > 0.9 * 3600
    assert found == without_lesion.find_healthy_window(breast, hidden, window)


def test_the_nearest_of_equal_windows_is_taken() -> None:
    breast = np.ones((100, 100), np.uint8)
    hidden = without_lesion.hide((100, 100), [(45, 20, 55, 30)])
    found = without_lesion.find_healthy_window(breast, hidden, (40, 15, 60, 35))
    assert found is not None
    assert abs(found[0] - 40) + abs(found[1] - 15) <= 24


def test_at_the_edge_of_the_breast_the_window_shows_the_edge_again() -> None:
    breast = np.zeros((200, 200), np.uint8)
    breast[:, :100] = 1
    hidden = without_lesion.hide((200, 200), [(90, 90, 110, 110)])
    found = without_lesion.find_healthy_window(breast, hidden, (85, 85, 115, 115))
    assert found is not None
    share = breast[found[0] : found[2], found[1] : found[3]].mean()
    assert share == pytest.approx(0.5, abs=0.1)


def test_without_room_there_is_no_healthy_window() -> None:
    breast, _ = masks()
    assert without_lesion.find_healthy_window(breast, np.ones_like(breast), (100, 50, 160, 110)) is None
    lesion = (20, 5, 380, 250)
    assert without_lesion.find_healthy_window(breast, without_lesion.hide(SHAPE, [lesion]), lesion) is None


# Samples


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_crop_of_a_lesion_becomes_healthy_tissue_of_its_film(tmp_path: Path, depth: npt.DTypeLike) -> None:
    sample = preprocess.prepare_sample(case_of(tmp_path, FIRST, depth=depth), tmp_path, "lesion", SETTINGS)
    assert sample.removal == HEALTHY_TISSUE
    assert sample.without_lesion.shape == sample.square.image.shape
    assert sample.without_lesion.dtype == sample.square.image.dtype
    assert bright_share(sample.square.image) == pytest.approx(1 / 1.5**2, abs=0.08)
    assert bright_share(sample.without_lesion) < 0.02
    assert (sample.without_lesion > 0).mean() > 0.9


def test_no_crop_shows_another_lesion_of_the_film(tmp_path: Path) -> None:
    neighbours = [(top, left, top + 24, left + 24) for top in range(24, 380, 70) for left in range(0, 250, 80)]
    case = case_of(tmp_path, *neighbours)
    alone = case | {"mask_path": mark(neighbours[9])}
    sample = preprocess.prepare_sample(
        alone | {"film_mask_path": case["mask_path"]}, tmp_path, "lesion", SETTINGS.model_copy(update={"context": 4.0})
    )
    assert sample.removal == INPAINTED
    assert bright_share(sample.square.image) > 0.06
    assert bright_share(sample.without_lesion) < 0.02


@pytest.mark.parametrize("unit", ["image", "breast"])
def test_a_whole_breast_loses_all_its_lesions(tmp_path: Path, unit: str) -> None:
    sample = preprocess.prepare_sample(case_of(tmp_path, FIRST, SECOND), tmp_path, unit, SETTINGS)
    lesion = sample.square.mask > 0
    assert sample.removal == INPAINTED
    assert np.median(sample.square.image[lesion]) == 255
    assert bright_share(sample.without_lesion) < 0.02
    assert sample.without_lesion.shape == sample.square.image.shape


def test_a_film_without_a_mark_stays_as_it_is(tmp_path: Path) -> None:
    case = case_of(tmp_path) | {"mask_path": ""}
    sample = preprocess.prepare_sample(case, tmp_path, "image", SETTINGS)
    assert sample.removal == NONE_MARKED
    assert np.array_equal(sample.without_lesion, sample.square.image)


def test_the_mask_of_another_exposure_is_no_mark_of_this_film(tmp_path: Path) -> None:
    """Two films of one view share patient, side and view; a mask of another shape is of the other film."""
    case = case_of(tmp_path, FIRST)
    assert cv2.imwrite(str(tmp_path / "other.png"), np.full((100, 300), 255, np.uint8))
    marks = {"film_mask_path": f"{case['mask_path']};other.png"}
    one = preprocess.prepare_sample(case, tmp_path, "lesion", SETTINGS)
    other = preprocess.prepare_sample(case | marks, tmp_path, "lesion", SETTINGS)
    assert np.array_equal(one.without_lesion, other.without_lesion)
