"""Heat maps of single films: the film beside where the model looked, a PNG per row."""

import os
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.errors import InputError
from mammo.core.files import atomic_write
from mammo.data.images import placement, preprocess
from mammo.data.images.io import Encoded
from mammo.data.images.placement import Values
from mammo.data.images.preprocess import Square
from mammo.data.samples import Samples
from mammo.explain.saliency import CAMS, METHODS, Explainer
from mammo.inference import films
from mammo.inference.about import About
from mammo.inference.films import Corners
from mammo.inference.model_files import Ensemble
from mammo.reporting.figures import overlays

METHOD = "layercam"
STEM_BYTES = 200  # of a file's name that goes into that of its picture, or results; file systems take 255 in all
MIN_PANEL_PX = 192  # side of a film, and of its heat map


@dataclass(frozen=True)
class HeatMapSettings:
    """The folder that heat maps are written to, and the method of explain/saliency.py."""

    folder: Path
    method: str = METHOD


class MemberExplainer:
    """Explains an ensemble: the sum of its members' maps by the weights of its combination.

    Each map is scaled by its own maximum, so that a weight counts the same whatever a member's features measure. A
    member of negative weight takes away from where it sees evidence for malignancy; what is left below 0 is 0.
    """

    def __init__(self, ensemble: Ensemble):
        weights = ensemble.combination.by_member()
        self.members = [(Explainer(model), weights[name]) for name, model in ensemble.members.items() if weights[name]]

    def maps(self, images: npt.NDArray[Any], method: str) -> npt.NDArray[np.float32]:
        """Return maps (n, h, w) in 0..1 of images (n, h, w, 1), as Explainer does."""
        total = np.zeros(images.shape[:3])
        for explainer, weight in self.members:
            total += weight * explainer.maps(images, method)
        positive = np.maximum(total, 0)
        peak = positive.max(axis=(1, 2), keepdims=True)
        return np.asarray(np.divide(positive, peak, out=np.zeros_like(positive), where=peak > 0), np.float32)


@dataclass(frozen=True)
class HeatMapDrawer:
    """Draws heat maps of one model, or of an ensemble, by one method; score: what the caption calls the probability."""

    explainer: Explainer | MemberExplainer
    method: str
    score: str = "prob"

    def draw(self, squares: list[Square], prob: npt.NDArray[np.float64]) -> list[bytes]:
        """Return a PNG of each film beside its heat map."""
        pixels = _pixels(squares)
        pictures = []
        for grey, square, heat, value in zip(pixels[..., 0], squares, self._maps(pixels), prob, strict=True):
            size_px = max(MIN_PANEL_PX, *grey.shape)
            caption = f"{self._describe_method()}, {self.score} {value:.2f}"
            pictures.append(overlays.encode_heat_map(grey.astype(np.uint8), square.mask, heat, caption, size_px))
        return pictures

    def map_film(self, film: Encoded, corners: Corners | None, about: About) -> Values:
        """Return the heat map of a film, or of a box in it, where it lies on the film: (h, w) in 0..1."""
        located = films.locate(film, corners, about)
        square = preprocess.cut_square(located, about.preprocess)
        (heat,) = self._maps(_pixels([square]))
        return placement.place_on_film(heat, located, film.shape, about.preprocess)

    def _describe_method(self) -> str:
        if isinstance(self.explainer, Explainer):
            return self.method
        return f"{self.method}, weighted sum of {len(self.explainer.members)} members"

    def _maps(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the maps (n, h, w): what a method draws at random must not depend on what else is in the batch."""
        if self.method in CAMS:
            return self.explainer.maps(pixels, self.method)
        return np.concatenate([self.explainer.maps(pixels[[place]], self.method) for place in range(len(pixels))])


@dataclass(frozen=True)
class HeatMapWriter:
    """Writes heat maps to a folder; taken: the names of its pictures, without suffix."""

    drawer: HeatMapDrawer
    folder: Path
    taken: set[str] = field(default_factory=set)

    def write(self, files: list[Path], squares: list[Square], prob: npt.NDArray[np.float64]) -> list[str]:
        """Write the film beside its heat map for each of the squares; return the files."""
        paths = []
        for file, picture in zip(files, self.drawer.draw(squares, prob), strict=True):
            path = self.folder / f"{free_stem(file, self.taken)}.png"
            with atomic_write(path) as unfinished:
                unfinished.write_bytes(picture)
            paths.append(str(path))
        return paths


def free_stem(file: Path, taken: set[str]) -> str:
    """Return a file's name without suffix for what is written of it, with a number where it is taken; take it."""
    stem = os.fsdecode(os.fsencode(file.stem)[:STEM_BYTES])
    names = chain([stem], (f"{stem}_{number}" for number in count(2)))
    free = next(name for name in names if name not in taken)
    taken.add(free)
    return free


def _pixels(squares: list[Square]) -> npt.NDArray[Any]:
    """Return squares as a model takes them: (n, h, w, 1)."""
    images = Samples(pd.DataFrame(index=range(len(squares))), np.stack([square.image for square in squares]))
    return images.pixels(np.arange(len(squares)))


def make_drawer(model: keras.Model | Ensemble, method: str = METHOD, two_views: bool = False) -> HeatMapDrawer:
    """Return what draws the heat maps of a model or an ensemble; raises InputError for an unknown method.

    two_views: its answer is a mean over views, and a map shows one of them.
    """
    if method not in METHODS:
        raise InputError(f"unknown saliency method {method!r}; there are {', '.join(METHODS)}")
    explainer = MemberExplainer(model) if isinstance(model, Ensemble) else Explainer(model)
    return HeatMapDrawer(explainer, method, "prob of this view" if two_views else "prob")


def open_writer(model: keras.Model | Ensemble, settings: HeatMapSettings, two_views: bool = False) -> HeatMapWriter:
    """Make the folder and return the writer; raises InputError for an unknown method."""
    drawer = make_drawer(model, settings.method, two_views)
    settings.folder.mkdir(parents=True, exist_ok=True)
    return HeatMapWriter(drawer, settings.folder)
