"""The place of a model's input on its whole film: the film, with the outline of what was cut out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mammo.core.config import PreprocessConfig
from mammo.data.images import preprocess, transforms
from mammo.data.images.preprocess import View
from mammo.reporting.figures import overlays

HEIGHT_PX = 250  # of a drawn film
WINDOW_COLOUR = (233, 180, 86)  # blue, green, red: the sky blue of contact_sheets.BREAST_COLOUR
LINE_PX = 2

Colours = npt.NDArray[np.uint8]  # (h, w, 3): blue, green, red


@dataclass(frozen=True)
class FilmPlaces:
    """Draws the places of samples, each sample once.

    cases: rows of schemas.CASES by sample_id, their files below `root`; unit: ingest.unit.
    """

    cases: Mapping[str, Mapping[str, Any]]
    root: Path
    unit: str
    settings: PreprocessConfig
    drawn: dict[str, Colours] = field(default_factory=dict)

    def draw(self, sample_id: str) -> Colours:
        """Return the films of a sample side by side, (HEIGHT_PX, w, 3), what the model gets outlined on each."""
        if sample_id not in self.drawn:
            views = preprocess.overview(self.cases[sample_id], self.root, HEIGHT_PX)
            films = [draw_place(view, find_window(view, self.unit, self.settings)) for view in views]
            self.drawn[sample_id] = np.asarray(np.hstack(films), np.uint8)
        return self.drawn[sample_id]


def find_window(view: View, unit: str, settings: PreprocessConfig) -> transforms.Box:
    """Return the part of a film that a model gets: the square around the lesions, or for other units the breast."""
    if unit != "lesion":
        return transforms.bounding_box(transforms.cut_margin(view.breast, settings.edge_margin))
    return transforms.square_around(transforms.bounding_box(view.lesions), settings.context)


def draw_place(view: View, window: transforms.Box) -> Colours:
    """Return the film of a view as (HEIGHT_PX, w, 3) with the outline of the window, which may leave the film."""
    picture = cv2.cvtColor(overlays.fit_height(transforms.stretch_to_8_bits(view.film), HEIGHT_PX), cv2.COLOR_GRAY2BGR)
    height, width = picture.shape[:2]
    top, left, bottom, right = (round(side * height / view.film.shape[0]) for side in window)
    corners = (max(left, 0), max(top, 0)), (min(right, width) - 1, min(bottom, height) - 1)
    return np.asarray(cv2.rectangle(picture, *corners, WINDOW_COLOUR, LINE_PX), np.uint8)
