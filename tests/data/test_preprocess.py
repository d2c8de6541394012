"""A case becomes what a model sees: one geometry for film and mask, any format and depth, every bad file named."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo.core.config import PreprocessConfig
from mammo.data.images import io, preprocess
from mammo.data.images.dicom import PixelError
from mammo.data.images.transforms import Box, Film, Grey, Mask
from mammo.reporting.figures import contact_sheets, png
from tests.dicoms import write_dicom

SHAPE = (960, 600)
LESION: Box = (400, 150, 520, 250)
SETTINGS = PreprocessConfig(
    size_px=64,
    bits=8,
    context=2.0,
    clahe=None,
    window_percentiles=(1.0, 99.5),
    edge_margin=0.0,
    equalisation=0.0,
    blur_px=0.0,
)


def left_film(shape: tuple[int, int] = SHAPE, lesion: Box | None = LESION) -> tuple[Grey, Mask]:
    """A left breast with texture and a bright lesion on dark film with a label, and the lesion's mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = ((y / shape[0] - 0.5) / 0.42) ** 2 + (x / shape[1] / 0.8) ** 2 < 1
    texture = cv2.resize(rng.normal(size=(24, 15)), shape[::-1], interpolation=cv2.INTER_CUBIC)
    film = np.clip(inside * (90 + 12 * texture) + rng.normal(6, 2, shape), 0, 255)
    mask = np.zeros(shape, np.uint8)
    if lesion is not None:
        top, left, bottom, right = lesion
        cv2.ellipse(
            mask,
            ((left + right) // 2, (top + bottom) // 2),
            ((right - left) // 2, (bottom - top) // 2),
            *(0, 0, 360, 1, -1),
        )
        film[mask > 0] = np.clip(film[mask > 0] + 90, 0, 255)
    film[30:60, -100:-30] = 255
    return film.astype(np.uint8), mask


def write(path: Path, image: Film) -> str:
    """Write as the suffix says, and return the file's name."""
    if path.suffix == ".dcm":
        write_dicom(path, image)
    else:
        assert cv2.imwrite(str(path), image)
    return path.name


def mirrored(image: Film) -> Film:
    return np.ascontiguousarray(np.fliplr(image))


def case_of(root: Path, film: Film, mask: Mask, suffix: str = ".png", name: str = "film") -> dict[str, object]:
    return {
        "view": "CC",
        "image_path": write(root / f"{name}{suffix}", film),
        "mask_path": write(root / f"{name}_mask{suffix}", mask * np.uint8(255)),
    }


@pytest.fixture
def case(tmp_path: Path) -> dict[str, object]:
    return case_of(tmp_path, *left_film())


def difference(one: Film, other: Film) -> float:
    """Mean absolute difference in grey levels of 255."""
    scaled = [image / (257 if image.dtype == np.uint16 else 1) for image in (one, other)]
    return float(np.abs(scaled[0] - scaled[1]).mean())


def overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


# Geometry


@pytest.mark.parametrize("unit", ["lesion", "image"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".dcm"])
@pytest.mark.parametrize("right", [False, True])
def test_the_lesion_lies_where_its_mask_says(tmp_path: Path, unit: str, suffix: str, right: bool) -> None:
    film, mask = (mirrored(array) if right else array for array in left_film())
    prepared = preprocess.prepare_case(case_of(tmp_path, film, mask, suffix), tmp_path, unit, SETTINGS)
    assert prepared.image.shape == prepared.mask.shape == preprocess.square_shape(unit, 64) == (64, 64)
    assert set(np.unique(prepared.mask)) == {0, 1}
    assert prepared.lesion_share == pytest.approx(mask.mean(), rel=0.05)
    bright = (prepared.image >= 190).astype(np.uint8)
    assert overlap(bright, prepared.mask) > 0.8


@pytest.mark.parametrize("context", [1.0, 2.0, 4.0])
def test_context_is_the_side_of_the_crop_over_that_of_the_lesion(
    tmp_path: Path, case: dict[str, object], context: float
) -> None:
    prepared = preprocess.prepare_case(case, tmp_path, "lesion", SETTINGS.model_copy(update={"context": context}))
    rows = np.flatnonzero(prepared.mask.any(axis=1))
    assert (rows[-1] - rows[0] + 1) / 64 == pytest.approx(1 / context, abs=2 / 64)


def test_a_right_breast_becomes_its_left_twin(tmp_path: Path) -> None:
    film, mask = left_film()
    left = preprocess.prepare_case(case_of(tmp_path, film, mask), tmp_path, "image", SETTINGS)
    right = preprocess.prepare_case(case_of(tmp_path, mirrored(film), mirrored(mask)), tmp_path, "image", SETTINGS)
    assert difference(left.image, right.image) < 1
    assert overlap(left.mask, right.mask) > 0.9


def test_labels_turn_black_and_the_chest_wall_is_left(tmp_path: Path, case: dict[str, object]) -> None:
    image = preprocess.prepare_case(case, tmp_path, "image", SETTINGS).image
    assert not image[:12, -12:].any()
    assert image[:, :8].mean() > image[:, -8:].mean()


def test_a_mask_of_half_the_size_marks_the_same(tmp_path: Path, case: dict[str, object]) -> None:
    _, mask = left_film()
    half = mask[::2, ::2] * np.uint8(255)
    smaller = case | {"mask_path": write(tmp_path / "half.png", half)}
    for unit in ("lesion", "image"):
        one, other = (preprocess.prepare_case(parameters, tmp_path, unit, SETTINGS) for parameters in (case, smaller))
        assert overlap(one.mask, other.mask) > 0.9
        assert difference(one.image, other.image) < 4


# Marks


@pytest.mark.parametrize("unit", ["lesion", "image"])
def test_a_box_marks_as_its_mask_does(tmp_path: Path, case: dict[str, object], unit: str) -> None:
    top, left, bottom, right = LESION
    filled = np.zeros(SHAPE, np.uint8)
    filled[top:bottom, left:right] = 255
    masked = case | {"mask_path": write(tmp_path / "filled.png", filled)}
    boxed = case | {"mask_path": f"box:{top},{left},{bottom},{right}"}
    one, other = (preprocess.prepare_case(parameters, tmp_path, unit, SETTINGS) for parameters in (masked, boxed))
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.mask, other.mask)
    assert one.lesion_share == pytest.approx(other.lesion_share)


def test_all_marks_of_a_film_count(tmp_path: Path, case: dict[str, object]) -> None:
    one = preprocess.prepare_case(case, tmp_path, "image", SETTINGS)
    both = preprocess.prepare_case(
        case | {"mask_path": f"{case['mask_path']};box:600,100,700,200"}, tmp_path, "image", SETTINGS
    )
    assert np.array_equal(one.image, both.image)
    assert (both.mask >= one.mask).all()
    assert both.lesion_share == pytest.approx(one.lesion_share + 100 * 100 / (SHAPE[0] * SHAPE[1]), rel=0.02)


@pytest.mark.parametrize("nothing", ["", None, float("nan")])
def test_a_film_without_a_mark_has_an_empty_mask_and_no_lesion(
    tmp_path: Path, case: dict[str, object], nothing: object
) -> None:
    unmarked = case | {"mask_path": nothing}
    prepared = preprocess.prepare_case(unmarked, tmp_path, "image", SETTINGS)
    assert not prepared.mask.any()
    assert prepared.lesion_share == 0
    assert np.array_equal(prepared.image, preprocess.prepare_case(case, tmp_path, "image", SETTINGS).image)
    with pytest.raises(PixelError, match=r"film\.png: no lesion is marked"):
        preprocess.prepare_case(unmarked, tmp_path, "lesion", SETTINGS)


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (959, 599, 960, 600), (500, 0, 501, 600), (0, 0, *SHAPE)])
@pytest.mark.parametrize("clahe", [None, 2.0])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_lesion_of_any_size_gives_a_square(
    tmp_path: Path, case: dict[str, object], box: Box, clahe: float | None, bits: int
) -> None:
    settings = SETTINGS.model_copy(update={"context": 1.0, "clahe": clahe, "bits": bits})
    boxed = case | {"mask_path": "box:" + ",".join(map(str, box))}
    prepared = preprocess.prepare_case(boxed, tmp_path, "lesion", settings)
    assert prepared.image.shape == (64, 64)
    assert prepared.mask.any()


