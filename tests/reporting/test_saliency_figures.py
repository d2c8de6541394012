"""Sheets of saliency maps: the chosen samples, and those whose map lies furthest off the lesion."""

from dataclasses import replace
from pathlib import Path

import cv2
import imports
import numpy as np
import pandas as pd
import pytest

from mammo.core.config import load_config
from mammo.data.images.preprocess import View
from mammo.explain.shortcuts import REGIONS
from mammo.reporting.figures import film_places, png, saliency
from mammo.reporting.figures.film_places import FilmPlaces
from mammo.reporting.figures.saliency import MappedSamples
from tests import arrays


def mapped(outside: list[float]) -> MappedSamples:
    """Samples whose maps lie by these shares outside the breast, where an even map has 0.3."""
    images, masks = arrays.images(np.array([1, 0, 1, 1, 0]))
    scores = pd.DataFrame({"sample_id": list("abcde"), "label": [1, 0, 1, 1, 0], "prob": 0.4, "threshold": 0.5})
    scores = scores.assign(outcome=["false negative", "true negative", *["false negative"] * 2, "true negative"])
    scores = scores.assign(**{f"{region}_{kind}": np.nan for region in REGIONS for kind in ("share", "area")})
    scores = scores.assign(outside_share=outside, outside_area=0.3)
    maps = np.random.default_rng(0).random(images.shape).astype(np.float16)
    return MappedSamples(scores, images, masks.astype(np.uint8), maps)


def titles(figure) -> list[str]:
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts if "heat" not in text.get_text()]


def test_overlays_are_of_the_chosen_samples_with_their_decisions() -> None:
    figure = saliency.draw_overlays(mapped([0.1] * 5), {"d", "b"})
    assert titles(figure) == [
        "FN: 0.40 < threshold 0.50\nd",
        "TN: 0.40 < threshold 0.50\nb",
    ]
    again = saliency.draw_overlays(mapped([0.1] * 5), ["b", "d"])
    assert png.encode_png(figure) == png.encode_png(again)


def test_shortcuts_show_the_worst_first_beside_an_even_map() -> None:
    figure = saliency.draw_shortcuts(mapped([0.2, 0.9, np.nan, 0.5, 0.1]))
    assert figure is not None
    assert titles(figure) == [
        "b\n90% outside the breast\n(even map: 30%)",
        "d\n50% outside the breast\n(even map: 30%)",
    ]


@pytest.mark.parametrize("share", [0.2, np.nan])
def test_maps_on_the_lesion_have_no_sheet_of_shortcuts(share: float) -> None:
    assert saliency.draw_shortcuts(mapped([share] * 5)) is None


# The place of the crop on its film

PREPROCESS = load_config(imports.ROOT / "params.yaml").preprocess


def view_of_a_lesion() -> View:
    """A film of 400 x 300 px whose breast is its left half, with a lesion of 40 x 20 px."""
    lesions, breast = np.zeros((400, 300), np.uint8), np.zeros((400, 300), np.uint8)
    lesions[100:140, 60:80], breast[:, :150] = 1, 1
    return View(np.full((400, 300), 9000, np.uint16), breast, lesions)


def test_the_window_is_the_square_around_the_lesion_or_the_breast() -> None:
    view = view_of_a_lesion()
    settings = PREPROCESS.model_copy(update={"context": 2.0})
    assert film_places.find_window(view, "lesion", settings) == (80, 30, 160, 110)
    assert film_places.find_window(view, "image", settings) == (0, 0, 400, 150)


def test_the_window_of_a_breast_ends_where_the_films_edge_is_cut_off() -> None:
    settings = PREPROCESS.model_copy(update={"edge_margin": 0.02})
    assert film_places.find_window(view_of_a_lesion(), "image", settings) == (8, 6, 392, 150)


def test_the_window_is_outlined_on_the_film_and_what_leaves_it_is_cut() -> None:
    def blue(window: tuple[int, int, int, int]) -> tuple[int, ...]:
        picture = film_places.draw_place(view_of_a_lesion(), window)
        assert picture.shape == (film_places.HEIGHT_PX, 188, 3)
        rows, columns = np.nonzero((picture == film_places.WINDOW_COLOUR).all(axis=2))
        return rows.min(), columns.min(), rows.max(), columns.max()

    np.testing.assert_allclose(blue((80, 30, 160, 110)), (50, 19, 99, 68), atol=2)
    assert blue((-80, -90, 500, 400)) == (0, 0, film_places.HEIGHT_PX - 1, 187)


def test_sheets_show_the_film_of_each_sample_once_read(tmp_path: Path) -> None:
    view = view_of_a_lesion()
    cv2.imwrite(str(tmp_path / "film.png"), np.random.default_rng(0).integers(0, 256, view.film.shape, np.uint8))
    cv2.imwrite(str(tmp_path / "mask.png"), 255 * view.lesions)
    case = {"image_path": "film.png", "mask_path": "mask.png", "view": "CC"}
    places = FilmPlaces(dict.fromkeys("abcde", case), tmp_path, "lesion", PREPROCESS)
    alone = mapped([0.1] * 5)
    sheet = saliency.draw_overlays(replace(alone, places=places), {"d", "b"})
    assert set(places.drawn) == {"b", "d"}
    assert sheet.get_figwidth() > saliency.draw_overlays(alone, {"d", "b"}).get_figwidth()
    (tmp_path / "film.png").unlink()
    assert places.draw("d") is places.drawn["d"]
