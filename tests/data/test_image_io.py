"""Pixels: film and mask travel through one geometry, labels and borders stay behind, bad files are named."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mammo.data.datasets import cbis_ddsm
from mammo.data.images import io, transforms
from mammo.data.images.breast import breast_mask, breast_square
from mammo.data.images.dicom import PixelError
from mammo.data.images.io import DICOM_SUFFIXES, IMAGE_SUFFIXES
from mammo.data.images.transforms import Box, Film, Grey, Mask
from tests.examples import examples

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
    assert transforms.bounding_box(rectangle(FILM, box)) == box


def test_a_mask_without_foreground_has_no_box() -> None:
    with pytest.raises(PixelError, match="without foreground"):
        transforms.bounding_box(np.zeros(FILM, np.uint8))


@given(boxes(), st.floats(1, 5))
def test_a_square_is_centred_on_its_box_and_holds_it(box: Box, context: float) -> None:
    top, left, bottom, right = transforms.square_around(box, context)
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
def test_a_crop_is_the_film_on_endless_black(image: Grey, draws: tuple[int, int, int, int]) -> None:
    top, left = min(draws[0], image.shape[0] - 1), min(draws[1], image.shape[1] - 1)
    bottom, right = max(1, top + draws[2]), max(1, left + draws[3])
    endless = np.pad(image, 30)
    expected = endless[top + 30 : bottom + 30, left + 30 : right + 30]
    assert np.array_equal(transforms.crop(image, (top, left, bottom, right)), expected)


# Sizes


@given(st.integers(0, 255), st.integers(1, 90), st.integers(32, 64))
def test_a_constant_stays_constant(value: int, side: int, size_px: int) -> None:
    resized = transforms.resize(np.full((side, side), value, np.uint8), size_px)
    assert resized.shape == (size_px, size_px)
    assert (resized == value).all()


def test_fine_texture_turns_grey_when_shrunk_and_does_not_alias() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), (256, 128))
    assert np.ptp(transforms.resize(stripes, 64)) == 0


def test_the_size_asked_for_already_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert np.array_equal(transforms.resize(image, 64), image)


# One geometry for image and mask


@examples(60)
@given(boxes(least=2), st.floats(1, 4), st.integers(32, 64))
def test_a_bright_lesion_lands_where_its_mask_says(box: Box, context: float, size_px: int) -> None:
    mask = rectangle(FILM, box)
    square = transforms.square_around(box, context)
    image = transforms.resize(transforms.crop(mask * np.uint8(255), square), size_px)
    marks = transforms.resize_mask(transforms.crop(mask, square), size_px)
    assert image.shape == marks.shape == (size_px, size_px)
    assert set(np.unique(marks)) <= {0, 1}
    assert marks.any()
    assert lies_where(marks, image)


@examples(60)
@given(boxes(), st.integers(32, 64), st.booleans())
def test_a_bright_lesion_in_a_breast_lands_where_its_mask_says(box: Box, size_px: int, right: bool) -> None:
    _, breast = film_with_breast()
    breast |= rectangle(FILM, box)
    mask = rectangle(FILM, box)
    if right:
        breast, mask = (np.ascontiguousarray(np.fliplr(array)) for array in (breast, mask))
    image, marks = breast_square(mask * np.uint8(255), mask, breast, size_px)
    assert image.shape == marks.shape == (size_px, size_px)
    assert set(np.unique(marks)) == {0, 1}
    assert lies_where(marks, image)


@examples(15)
@given(boxes(shape=(1800, 1300), most=3), st.integers(32, 64))
def test_a_small_lesion_never_vanishes_from_the_mask(box: Box, size_px: int) -> None:
    film, everything = np.full((1800, 1300), 100, np.uint8), np.ones((1800, 1300), np.uint8)
    _, in_breast = breast_square(film, rectangle(film.shape, box), everything, size_px)
    in_crop = transforms.resize_mask(
        transforms.crop(rectangle(film.shape, box), transforms.square_around(box, 100.0)), size_px
    )
    assert 1 <= in_breast.sum() <= 4
    assert in_crop.any()


def test_a_breast_without_a_lesion_has_an_empty_mask() -> None:
    film, breast = film_with_breast()
    _, marks = breast_square(film, np.zeros_like(breast), breast, 64)
    assert not marks.any()


def test_a_breast_keeps_its_aspect() -> None:
    film = np.full((200, 100), 100, np.uint8)
    image, _ = breast_square(film, film * 0, np.ones_like(film), 64)
    assert (image[:, :32] == 100).all()
    assert not image[:, 32:].any()


def test_a_right_breast_looks_like_the_same_left_one() -> None:
    film, breast = film_with_breast()
    lesion = rectangle(FILM, (100, 20, 130, 40))
    left = breast_square(film, lesion, breast, 64)
    right = breast_square(np.fliplr(film), np.fliplr(lesion), np.fliplr(breast), 64)
    assert np.array_equal(left, right)
    assert left[0][:, 0].mean() > left[0][:, -1].mean()


def test_what_is_outside_the_breast_turns_black() -> None:
    film, breast = film_with_breast()
    clean = breast_square(film * breast, 0 * breast, breast, 64)[0]
    film[5:20, 120:145] = 255
    assert np.array_equal(breast_square(film, 0 * breast, breast, 64)[0], clean)


def test_the_chest_wall_of_every_film_of_the_cohort_comes_to_the_left(cohort: Path) -> None:
    cases = cbis_ddsm.locate(cohort, "image", ["mass", "calcification"], 1).cases
    assert set(cases["laterality"]) == {"LEFT", "RIGHT"}
    for case in cases.itertuples():
        film = io.read_grey(cohort / case.image_path)
        breast = breast_mask(film)
        half = film.shape[1] // 2
        near = np.zeros_like(film)
        near[:, slice(half) if case.laterality == "LEFT" else slice(half, None)] = 1
        _, marks = breast_square(film, near, breast, 64)
        assert marks[:, 0].any(), case.sample_id


# Intensities


def windowed_by(image: Grey, region: Mask, percentiles: tuple[float, float]) -> Film:
    return transforms.window(image, *transforms.percentile_levels(image, region, percentiles))


@examples(40)
@given(arrays(np.uint8, (12, 12)), st.floats(0, 40), st.floats(60, 100))
def test_the_percentiles_of_the_region_become_black_and_white(image: Grey, low: float, high: float) -> None:
    region = np.zeros_like(image)
    region[:6] = 1
    black, white = np.percentile(image[:6], [low, high])
    windowed = windowed_by(image, region, (low, high))
    assert (windowed[image <= black] == 0).all()
    assert white - black < 1 or (windowed[image >= white] == 255).all()
    order = np.argsort(image, axis=None)
    assert (np.diff(windowed.ravel()[order].astype(int)) >= 0).all()


def test_what_lies_outside_the_region_does_not_move_the_window() -> None:
    film, breast = film_with_breast()
    labelled = film.copy()
    labelled[5:40, 110:145] = 255
    inside = breast > 0
    one, other = (windowed_by(image, breast, (1, 99.5)) for image in (film, labelled))
    assert np.array_equal(one[inside], other[inside])


@pytest.mark.parametrize("scanner", [lambda film: film // 2, lambda film: film // 2 + 60])
def test_a_darker_or_foggy_scan_windows_to_nearly_the_same(scanner: Callable[[Grey], Grey]) -> None:
    gradient = np.tile(np.arange(200, dtype=np.uint8), (50, 1))
    everything = np.ones_like(gradient)
    one, other = (windowed_by(image, everything, (1, 99)) for image in (gradient, scanner(gradient)))
    assert np.abs(one.astype(int) - other).max() <= 4


def test_a_region_without_a_pixel_windows_by_the_whole_film() -> None:
    film, breast = film_with_breast()
    assert transforms.percentile_levels(film, 0 * breast, (1, 99)) == transforms.percentile_levels(
        film, np.ones_like(breast), (1, 99)
    )


@examples(40)
@given(
    arrays(np.uint8, (9, 12)) | arrays(np.uint16, (9, 12)),
    arrays(np.uint8, (9, 12), elements=st.integers(0, 1)),
    st.floats(0, 50),
    st.floats(51, 100),
)
def test_the_contrast_is_that_of_numpys_percentiles(film: Film, region: Mask, low: float, high: float) -> None:
    inside = film[region > 0] if region.any() else film
    assert transforms.percentile_levels(film, region, (low, high)) == pytest.approx(
        tuple(np.percentile(inside, (low, high)))
    )


@examples(40)
@given(arrays(np.uint16, (9, 12)), st.integers(0, 30000), st.integers(1, 35000))
def test_16_bits_window_as_8_do_but_finer(film: Film, low: int, width: int) -> None:
    fine, coarse = (transforms.window(film, low, low + width, bits) for bits in (16, 8))
    assert (fine.dtype, coarse.dtype) == (np.uint16, np.uint8)
    assert np.abs(fine / 257 - coarse).max() <= 0.5 + 1e-9


def test_a_film_of_16_bits_keeps_its_depth() -> None:
    film = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    everything = np.ones(film.shape, np.uint8)
    assert (
        len(np.unique(transforms.window(film, *transforms.percentile_levels(film, everything, (0, 100)), 16))) == 4096
    )


@pytest.mark.parametrize("clip_limit", [1.0, 2.0, 8.0])
@pytest.mark.parametrize("shape", [(240, 160), (251, 163), (900, 600)])
def test_clahe_does_to_16_bits_what_opencv_does_to_8(shape: tuple[int, int], clip_limit: float) -> None:
    """OpenCV's own on 16 bits differs from it by tens of grey levels: no limit bites."""
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 12) * 15 + noise / 40
    film = (65535 * np.clip(smooth / 4 + 0.4, 0, 1)).astype(np.uint16)
    fine, coarse = transforms.equalise(film, clip_limit), transforms.equalise((film >> 8).astype(np.uint8), clip_limit)
    assert fine.dtype == np.uint16
    difference = np.abs(fine / 257 - coarse)
    assert difference.mean() < 0.5 + clip_limit / 4
    assert difference.max() < 2 + 2 * clip_limit
    assert len(np.unique(fine)) > 10 * len(np.unique(coarse))