# Both views


def two_views(root: Path) -> dict[str, object]:
    """CC from the left film, MLO from its mirror image with another lesion."""
    cc, mlo = left_film(), left_film((800, 480), (200, 50, 300, 150))
    first = case_of(root, *cc, name="cc")
    second = case_of(root, mirrored(mlo[0]), mirrored(mlo[1]), name="mlo")
    return {
        "view": "CC|MLO",
        "image_path": f"{first['image_path']}|{second['image_path']}",
        "mask_path": f"{first['mask_path']}|{second['mask_path']}",
    }


def one_view(both: dict[str, object], number: int) -> dict[str, object]:
    return {column: str(value).split("|")[number] for column, value in both.items()}


def test_a_breast_is_its_cc_above_its_mlo(tmp_path: Path) -> None:
    both = two_views(tmp_path)
    prepared = preprocess.prepare_case(both, tmp_path, "breast", SETTINGS)
    assert prepared.image.shape == prepared.mask.shape == preprocess.square_shape("breast", 64) == (128, 64)
    for number, half in enumerate((slice(64), slice(64, None))):
        alone = preprocess.prepare_case(one_view(both, number), tmp_path, "image", SETTINGS)
        assert np.array_equal(prepared.image[half], alone.image)
        assert np.array_equal(prepared.mask[half], alone.mask)


