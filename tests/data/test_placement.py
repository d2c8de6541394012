"""What was cut out of a film goes back to where it was, whatever was reduced or mirrored."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo.data.images import io, placement, preprocess
from mammo.data.images.transforms import Box, Film
from tests.data.test_preprocess import SETTINGS, left_film

BOX: Box = (400, 150, 520, 250)


def encoded(film: Film, suffix: str) -> io.Encoded:
    _, data = cv2.imencode(suffix, film)
    return io.parse_image(Path("film"), data.tobytes())


@pytest.mark.parametrize(("scale", "suffix"), [(1, ".png"), (3, ".jpg")])  # JPEG is decoded at a reduced size
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize(("unit", "box"), [("lesion", BOX), ("image", None)])
def test_a_bright_spot_of_a_film_is_found_again_where_it_was(
    unit: str, box: Box | None, right: bool, scale: int, suffix: str
) -> None:
    film, mask = left_film()
    film, mask = (cv2.resize(image, None, fx=scale, fy=scale)[: 960 * scale - 3] for image in (film, mask))
    if box is not None:
        box = (scale * box[0], scale * box[1], scale * box[2], scale * box[3])
    if right:
        film, mask = film[:, ::-1].copy(), mask[:, ::-1].copy()
        width = film.shape[1]
        box = box and (box[0], width - box[3], box[2], width - box[1])
    image = encoded(film, suffix)
    located = preprocess.locate_film(image, box, unit, SETTINGS)
    square = preprocess.cut_square(located, SETTINGS).image.astype(np.float32) / 255
    placed = placement.place_on_film((square > 0.75).astype(np.float32), located, image.shape, SETTINGS)
    assert placed.shape == film.shape
    spot = (placed > 0.5) & (np.arange(film.shape[0]) > 70 * scale)[:, np.newaxis]
    overlap = (spot & (mask > 0)).sum() / (spot | (mask > 0)).sum()
    assert overlap > 0.85


def test_a_window_that_leaves_the_film_keeps_what_lies_on_it() -> None:
    film, _ = left_film()
    image = encoded(film, ".png")
    located = preprocess.locate_film(image, (0, 0, 90, 80), "lesion", SETTINGS)
    placed = placement.place_on_film(np.ones((64, 64), np.float32), located, image.shape, SETTINGS)
    assert located.crop is not None
    _, _, bottom, right = located.crop[0]
    assert min(located.crop[0]) < 0
    assert placed[:bottom, :right].all()
    assert placed.sum() == bottom * right
