"""The rule that doubts what is no mammogram: synthetic films pass, other images do not."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from dicoms import write_dicom

from mammo.data.images import breast, input_check, io
from mammo.data.sources import demo


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic cohort whose films are as large as the rule looks at them, or larger."""
    root = tmp_path_factory.mktemp("larger")
    demo.write_cohort(root, patients=20, height_px=320, signal=1.8, seed=11)
    return root


def films(root: Path) -> list[Path]:
    named = pd.read_csv(root / "csv" / "mass_case_description_test_set.csv")
    series = sorted({name.split("/")[-2] for name in named["image file path"]})
    return sorted(path for name in series for path in (root / "jpeg" / name).glob("*.jpg"))


@pytest.fixture
def film(larger: Path) -> np.ndarray:
    return io.read_film(films(larger)[0])


def test_synthetic_films_are_not_doubted(larger: Path) -> None:
    assert {input_check.rejection_reason(io.load(path)) for path in films(larger)} == {""}


def test_a_mask_of_the_whole_film_leads_to_the_same(larger: Path) -> None:
    for path in films(larger):
        image = io.load(path)
        decoded = io.decode(image)
        assert input_check.rejection_reason(image, decoded, breast.breast_mask(decoded)) == ""
    framed = np.full((600, 400), 255, np.uint8)
    assert input_check.film_rejection_reason(framed, breast.breast_mask(framed))


def test_real_films_are_hardly_ever_doubted(real_root: Path) -> None:
    doubted = [path for path in films(real_root)[:150] if input_check.rejection_reason(io.load(path))]
    assert len(doubted) <= 1


@pytest.mark.parametrize("turned", ["mirrored", "upside down", "deeper"])
def test_how_a_film_is_stored_makes_no_difference(film: np.ndarray, turned: str) -> None:
    changed = {"mirrored": film[:, ::-1], "upside down": film[::-1], "deeper": film.astype(np.uint16) * 257}[turned]
    assert input_check.film_rejection_reason(np.ascontiguousarray(changed)) == ""


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blanks_are_doubted(level: int) -> None:
    assert "blank" in input_check.film_rejection_reason(np.full((300, 200), level, np.uint8))


def test_noise_is_doubted() -> None:
    assert input_check.film_rejection_reason(np.random.default_rng(0).integers(0, 256, (300, 200), np.uint8))


def test_a_trunk_that_touches_both_sides_is_doubted() -> None:
    chest = np.full((400, 400), 170, np.uint8)
    chest[:120] = 0
    cv2.ellipse(chest, (120, 260), (60, 110), 0, 0, 360, 100, -1)
    assert "both sides" in input_check.film_rejection_reason(cv2.GaussianBlur(chest, (0, 0), 3))


def test_a_bright_background_is_doubted(film: np.ndarray) -> None:
    assert "background" in input_check.film_rejection_reason(np.maximum(film, 90))


def test_a_header_that_names_another_modality_is_believed(film: np.ndarray, tmp_path: Path) -> None:
    said = [
        input_check.rejection_reason(io.load(write_dicom(tmp_path / f"{modality}.dcm", film, Modality=modality)))
        for modality in ("MG", "DX", "")
    ]
    assert said[0] == said[2] == ""
    assert "modality DX" in said[1]


@pytest.mark.parametrize("count", [1, 2, 7, 400])
def test_the_median_of_a_region_is_numpys(count: int) -> None:
    rng = np.random.default_rng(count)
    grey = rng.integers(0, 256, (40, 30), np.uint8)
    region = np.zeros(grey.size, np.uint8)
    region[rng.permutation(grey.size)[:count]] = 1
    region = region.reshape(grey.shape)
    assert input_check._median(grey, region) == np.median(grey[region == 1])
