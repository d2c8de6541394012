"""What only the pixels show is doubted where it enters: damaged files, films that are none, masks that mark nothing."""

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from dicoms import write_dicom

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.files import describe_refused_write
from mammo.data import datasets, plausibility
from mammo.data.datasets import Located, _annotations
from mammo.data.images import crop_match, dicom, io
from mammo.data.sources import demo
from tests import external_fixtures

LIMITS = load_config(Path(__file__).resolve().parents[2] / "params.yaml").ingest.checks


@pytest.fixture(scope="module")
def located(cohort: Path) -> Located:
    return datasets.load_dataset("cbis_ddsm").locate(cohort, "lesion", ["mass", "calcification"], 1)


@pytest.fixture
def case(located: Located, cohort: Path, tmp_path: Path) -> pd.DataFrame:
    """One case, whose files lie in tmp_path and may be changed."""
    first = located.cases.head(1)
    for column in ("image_path", "mask_path"):
        target = tmp_path / first[column].iloc[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(cohort / first[column].iloc[0], target)
    return first


def doubt(case: pd.DataFrame, root: Path) -> str:
    return plausibility.find_doubts(root, Located(case, case, [], {}), LIMITS, 1).reasons.get(
        case["sample_id"].iloc[0], ""
    )


def judge(mask: np.ndarray, grey: np.ndarray, breast: np.ndarray) -> str:
    return plausibility.mask_rejection_reason(plausibility.measure_mask(mask, grey, breast), LIMITS)


def test_no_sample_of_the_cohort_is_doubted(located: Located, cohort: Path) -> None:
    assert plausibility.find_doubts(cohort, located, LIMITS, 2).reasons == {}


def halve(content: bytes) -> bytes:
    return content[: len(content) // 2] + b"\xff\xd9"


def blank_the_middle(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(400) + content[middle + 400 :]


@pytest.mark.parametrize("damage", [halve, blank_the_middle])
@pytest.mark.parametrize("column", ["image_path", "mask_path"])
def test_a_damaged_jpeg_is_named(
    column: str, damage: Callable[[bytes], bytes], case: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / case[column].iloc[0]
    path.write_bytes(damage(path.read_bytes()))
    assert doubt(case, tmp_path).startswith(f"{case[column].iloc[0]}: damaged (")


MASKS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "white": (np.ones_like, "marks 100"),
    "negative": (lambda mask: 1 - mask, "the mask marks"),
    "one pixel": (lambda mask: np.pad(np.ones((1, 1), np.uint8), ((0, 399), (0, 399))), "the mask marks 0.001%"),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_that_marks_no_lesion_is_doubted(name: str, case: pd.DataFrame, tmp_path: Path) -> None:
    change, reason = MASKS[name]
    path = tmp_path / case["mask_path"].iloc[0]
    changed = change(io.foreground(io.load(path)))
    cv2.imwrite(str(path), 255 * changed, [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert reason in judge(changed, np.zeros((90, 60), np.uint8), np.ones((90, 60), np.uint8))
    if name != "one pixel":  # JPEG blurs it away, which locate refuses
        assert reason in doubt(case, tmp_path)


def test_a_mask_outside_the_breast_or_on_nothing_is_doubted() -> None:
    mask, breast = np.zeros((100, 80), np.uint8), np.zeros((100, 80), np.uint8)
    mask[10:20, 60:70], breast[:, :40] = 1, 1
    grey = np.random.default_rng(0).integers(0, 255, mask.shape, np.uint8)
    assert "lies outside the breast" in judge(mask, grey, breast)
    inside = np.roll(mask, -45, axis=1)
    assert judge(inside, grey, breast) == ""
    assert "blank" in judge(inside, np.full_like(grey, 9), breast)


@pytest.mark.parametrize("name", ["noise", "negative", "blank"])
def test_a_film_that_is_none_is_doubted(name: str, case: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / case["image_path"].iloc[0]
    film = io.read_grey(path)
    noise = np.random.default_rng(0).integers(0, 256, film.shape, np.uint8)
    cv2.imwrite(str(path), {"noise": noise, "negative": 255 - film, "blank": np.zeros_like(film)}[name])
    assert ": not a mammogram: " in doubt(case, tmp_path)


def test_real_samples_are_not_doubted(real_root: Path) -> None:
    located = datasets.load_dataset("cbis_ddsm").locate(real_root, "lesion", ["mass"], 2)
    some = replace(located, cases=located.cases.iloc[::80])
    assert len(some.crops) == len(located.cases)
    assert plausibility.find_doubts(real_root, some, LIMITS, 2).reasons == {}


# The crop as a witness


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Located]:
    """A synthetic cohort whose crops are large enough to be witnesses."""
    root = tmp_path_factory.mktemp("large")
    demo.write_cohort(root, patients=20, height_px=640, signal=1.8, seed=3)
    return root, datasets.load_dataset("cbis_ddsm").locate(root, "lesion", ["mass", "calcification"], 2)


def test_every_crop_shows_its_own_lesion(large: tuple[Path, Located]) -> None:
    root, located = large
    assert set(located.crops) == set(located.cases["mask_path"])
    assert plausibility.find_doubts(root, located, LIMITS, 2).reasons == {}


@pytest.mark.parametrize("swapped", ["image_path", "mask_path", "crop_path"])
def test_swapped_files_are_found_by_the_crop(large: tuple[Path, Located], swapped: str) -> None:
    root, located = large
    cases = located.cases.assign(crop_path=located.cases["mask_path"].map(located.crops))
    witnesses = [min(io.read_shape(root / path)) >= 40 for path in cases["crop_path"]]
    pair = cases[witnesses].drop_duplicates("patient_id").index[:2]
    cases.loc[pair, swapped] = cases.loc[pair, swapped].to_numpy()[::-1]
    crops = dict(zip(cases["mask_path"], cases["crop_path"], strict=True))
    doubts = plausibility.find_doubts(root, Located(cases, cases, [], {}, crops), LIMITS, 2).reasons
    assert set(doubts) == set(cases.loc[pair, "sample_id"])


@pytest.mark.parametrize("kind", ["even", "larger than the film"])
def test_a_crop_that_shows_nothing_of_the_film_is_doubted(large: tuple[Path, Located], kind: str) -> None:
    root, located = large
    case = located.cases.iloc[0]
    film, mask = io.load(root / case["image_path"]), io.load(root / case["mask_path"])
    pixels = np.full((80, 80), 90, np.uint8) if kind == "even" else cv2.resize(io.decode(film), None, fx=1.5, fy=1.5)
    crop = io.parse_image(Path("crop.png"), cv2.imencode(".png", pixels)[1].tobytes())
    assert crop_match.correlate_crop(film, mask, crop, LIMITS.crop_min_px) == 0.0


def test_where_no_crop_matches_none_is_a_witness(large: tuple[Path, Located], caplog: pytest.LogCaptureFixture) -> None:
    root, located = large
    crops = dict(zip(located.crops, np.roll(list(located.crops.values()), 1), strict=True))
    assert plausibility.find_doubts(root, replace(located, crops=crops), LIMITS, 2).reasons == {}
    assert "crops do not show their place on the film" in caplog.text


def test_what_is_measured_of_each_mask_is_kept(large: tuple[Path, Located]) -> None:
    root, located = large
    doubts = plausibility.find_doubts(root, located, LIMITS, 1)
    checks = schemas.check_table(doubts.checks, schemas.CHECKS, "checks")
    assert checks["mask_path"].to_list() == located.cases["mask_path"].to_list()
    assert checks["crop_path"].to_list() == [located.crops[mask] for mask in checks["mask_path"]]
    assert checks["reason"].isna().all()
    assert checks[["marked_share", "inside_breast", "spread"]].notna().all(axis=None)
    assert (checks["crop_correlation"].dropna() >= LIMITS.crop_correlation).all()
    pd.testing.assert_frame_equal(plausibility.find_doubts(root, located, LIMITS, 2).checks, doubts.checks)


def test_a_doubted_sample_is_kept_with_what_was_measured(case: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / case["mask_path"].iloc[0]
    cv2.imwrite(str(path), np.full(io.read_shape(path), 255, np.uint8))
    doubts = plausibility.find_doubts(tmp_path, Located(case, case, [], {}), LIMITS, 1)
    (row,) = schemas.check_table(doubts.checks, schemas.CHECKS, "checks").to_dict(orient="records")
    assert row["marked_share"] == 1.0 and row["reason"] == doubts.reasons[row["sample_id"]]
    path.unlink()
    doubts = plausibility.find_doubts(tmp_path, Located(case, case, [], {}), LIMITS, 1)
    assert doubts.checks["marked_share"].isna().all() and "cannot be read" in doubts.checks["reason"].item()


# Names and reasons


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"BM" + bytes(60), "a BMP image"), (b"GIF89a" + bytes(60), "a GIF image"), (b"RIFF0000WEBPVP8 ", "a WebP image")],
)
def test_other_formats_are_called_what_they_are(content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(dicom.PixelError, match=rf"a\.png: {kind}"):
        io.load(tmp_path / "a.png")


def test_a_dicom_file_of_siemens_is_one(cohort: Path, located: Located, tmp_path: Path) -> None:
    grey = io.read_grey(cohort / located.cases["image_path"].iloc[0])
    path = write_dicom(tmp_path / "film.IMA", grey)
    assert path.suffix.lower() in io.IMAGE_SUFFIXES
    assert io.load(path).shape == grey.shape


def test_a_reason_holds_no_address_in_memory(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image at all")
    with pytest.raises(dicom.PixelError, match="not an image") as caught:
        io.load(tmp_path / "a.png")
    assert "0x" not in str(caught.value)


def test_a_film_with_two_files_is_excluded_with_both_names(tmp_path: Path) -> None:
    external_fixtures.write_mini_mias(tmp_path)
    (tmp_path / "newset").mkdir()
    shutil.copy(tmp_path / "mdb002.pgm", tmp_path / "newset" / "mdb001.pgm")
    located = datasets.load_dataset("mini_mias").locate(tmp_path, "image", ["mass"], 1)
    reasons = located.excluded.loc[located.excluded["reason"].str.contains("mdb001"), "reason"].to_list()
    assert reasons == ["2 files have this film's name: mdb001.pgm, newset/mdb001.pgm; keep one"]
    assert not located.cases["image_path"].str.contains("mdb001").any()


def test_an_inbreast_film_with_two_files_is_excluded(tmp_path: Path) -> None:
    external_fixtures.write_inbreast(tmp_path)
    film = sorted((tmp_path / "AllDICOMs").iterdir())[0]
    shutil.copy(film, film.with_name(film.name.replace("ANON", "COPY")))
    located = datasets.load_dataset("inbreast").locate(tmp_path, "image", ["mass", "calcification"], 1)
    assert located.excluded["reason"].str.contains("2 files have this film's name").any()
    assert not located.cases["image_path"].str.contains(film.name.split("_")[0]).any()


@pytest.mark.parametrize(
    ("text", "category"), [("4", 4), ("4a", 4), ("4.0", 4), ("99", None), ("", None), ("4d", None)]
)
def test_birads_categories_as_spreadsheets_write_them(text: str, category: int | None) -> None:
    assert _annotations.parse_birads(text) == category


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "data/x"), "data/x: No space left on device; free space"),
        (OSError(errno.EROFS, "Read-only file system", "data/x"), "data/x: Read-only file system; make the folder"),
        (shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]), "No space left on device; free space"),
        (FileNotFoundError(errno.ENOENT, "No such file", "data/x"), ""),
    ],
)
def test_a_disk_that_refuses_is_said_in_words(error: OSError, words: str) -> None:
    assert describe_refused_write(error).startswith(words)
    assert bool(describe_refused_write(error)) == bool(words)