def test_clahe_raises_local_contrast_and_less_so_where_it_is_limited() -> None:
    film, breast = film_with_breast((480, 300))
    inside = cv2.erode(breast, np.ones((31, 31), np.uint8)) > 0
    spreads = [film[inside].std(), *(transforms.equalise(film, limit)[inside].std() for limit in (1.5, 4.0))]
    assert spreads == sorted(spreads)
    assert spreads[0] < spreads[-1] / 2


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
    result = breast_mask(film)
    assert result.shape == film.shape
    assert set(np.unique(result)) == {0, 1}
    assert overlap(result, truth) > 0.9
    assert transforms.bounding_box(result) == pytest.approx(transforms.bounding_box(truth), abs=4 * scale)


def test_the_label_is_not_breast() -> None:
    film, _ = film_with_breast()
    add_label(film)
    assert not breast_mask(film)[8:40, 105:145].any()


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_white_border_along_the_breast_is_cut_off(depth: type[np.unsignedinteger]) -> None:
    film, truth = film_with_breast()
    film, truth = (cv2.resize(array, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST) for array in (film, truth))
    film[:, :18] = 255
    if depth is np.uint16:
        film = film.astype(np.uint16) * 16  # of 12 bits, that leave most of the range empty
    result = breast_mask(film)
    assert not result[:, :16].any()
    assert overlap(result, truth * (np.arange(truth.shape[1]) >= 18)) > 0.95
    assert transforms.percentile_levels(film, result, (1, 99.5))[1] < 0.6 * film.max()


