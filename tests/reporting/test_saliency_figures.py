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
    scores = scores.assign(**{f"{region}_{kind}": np.nan for region in REGIONS for kind in ("share", "area")})
    scores = scores.assign(outside_share=outside, outside_area=0.3)
    maps = np.random.default_rng(0).random(images.shape).astype(np.float16)
    return MappedSamples(scores, images, masks.astype(np.uint8), maps)


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_overlays_are_of_the_chosen_samples_with_their_decisions() -> None:
    figure = saliency.draw_overlays(mapped([0.1] * 5), {"d", "b"})
    assert titles(figure) == [
        "b\nbenign, prob 0.40 < threshold 0.50",
        "d\nmalignant, prob 0.40 < threshold 0.50",
    ]
    again = saliency.draw_overlays(mapped([0.1] * 5), ["b", "d"])
    assert png.encode_png(figure) == png.encode_png(again)


def test_shortcuts_show_the_worst_first_beside_an_even_map() -> None:
    figure = saliency.draw_shortcuts(mapped([0.2, 0.9, np.nan, 0.5, 0.1]))
    assert figure is not None
    assert titles(figure) == [
        "b\n90.0% outside the breast (even map: 30.0%)",
        "d\n50.0% outside the breast (even map: 30.0%)",
    ]


@pytest.mark.parametrize("share", [0.2, np.nan])
def test_maps_on_the_lesion_have_no_sheet_of_shortcuts(share: float) -> None:
    assert saliency.draw_shortcuts(mapped([share] * 5)) is None
