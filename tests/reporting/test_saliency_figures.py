"""Sheets of saliency maps: the chosen samples, and those whose map lies furthest off the lesion."""

import numpy as np
import pandas as pd
import pytest

from mammo.explain.shortcuts import REGIONS
from mammo.reporting.figures import png, saliency
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