def test_a_bright_muscle_at_the_edge_stays() -> None:
    film, truth = film_with_breast()
    muscle = np.zeros_like(film)
    cv2.fillPoly(muscle, [np.array([[0, 30], [45, 60], [0, 150]])], 1)
    film[(muscle & truth) > 0] = 255
    assert breast_mask(film)[(muscle & truth) > 0].mean() > 0.9


@pytest.mark.parametrize("level", [0, 255])
def test_a_film_without_contrast_counts_whole(level: int) -> None:
    result = breast_mask(np.full(FILM, level, np.uint8))
    assert transforms.bounding_box(result) == (0, 0, *FILM)
    assert result.mean() > 0.99


def test_the_breasts_of_the_cohort_hold_their_lesions_and_are_one_piece(cohort: Path) -> None:
    for case in cbis_ddsm.locate(cohort, "lesion", ["mass", "calcification"], 1).cases.itertuples():
        film = io.read_grey(cohort / case.image_path)
        lesion = io.read_mask(cohort / case.mask_path, film.shape)
        breast = breast_mask(film)
        assert breast[lesion > 0].mean() > 0.9, case.sample_id
        assert cv2.connectedComponents(breast)[0] == 2


def test_the_breasts_of_real_films_hold_their_lesions_and_leave_the_films_rim_out(real_root: Path) -> None:
    cases = cbis_ddsm.locate(real_root, "image", ["mass"], 2).cases.iloc[::16]
    inside, box_shares = [], []
    for case in cases.itertuples():
        film = io.read_grey(real_root / case.image_path)
        lesion = io.read_mask(real_root / case.mask_path.split(";")[0], film.shape)
        breast = breast_mask(film)
        top, left, bottom, right = transforms.bounding_box(breast)
        inside.append(breast[lesion > 0].mean())
        box_shares.append((bottom - top) * (right - left) / film.size)
    assert np.mean(np.array(inside) > 0.9) > 0.97
    assert np.mean(np.array(box_shares) > 0.98) < 0.1