def test_the_share_of_a_breast_is_that_of_all_its_pixels(tmp_path: Path) -> None:
    masks = [left_film()[1], left_film((800, 480), (200, 50, 300, 150))[1]]
    prepared = preprocess.prepare_case(two_views(tmp_path), tmp_path, "breast", SETTINGS)
    marked, all_px = sum(int(mask.sum()) for mask in masks), sum(mask.size for mask in masks)
    assert prepared.lesion_share == pytest.approx(marked / all_px, rel=0.01)


@pytest.mark.parametrize(
    ("number", "black", "shown"), [(0, slice(64, None), slice(64)), (1, slice(64), slice(64, None))]
)
def test_a_missing_view_is_black(tmp_path: Path, number: int, black: slice, shown: slice) -> None:
    both = two_views(tmp_path)
    prepared = preprocess.prepare_case(one_view(both, number), tmp_path, "breast", SETTINGS)
    assert prepared.image.shape == (128, 64)
    assert not prepared.image[black].any()
    assert not prepared.mask[black].any()
    whole = preprocess.prepare_case(both, tmp_path, "breast", SETTINGS)
    assert np.array_equal(prepared.image[shown], whole.image[shown])


def test_a_view_without_a_lesion_has_an_empty_half(tmp_path: Path) -> None:
    both = two_views(tmp_path)
    prepared = preprocess.prepare_case(
        both | {"mask_path": "|" + str(both["mask_path"]).split("|")[1]}, tmp_path, "breast", SETTINGS
    )
    assert not prepared.mask[:64].any()
    assert prepared.mask[64:].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view": "CC"}, "view 'CC' for 2 film"),
        ({"view": "CC|XX"}, "valid: CC, MLO"),
        ({"mask_path": "cc_mask.png"}, "2 films but marks for 1"),
    ],
)
def test_views_films_and_marks_must_agree(tmp_path: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(PixelError, match=message):
        preprocess.prepare_case(two_views(tmp_path) | change, tmp_path, "breast", SETTINGS)


def test_an_image_is_one_film(tmp_path: Path) -> None:
    with pytest.raises(PixelError, match="2 films for one image"):
        preprocess.prepare_case(two_views(tmp_path), tmp_path, "image", SETTINGS)


# Depth


@pytest.mark.parametrize("unit", ["lesion", "image"])
@pytest.mark.parametrize("clahe", [None, 2.0])
def test_16_bits_say_the_same_as_8_but_finer(tmp_path: Path, unit: str, clahe: float | None) -> None:
    film, mask = left_film()
    case = case_of(tmp_path, film.astype(np.uint16) * 100 + np.arange(SHAPE[1], dtype=np.uint16) % 100, mask, ".dcm")
    case["mask_path"] = write(tmp_path / "mask.png", mask * np.uint8(255))
    coarse, fine = (
        preprocess.prepare_case(case, tmp_path, unit, SETTINGS.model_copy(update={"bits": bits, "clahe": clahe}))
        for bits in (8, 16)
    )
    assert (coarse.image.dtype, fine.image.dtype) == (np.uint8, np.uint16)
    assert difference(coarse.image, fine.image) < 2
    assert len(np.unique(fine.image)) > 2 * len(np.unique(coarse.image))
    assert np.array_equal(coarse.mask, fine.mask)


@pytest.mark.parametrize("unit", ["lesion", "image"])
def test_the_same_film_gives_the_same_square_however_it_is_stored(tmp_path: Path, unit: str) -> None:
    film, mask = left_film()
    plain = preprocess.prepare_case(case_of(tmp_path, film, mask), tmp_path, unit, SETTINGS)
    deep = film.astype(np.uint16) * 16
    write_dicom(
        tmp_path / "film.dcm",
        np.uint16(4095) - deep,
        **{"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11},
        **{"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": 900, "WindowWidth": 300},
    )
    stored = {"view": "CC", "image_path": "film.dcm", "mask_path": "film_mask.png"}
    other = preprocess.prepare_case(stored, tmp_path, unit, SETTINGS)
    assert difference(plain.image, other.image) < 1
    assert np.array_equal(plain.mask, other.mask)


def test_clahe_changes_the_breast_and_leaves_the_rest_black(tmp_path: Path, case: dict[str, object]) -> None:
    plain = preprocess.prepare_case(case, tmp_path, "image", SETTINGS)
    equalised = preprocess.prepare_case(case, tmp_path, "image", SETTINGS.model_copy(update={"clahe": 3.0}))
    assert difference(plain.image, equalised.image) > 3
    assert not equalised.image[:12, -12:].any()
    assert np.array_equal(plain.mask, equalised.mask)


# Reduced decoding


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    root = tmp_path_factory.mktemp("large")
    return root, case_of(root, *left_film((2880, 1800), (1200, 450, 1560, 750)), ".jpg")


@pytest.mark.parametrize(("unit", "size_px", "expected"), [("image", 64, 8), ("image", 224, 4), ("lesion", 64, 4)])
def test_a_large_jpeg_is_decoded_no_finer_than_needed(
    large: tuple[Path, dict[str, object]], monkeypatch: pytest.MonkeyPatch, unit: str, size_px: int, expected: int
) -> None:
    root, case = large
    settings = SETTINGS.model_copy(update={"size_px": size_px})
    used: list[int] = []
    decode = io.decode

    def noting(image: io.Encoded, reduction: int = 1) -> Film:
        if image.path.name == "film.jpg":
            used.append(reduction)
        return decode(image, reduction)

    monkeypatch.setattr(io, "decode", noting)
    reduced = preprocess.prepare_case(case, root, unit, settings)
    assert used == [expected]
    monkeypatch.setattr(io, "REDUCTIONS", {1: io.REDUCTIONS[1]})
    whole = preprocess.prepare_case(case, root, unit, settings)
    assert used == [expected, 1]
    assert difference(reduced.image, whole.image) < 2
    assert overlap(reduced.mask, whole.mask) > 0.9
    assert reduced.lesion_share == pytest.approx(whole.lesion_share, rel=0.03)


def test_a_small_breast_on_a_large_film_is_decoded_finer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film, mask = left_film((960, 600))
    large = np.zeros((2880, 1800), np.uint8)
    large[960:1920, :600] = film * (film < 255)
    case = case_of(tmp_path, large, np.pad(mask, ((960, 960), (0, 1200))), ".jpg")
    reduced = preprocess.prepare_case(case, tmp_path, "image", SETTINGS.model_copy(update={"size_px": 128}))
    monkeypatch.setattr(io, "REDUCTIONS", {1: io.REDUCTIONS[1]})
    whole = preprocess.prepare_case(case, tmp_path, "image", SETTINGS.model_copy(update={"size_px": 128}))
    assert difference(reduced.image, whole.image) < 2


# Files


def digests(root: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.iterdir()}


def test_files_that_are_as_ingest_saw_them_pass(tmp_path: Path, case: dict[str, object]) -> None:
    checked = preprocess.prepare_case(case, tmp_path, "lesion", SETTINGS, digests(tmp_path))
    assert np.array_equal(checked.image, preprocess.prepare_case(case, tmp_path, "lesion", SETTINGS).image)


@pytest.mark.parametrize("column", ["image_path", "mask_path"])
def test_a_file_that_changed_or_is_unknown_is_refused(tmp_path: Path, case: dict[str, object], column: str) -> None:
    known = digests(tmp_path)
    name = str(case[column])
    with pytest.raises(PixelError, match="has changed since ingest; run `dvc repro -f ingest`"):
        preprocess.prepare_case(case, tmp_path, "image", SETTINGS, {key: known[key] for key in known if key != name})
    with (tmp_path / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(PixelError, match=f"{name} has changed since ingest"):
        preprocess.prepare_case(case, tmp_path, "image", SETTINGS, known)


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def black(path: Path) -> None:
    write(path, np.zeros(SHAPE, np.uint8))


def of_another_aspect(path: Path) -> None:
    write(path, np.full((960, 960), 255, np.uint8))


@pytest.mark.parametrize("unit", ["lesion", "image"])
@pytest.mark.parametrize(
    ("column", "spoil", "message"),
    [
        ("image_path", remove, "cannot be read"),
        ("image_path", truncate, "truncated"),
        ("image_path", empty, "not an image"),
        ("mask_path", remove, "cannot be read"),
        ("mask_path", empty, "not an image"),
        ("mask_path", black, "without foreground"),
        ("mask_path", of_another_aspect, "aspect"),
    ],
)
def test_a_bad_file_is_named(
    tmp_path: Path, case: dict[str, object], unit: str, column: str, spoil: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / str(case[column])
    spoil(path)
    with pytest.raises(PixelError, match=message) as error:
        preprocess.prepare_case(case, tmp_path, unit, SETTINGS)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("entry", ["box:1,2,3", "box:a,b,c,d", "box:5,5,5,9", "box:-1,0,5,5", "box:0,0,961,5"])
def test_a_box_that_is_none_is_named(tmp_path: Path, case: dict[str, object], entry: str) -> None:
    with pytest.raises(PixelError, match=f"film.png: '{entry}' is not "):
        preprocess.prepare_case(case | {"mask_path": entry}, tmp_path, "image", SETTINGS)


def test_a_tiny_film_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "tiny.png", np.zeros((20, 20), np.uint8))
    with pytest.raises(PixelError, match="20x20 px; a film has at least 32"):
        preprocess.prepare_case({"view": "CC", "image_path": "tiny.png", "mask_path": ""}, tmp_path, "image", SETTINGS)


# What is shown


def test_the_overview_shows_films_as_scanned_with_breast_and_lesion(tmp_path: Path) -> None:
    views = preprocess.overview(two_views(tmp_path), tmp_path, 200)
    assert len(views) == 2
    for view, (film, mask) in zip(views, (left_film(), left_film((800, 480), (200, 50, 300, 150))), strict=True):
        assert view.film.shape == view.breast.shape == view.lesions.shape
        assert 200 <= max(view.film.shape) < 400
        assert view.film.shape[0] / view.film.shape[1] == pytest.approx(film.shape[0] / film.shape[1], rel=0.02)
        assert view.lesions.mean() == pytest.approx(mask.mean(), rel=0.1)
        assert (view.breast[view.lesions > 0] == 1).all()


@pytest.mark.parametrize("unit", ["image", "breast"])
@pytest.mark.parametrize("bits", [8, 16])
def test_the_sheet_pairs_every_film_with_its_square(tmp_path: Path, unit: str, bits: int) -> None:
    both = two_views(tmp_path)
    cases = [both, one_view(both, 1)] if unit == "breast" else [one_view(both, 0), one_view(both, 1)]
    settings = SETTINGS.model_copy(update={"bits": bits})
    prepared = [preprocess.prepare_case(case, tmp_path, unit, settings) for case in cases]
    sheet = contact_sheets.draw_before_after(
        [preprocess.overview(case, tmp_path, 100) for case in cases],
        *(np.stack(arrays) for arrays in ([square.image for square in prepared], [square.mask for square in prepared])),
        ["one", "other"],
    )
    films, squares = sheet.axes[0::2], sheet.axes[1::2]
    assert [axes.get_title() for axes in films] == ["one", "other"]
    for axes, square in zip(squares, prepared, strict=True):
        shown = axes.images[0]
        assert np.array_equal(shown.get_array(), square.image)
        assert shown.get_clim() == (0, 2**bits - 1)
        assert len(axes.lines) >= 1
    assert all(len(axes.lines) >= 2 for axes in films)
    assert len(png.encode_png(sheet)) > 5000


# One scale for all films


@pytest.mark.parametrize("unit", ["lesion", "image"])
def test_equalised_films_of_two_digitisers_look_alike(tmp_path: Path, unit: str) -> None:
    film, mask = left_film()
    curve = (255 * (np.arange(256) / 255) ** 2.2).astype(np.uint8)
    one, other = case_of(tmp_path, film, mask), case_of(tmp_path, curve[film], mask, name="other")

    def distance(settings: PreprocessConfig) -> float:
        images = [preprocess.prepare_case(case, tmp_path, unit, settings).image for case in (one, other)]
        return difference(*images)

    equalised = SETTINGS.model_copy(update={"equalisation": 1.0})
    assert distance(equalised) < 0.5 * distance(SETTINGS)
    assert distance(SETTINGS) > 3


def test_the_margin_of_a_film_is_no_breast(tmp_path: Path) -> None:
    film, mask = left_film()
    film[:, :12] = 255  # light passed beside the film, where the chest wall is
    case = case_of(tmp_path, film, mask)
    cut = preprocess.prepare_case(case, tmp_path, "image", SETTINGS.model_copy(update={"edge_margin": 0.03})).image
    clean = preprocess.prepare_case(case_of(tmp_path, *left_film(), name="clean"), tmp_path, "image", SETTINGS).image
    assert cut[20:40, :2].mean() == pytest.approx(clean[20:40, :2].mean(), abs=25)
    assert (cut == 255).mean() < (preprocess.prepare_case(case, tmp_path, "image", SETTINGS).image == 255).mean() + 0.01


def test_blur_brings_sharpness_to_one_scale_and_keeps_the_black(tmp_path: Path, case: dict[str, object]) -> None:
    sharp = preprocess.prepare_case(case, tmp_path, "image", SETTINGS).image
    soft = preprocess.prepare_case(case, tmp_path, "image", SETTINGS.model_copy(update={"blur_px": 1.0})).image
    edges = [np.abs(cv2.Laplacian(image, cv2.CV_32F))[20:40, 5:20].mean() for image in (sharp, soft)]
    assert edges[1] < 0.7 * edges[0]
    assert not soft[sharp == 0].any()
