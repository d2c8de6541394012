"""Pixels: film and mask travel through one geometry, labels and borders stay behind, bad files are named."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mammo import pixels
from mammo.datasets import cbis_ddsm
from mammo.pixels import Box, Grey, Mask, PixelError

FILM = (240, 150)
BREAST_LEVEL = 120


def film_with_breast(shape: tuple[int, int] = FILM) -> tuple[Grey, Mask]:
    """A half-ellipse on noise-like dark film, chest wall on the left, and where it is."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = ((y / shape[0] - 0.5) / 0.38) ** 2 + (x / shape[1] / 0.7) ** 2 < 1
    grain = np.random.default_rng(0).integers(0, 12, shape)
    return (inside * BREAST_LEVEL + grain).astype(np.uint8), inside.astype(np.uint8)


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union."""
    return float(np.logical_and(one, other).sum() / np.logical_or(one, other).sum())


def rectangle(shape: tuple[int, int], box: Box) -> Mask:
    mask = np.zeros(shape, np.uint8)
    mask[box[0] : box[2], box[1] : box[3]] = 1
    return mask


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, int] = FILM, least: int = 1, most: int = 60) -> Box:
    """A box within a film of `shape`."""
    height, width = draw(st.integers(least, most)), draw(st.integers(least, most))
    top, left = draw(st.integers(0, shape[0] - height)), draw(st.integers(0, shape[1] - width))
    return top, left, top + height, left + width


def lies_where(mask: Mask, image: Grey) -> bool:
    """Whether `mask` is what `image`, a white lesion on black, shows at half its brightness or more."""
    half = min(127, int(image.max()) - 1)
    return bool((image[mask > 0] >= half).all() and (image[mask == 0] <= max(half, 128)).all())


# Boxes and crops


@given(boxes())
def test_the_bounding_box_of_a_rectangle_is_the_rectangle(box: Box) -> None:
    assert pixels.bounding_box(rectangle(FILM, box)) == box


def test_a_mask_without_foreground_has_no_box() -> None:
    with pytest.raises(PixelError, match="without foreground"):
        pixels.bounding_box(np.zeros(FILM, np.uint8))


@given(boxes(), st.floats(1, 5))
def test_a_square_is_centred_on_its_box_and_holds_it(box: Box, context: float) -> None:
    top, left, bottom, right = pixels.square_around(box, context)
    longer = max(box[2] - box[0], box[3] - box[1])
    assert bottom - top == right - left == max(1, round(context * longer))
    assert abs((top + bottom) - (box[0] + box[2])) <= 1
    assert abs((left + right) - (box[1] + box[3])) <= 1
    assert top <= box[0]
    assert left <= box[1]
    assert bottom >= box[2]
    assert right >= box[3]


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.tuples(st.integers(-9, 8), st.integers(-9, 8), st.integers(1, 18), st.integers(1, 18)),
)
def test_a_crop_is_the_film_on_endless_black(image: Grey, drawn: tuple[int, int, int, int]) -> None:
    top, left = min(drawn[0], image.shape[0] - 1), min(drawn[1], image.shape[1] - 1)
    bottom, right = max(1, top + drawn[2]), max(1, left + drawn[3])
    endless = np.pad(image, 30)
    expected = endless[top + 30 : bottom + 30, left + 30 : right + 30]
    assert np.array_equal(pixels.crop(image, (top, left, bottom, right)), expected)


# Sizes


@given(st.integers(0, 255), st.integers(1, 90), st.integers(32, 64))
def test_a_constant_stays_constant(value: int, side: int, size_px: int) -> None:
    resized = pixels.resize(np.full((side, side), value, np.uint8), size_px)
    assert resized.shape == (size_px, size_px)
    assert (resized == value).all()


def test_fine_texture_turns_grey_when_shrunk_and_does_not_alias() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (256, 128))
    assert np.ptp(pixels.resize(stripes, 64)) == 0


def test_the_size_asked_for_already_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert np.array_equal(pixels.resize(image, 64), image)


# One geometry for image and mask


@settings(max_examples=60, deadline=None)
@given(boxes(least=2), st.floats(1, 4), st.integers(32, 64))
def test_a_bright_lesion_lands_where_its_mask_says(box: Box, context: float, size_px: int) -> None:
    mask = rectangle(FILM, box)
    image, marks = pixels.lesion_square(mask * np.uint8(255), mask, size_px, context)
    assert image.shape == marks.shape == (size_px, size_px)
    assert set(np.unique(marks)) <= {0, 1}
    assert marks.any()
    assert lies_where(marks, image)


@settings(max_examples=60, deadline=None)
@given(boxes(), st.integers(32, 64), st.booleans())
def test_a_bright_lesion_in_a_breast_lands_where_its_mask_says(box: Box, size_px: int, right: bool) -> None:
    _, breast = film_with_breast()
    breast |= rectangle(FILM, box)
    mask = rectangle(FILM, box)
    if right:
        breast, mask = (np.ascontiguousarray(np.fliplr(array)) for array in (breast, mask))
    image, marks = pixels.breast_square(mask * np.uint8(255), mask, breast, size_px)
    assert image.shape == marks.shape == (size_px, size_px)
    assert set(np.unique(marks)) == {0, 1}
    assert lies_where(marks, image)


@settings(max_examples=15, deadline=None)
@given(boxes(shape=(1800, 1300), most=3), st.integers(32, 64))
def test_a_small_lesion_never_vanishes_from_the_mask(box: Box, size_px: int) -> None:
    film, everything = np.full((1800, 1300), 100, np.uint8), np.ones((1800, 1300), np.uint8)
    _, in_breast = pixels.breast_square(film, rectangle(film.shape, box), everything, size_px)
    _, in_crop = pixels.lesion_square(film, rectangle(film.shape, box), size_px, 100.0)
    assert 1 <= in_breast.sum() <= 4
    assert in_crop.any()


def test_a_breast_without_a_lesion_has_an_empty_mask() -> None:
    film, breast = film_with_breast()
    _, marks = pixels.breast_square(film, np.zeros_like(breast), breast, 64)
    assert not marks.any()


def test_a_breast_keeps_its_aspect() -> None:
    film = np.full((200, 100), 100, np.uint8)
    image, _ = pixels.breast_square(film, film * 0, np.ones_like(film), 64)
    assert (image[:, :32] == 100).all()
    assert not image[:, 32:].any()


def test_a_right_breast_looks_like_the_same_left_one() -> None:
    film, breast = film_with_breast()
    lesion = rectangle(FILM, (100, 20, 130, 40))
    left = pixels.breast_square(film, lesion, breast, 64)
    right = pixels.breast_square(np.fliplr(film), np.fliplr(lesion), np.fliplr(breast), 64)
    assert np.array_equal(left, right)
    assert left[0][:, 0].mean() > left[0][:, -1].mean()


def test_what_is_outside_the_breast_turns_black() -> None:
    film, breast = film_with_breast()
    clean = pixels.breast_square(film * breast, 0 * breast, breast, 64)[0]
    film[5:20, 120:145] = 255
    assert np.array_equal(pixels.breast_square(film, 0 * breast, breast, 64)[0], clean)


def test_the_chest_wall_of_every_film_of_the_cohort_comes_to_the_left(cohort: Path) -> None:
    cases = cbis_ddsm.locate(cohort, "image", ["mass", "calcification"], 1).cases
    assert set(cases["laterality"]) == {"LEFT", "RIGHT"}
    for case in cases.itertuples():
        film = pixels.read_grey(cohort / case.image_path)
        breast = pixels.breast_mask(film)
        half = film.shape[1] // 2
        near = np.zeros_like(film)
        near[:, slice(half) if case.laterality == "LEFT" else slice(half, None)] = 1
        _, marks = pixels.breast_square(film, near, breast, 64)
        assert marks[:, 0].any(), case.sample_id


# Intensities


@settings(max_examples=40, deadline=None)
@given(arrays(np.uint8, (12, 12)), st.floats(0, 40), st.floats(60, 100))
def test_the_percentiles_of_the_region_become_black_and_white(image: Grey, low: float, high: float) -> None:
    region = np.zeros_like(image)
    region[:6] = 1
    black, white = np.percentile(image[:6], [low, high])
    windowed = pixels.window(image, region, (low, high))
    assert (windowed[image <= black] == 0).all()
    assert white - black < 1 or (windowed[image >= white] == 255).all()
    order = np.argsort(image, axis=None)
    assert (np.diff(windowed.ravel()[order].astype(int)) >= 0).all()


def test_what_lies_outside_the_region_does_not_move_the_window() -> None:
    film, breast = film_with_breast()
    labelled = film.copy()
    labelled[5:40, 110:145] = 255
    inside = breast > 0
    one, other = (pixels.window(image, breast, (1, 99.5)) for image in (film, labelled))
    assert np.array_equal(one[inside], other[inside])


@pytest.mark.parametrize("scanner", [lambda film: film // 2, lambda film: film // 2 + 60])
def test_a_darker_or_foggy_scan_windows_to_nearly_the_same(scanner: Callable[[Grey], Grey]) -> None:
    gradient = np.tile(np.arange(200, dtype=np.uint8), (50, 1))
    everything = np.ones_like(gradient)
    one, other = (pixels.window(image, everything, (1, 99)) for image in (gradient, scanner(gradient)))
    assert np.abs(one.astype(int) - other).max() <= 4


def test_a_region_without_a_pixel_windows_by_the_whole_film() -> None:
    film, breast = film_with_breast()
    assert np.array_equal(pixels.window(film, 0 * breast, (1, 99)), pixels.window(film, np.ones_like(breast), (1, 99)))


# The breast


def add_label(film: Grey) -> None:
    film[8:40, 105:145] = 255


def add_border(film: Grey) -> None:
    film[:3] = film[-3:] = 250
    film[:, -3:] = 250


def add_border_at_the_chest_wall(film: Grey) -> None:
    film[:, :3] = 250


def add_tape(film: Grey) -> None:
    cv2.line(film, (148, 200), (100, 238), 220, 8)


def add_all(film: Grey) -> None:
    """The border leads from the chest wall to the tape."""
    for artefact in (add_label, add_border, add_border_at_the_chest_wall, add_tape):
        artefact(film)


@pytest.mark.parametrize("artefact", [add_label, add_border, add_border_at_the_chest_wall, add_tape, add_all])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("scale", [1, 4])
def test_the_breast_is_found_without_what_else_is_on_the_film(
    artefact: Callable[[Grey], None], right: bool, scale: int
) -> None:
    film, truth = film_with_breast()
    artefact(film)
    film, truth = (
        cv2.resize(array, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST) for array in (film, truth)
    )
    if right:
        film, truth = (np.ascontiguousarray(np.fliplr(array)) for array in (film, truth))
    found = pixels.breast_mask(film)
    assert found.shape == film.shape
    assert set(np.unique(found)) == {0, 1}
    assert overlap(found, truth) > 0.9
    assert pixels.bounding_box(found) == pytest.approx(pixels.bounding_box(truth), abs=4 * scale)


def test_the_label_is_not_breast() -> None:
    film, _ = film_with_breast()
    add_label(film)
    assert not pixels.breast_mask(film)[8:40, 105:145].any()


@pytest.mark.parametrize("level", [0, 255])
def test_a_film_without_contrast_counts_whole(level: int) -> None:
    found = pixels.breast_mask(np.full(FILM, level, np.uint8))
    assert pixels.bounding_box(found) == (0, 0, *FILM)
    assert found.mean() > 0.99


def test_the_breasts_of_the_cohort_hold_their_lesions_and_are_one_piece(cohort: Path) -> None:
    for case in cbis_ddsm.locate(cohort, "lesion", ["mass", "calcification"], 1).cases.itertuples():
        film = pixels.read_grey(cohort / case.image_path)
        lesion = pixels.read_mask(cohort / case.mask_path, film.shape)
        breast = pixels.breast_mask(film)
        assert breast[lesion > 0].mean() > 0.9, case.sample_id
        assert cv2.connectedComponents(breast)[0] == 2


def test_the_breasts_of_real_films_hold_their_lesions_and_leave_the_films_rim_out(real_root: Path) -> None:
    cases = cbis_ddsm.locate(real_root, "image", ["mass"], 2).cases.iloc[::16]
    inside, box_shares = [], []
    for case in cases.itertuples():
        film = pixels.read_grey(real_root / case.image_path)
        lesion = pixels.read_mask(real_root / case.mask_path.split(";")[0], film.shape)
        breast = pixels.breast_mask(film)
        top, left, bottom, right = pixels.bounding_box(breast)
        inside.append(breast[lesion > 0].mean())
        box_shares.append((bottom - top) * (right - left) / film.size)
    assert np.mean(np.array(inside) > 0.9) > 0.97
    assert np.mean(np.array(box_shares) > 0.98) < 0.1


# Files


def write(path: Path, image: Grey) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_film_is_read_in_its_shape(tmp_path: Path, suffix: str) -> None:
    film, _ = film_with_breast()
    path = write(tmp_path / f"film{suffix}", film)
    assert pixels.shape(path) == FILM
    read = pixels.read_grey(path)
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - film).mean() < (4 if suffix == ".jpg" else 1e-9)


def test_a_mask_of_other_size_is_scaled_to_its_film(tmp_path: Path) -> None:
    mask = rectangle(FILM, (60, 30, 120, 90))
    path = write(tmp_path / "mask.png", mask * np.uint8(255))
    scaled = pixels.read_mask(path, (480, 300))
    assert np.array_equal(scaled, rectangle((480, 300), (120, 60, 240, 180)))
    assert np.array_equal(pixels.read_mask(path, FILM), mask)


@pytest.mark.parametrize("size", [1, 4])
def test_masks_are_told_from_crops_and_films_at_any_size(tmp_path: Path, size: int) -> None:
    film, _ = film_with_breast((240 * size, 150 * size))
    mask = rectangle(film.shape, (60, 30, 120, 90)) * np.uint8(255)
    assert pixels.is_binary(write(tmp_path / "mask.jpg", mask))
    assert pixels.has_foreground(tmp_path / "mask.jpg")
    assert not pixels.is_binary(write(tmp_path / "crop.jpg", film[: 200 * size, : 60 * size]))


def test_an_empty_mask_has_no_foreground(tmp_path: Path) -> None:
    assert not pixels.has_foreground(write(tmp_path / "mask.jpg", np.zeros(FILM, np.uint8)))


def missing(path: Path) -> None:
    path.unlink()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def cut_by_a_few_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-16])


def only_a_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("<html>not found</html>")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("spoil", [missing, truncated, cut_by_a_few_bytes, only_a_header, empty, text, folder])
@pytest.mark.parametrize(
    "read",
    [
        pixels.shape,
        pixels.read_grey,
        pixels.is_binary,
        pixels.has_foreground,
        lambda path: pixels.read_grey(path, reduced=True),
        lambda path: pixels.read_mask(path, FILM),
    ],
)
def test_a_file_that_is_no_whole_image_is_named(
    tmp_path: Path, suffix: str, spoil: Callable[[Path], None], read: Callable[[Path], object]
) -> None:
    path = write(tmp_path / f"film{suffix}", film_with_breast()[0])
    spoil(path)
    with pytest.raises(PixelError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")
