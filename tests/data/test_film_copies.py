"""Copies: a manipulated copy of a film is found among others, and no other film is taken for one."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from mammo.data import film_copies
from mammo.data.film_copies import Portrait
from mammo.data.images import io
from mammo.data.sources import _phantoms

Film = npt.NDArray[np.uint8]


def jpeg(film: Film, quality: int) -> Film:
    _, content = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE), np.uint8)


def cut(film: Film, share: float) -> Film:
    height, width = (round(share * side) for side in film.shape)
    return film[height:-height, width:-width]


def bordered(film: Film, share: float, grey: int) -> Film:
    px = round(share * film.shape[0])
    return np.asarray(cv2.copyMakeBorder(film, px, px, px, px, cv2.BORDER_CONSTANT, value=[grey]), np.uint8)


def shifted(film: Film, down: float, right: float) -> Film:
    moved = np.array([[1, 0, right * film.shape[1]], [0, 1, down * film.shape[0]]])
    return np.asarray(cv2.warpAffine(film, moved, film.shape[::-1]), np.uint8)


CHANGES: dict[str, Callable[[Film], Film]] = {
    "re-encoded": lambda film: jpeg(film, 30),
    "mirrored": lambda film: film[:, ::-1],
    "upside down": lambda film: film[::-1],
    "turned": lambda film: film.T[:, ::-1],
    "inverted": lambda film: 255 - film,
    "cropped": lambda film: cut(film, 0.05),
    "bordered": lambda film: bordered(film, 0.08, 128),
    "shifted": lambda film: shifted(film, 0.05, 0.05),
    "cropped, inverted, upside down": lambda film: 255 - cut(film, 0.05)[::-1],
}


def found(originals: list[Film], change: Callable[[Film], Film], portraits: list[Portrait]) -> int:
    """The number of changed films that are found to be their own originals and no others."""
    changed = [film_copies.draw_portrait(np.ascontiguousarray(change(film))) for film in originals]
    copies = film_copies.find_copies(changed, portraits)
    assert all(copy.first == copy.second for copy in copies)
    return len(copies)


@pytest.fixture(scope="module")
def films() -> list[Film]:
    """Both views of five synthetic breasts."""
    rng = np.random.default_rng(5)
    draws: list[Film] = []
    for density in (1, 2, 3, 4, 2):
        anatomy = _phantoms.draw_anatomy(rng, density)
        projections = [_phantoms.Projection("LEFT", view, 320) for view in ("CC", "MLO")]
        draws += [_phantoms.draw_film(rng, anatomy, projection, []).pixels for projection in projections]
    return draws


@pytest.fixture(scope="module")
def portraits(films: list[Film]) -> list[Portrait]:
    return [film_copies.draw_portrait(film) for film in films]


def test_views_and_breasts_are_no_copies_of_each_other(portraits: list[Portrait]) -> None:
    assert film_copies.find_copies(portraits) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change: str, films: list[Film], portraits: list[Portrait]) -> None:
    assert found(films, CHANGES[change], portraits) >= 9


def test_copies_of_copies_have_one_name(films: list[Film]) -> None:
    three = [films[0], films[1], np.ascontiguousarray(films[0][::-1]), cut(films[0], 0.05)]
    portraits = [film_copies.draw_portrait(np.ascontiguousarray(film)) for film in three]
    assert film_copies.group_copies(["c", "x", "b", "a"], portraits) == {"a": "a", "b": "a", "c": "a"}


@pytest.mark.parametrize("shape", [(1, 1), (3, 90), (40, 40)])
@pytest.mark.parametrize("grey", [0, 255])
def test_a_film_without_content_is_no_copy_of_anything(
    grey: int, shape: tuple[int, int], films: list[Film], portraits: list[Portrait]
) -> None:
    blank = [film_copies.draw_portrait(np.full(shape, grey, np.uint8))] * 2
    assert film_copies.find_copies([*blank, *portraits]) == []
    assert film_copies.find_copies([]) == []


def test_of_real_films_changed_copies_are_found_and_no_other_film_is_one(real_root: Path) -> None:
    folders = sorted((real_root / "jpeg").iterdir())[::80]
    read = [io.read_grey(path) for folder in folders for path in sorted(folder.iterdir())[:1]]
    films = [film for film in read if film.shape == (800, 800) and np.unique(film).size > 200]
    portraits = [film_copies.draw_portrait(film) for film in films]
    assert len(films) > 10
    assert film_copies.find_copies(portraits) == []
    for change in ("upside down", "inverted", "cropped", "bordered", "shifted"):
        assert found(films, CHANGES[change], portraits) >= 0.85 * len(films)