def test_white_borders_of_real_films_do_not_set_their_white(real_root: Path) -> None:
    """With the borders in it, the breast of three films in ten would have its 99.5th percentile at 250 or more."""
    cases = cbis_ddsm.locate(real_root, "image", ["mass"], 2).cases.iloc[::16]
    films = [io.read_grey(real_root / path) for path in cases["image_path"]]
    white = [transforms.percentile_levels(film, breast_mask(film), (1.0, 99.5))[1] for film in films]
    assert np.mean(np.array(white) >= 250) < 0.05


def test_the_chest_wall_of_real_films_comes_to_the_left(real_root: Path) -> None:
    """It is where the breast is highest; the side named in the tables is mirrored in every fourth film."""
    for path in cbis_ddsm.locate(real_root, "image", ["mass"], 2).cases["image_path"].iloc[::16]:
        film = io.read_grey(real_root / path)
        breast = breast_mask(film)
        _, shape = breast_square(film, breast, breast, 64)
        columns = np.flatnonzero(shape.any(axis=0))
        assert shape[:, columns[:5]].sum() > shape[:, columns[-5:]].sum(), path


# Files


def write(path: Path, image: Grey) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_film_is_shown_in_its_shape(tmp_path: Path, suffix: str) -> None:
    film, _ = film_with_breast()
    path = write(tmp_path / f"film{suffix}", film)
    assert io.read_shape(path) == FILM
    read = io.read_grey(path)
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - film).mean() < (4 if suffix == ".jpg" else 1e-9)


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES - DICOM_SUFFIXES))
def test_every_format_gives_the_same_film(tmp_path: Path, suffix: str) -> None:
    film, _ = film_with_breast()
    path = write(tmp_path / f"film{suffix}", film)
    assert io.read_shape(path) == FILM
    read = io.read_film(path)
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - film).mean() < (4 if suffix in (".jpg", ".jpeg") else 1e-9)


@pytest.mark.parametrize("suffix", [".png", ".pgm", ".tif"])
def test_16_bits_are_kept_and_shown_as_8(tmp_path: Path, suffix: str) -> None:
    film = film_with_breast()[0].astype(np.uint16) * 31 + 7
    path = write(tmp_path / f"film{suffix}", film)
    assert np.array_equal(io.read_film(path), film)
    displayed = io.read_grey(path)
    assert displayed.dtype == np.uint8
    assert (displayed.min(), displayed.max()) == (0, 255)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_grey_that_is_stored_in_three_channels_is_grey(tmp_path: Path, suffix: str) -> None:
    film, _ = film_with_breast()
    path = write(tmp_path / f"film{suffix}", np.dstack([film] * 3))
    assert np.abs(io.read_film(path).astype(int) - film).mean() < 4
    assert io.read_grey(path, reduced=True).shape == (30, 19)


def test_grey_with_an_alpha_channel_is_grey(tmp_path: Path) -> None:
    film, _ = film_with_breast()
    Image.merge("LA", [Image.fromarray(film), Image.new("L", film.shape[::-1], 255)]).save(tmp_path / "film.png")
    assert np.array_equal(io.read_film(tmp_path / "film.png"), film)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("read", [io.read_film, io.read_grey, io.is_binary])
def test_a_colour_image_is_refused(tmp_path: Path, suffix: str, read: Callable[[Path], object]) -> None:
    film, breast = film_with_breast()
    path = write(tmp_path / f"film{suffix}", np.dstack([film, film, film + 90 * breast]))
    with pytest.raises(PixelError, match="a colour image") as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")


def test_an_image_of_several_pages_is_refused(tmp_path: Path) -> None:
    first, second = (Image.fromarray(film_with_breast()[0]) for _ in range(2))
    first.save(tmp_path / "film.tif", save_all=True, append_images=[second])
    with pytest.raises(PixelError, match="2 images in one file"):
        io.read_shape(tmp_path / "film.tif")


def test_floating_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PixelError, match="float32"):
        io.read_film(write(tmp_path / "film.tif", film_with_breast()[0].astype(np.float32)))


def test_a_tiny_film_is_refused_but_a_tiny_crop_has_a_shape(tmp_path: Path) -> None:
    path = write(tmp_path / "film.png", np.zeros((31, 400), np.uint8))
    assert io.read_shape(path) == (31, 400)
    with pytest.raises(PixelError, match="31x400 px; a film has at least 32"):
        io.read_film(path)


def test_a_header_does_not_turn_the_film(tmp_path: Path) -> None:
    film, _ = film_with_breast()
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.fromarray(film).save(tmp_path / "film.jpg", exif=exif, quality=95)
    assert io.read_film(tmp_path / "film.jpg").shape == io.read_shape(tmp_path / "film.jpg") == FILM


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("shape", [(240, 160), (241, 167)])
def test_a_reduced_film_is_the_mean_of_its_blocks(
    tmp_path: Path, suffix: str, reduction: int, shape: tuple[int, int]
) -> None:
    film = cv2.GaussianBlur(film_with_breast(shape)[0], (0, 0), 4)
    image = io.load(write(tmp_path / f"film{suffix}", film))
    reduced = io.decode(image, reduction)
    missing = [-side % reduction for side in shape]
    whole = np.pad(film, [(0, missing[0]), (0, missing[1])], mode="edge")
    blocks = whole.reshape(whole.shape[0] // reduction, reduction, -1, reduction).mean(axis=(1, 3))
    assert reduced.shape == blocks.shape
    assert np.abs(reduced - blocks).mean() < 1


def test_a_lesion_too_small_for_a_reduction_keeps_its_place(tmp_path: Path) -> None:
    mask = rectangle((800, 600), (401, 203, 403, 205))
    image = io.load(write(tmp_path / "mask.png", mask * np.uint8(255)))
    assert transforms.bounding_box(io.foreground(image, 8)) == (50, 25, 51, 26)


def test_a_mask_of_other_size_is_scaled_to_its_film(tmp_path: Path) -> None:
    mask = rectangle(FILM, (60, 30, 120, 90))
    path = write(tmp_path / "mask.png", mask * np.uint8(255))
    scaled = io.read_mask(path, (480, 300))
    assert np.array_equal(scaled, rectangle((480, 300), (120, 60, 240, 180)))
    assert np.array_equal(io.read_mask(path, FILM), mask)


@pytest.mark.parametrize("size", [1, 4])
def test_masks_are_told_from_crops_and_films_at_any_size(tmp_path: Path, size: int) -> None:
    film, _ = film_with_breast((240 * size, 150 * size))
    mask = rectangle(film.shape, (60, 30, 120, 90)) * np.uint8(255)
    assert io.is_binary(write(tmp_path / "mask.jpg", mask))
    assert io.has_foreground(tmp_path / "mask.jpg")
    assert not io.is_binary(write(tmp_path / "crop.jpg", film[: 200 * size, : 60 * size]))


def test_an_empty_mask_has_no_foreground(tmp_path: Path) -> None:
    assert not io.has_foreground(write(tmp_path / "mask.jpg", np.zeros(FILM, np.uint8)))


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


SPOILT = [missing, truncated, cut_by_a_few_bytes, only_a_header, empty, text, folder]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".pgm", ".tif"])
@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize(
    "read",
    [
        io.read_film,
        io.read_grey,
        io.is_binary,
        io.has_foreground,
        lambda path: io.read_grey(path, reduced=True),
        lambda path: io.read_mask(path, FILM),
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


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("spoil", SPOILT)
def test_a_shape_is_that_of_a_whole_image(tmp_path: Path, suffix: str, spoil: Callable[[Path], None]) -> None:
    path = write(tmp_path / f"film{suffix}", film_with_breast()[0])
    spoil(path)
    with pytest.raises(PixelError, match=str(path)):
        io.read_shape(path)


@examples(400, reuse_fixtures=True)
@given(
    suffix=st.sampled_from([".jpg", ".png", ".pgm", ".tif"]),
    changes=st.lists(st.tuples(st.floats(0, 1) | st.floats(0, 0.1), st.integers(0, 255)), max_size=6),
    kept=st.floats(0, 1) | st.just(1.0),
)
def test_a_damaged_file_gives_a_film_or_a_named_error(
    tmp_path: Path, suffix: str, changes: list[tuple[float, int]], kept: float
) -> None:
    path = write(tmp_path / f"film{suffix}", film_with_breast((64, 48))[0])
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[int(place * (len(content) - 1))] = value
    path.write_bytes(content[: int(kept * len(content))])
    for read in (io.read_shape, io.read_film, io.read_grey, io.is_binary, io.has_foreground):
        try:
            read(path)
        except PixelError as error:
            assert str(path) in str(error)
