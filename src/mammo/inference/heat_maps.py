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
from mammo.data.images.preprocess import Square
from mammo.data.samples import Samples
from mammo.explain.saliency import CAMS, METHODS, Explainer
from mammo.reporting.figures import overlays

METHOD = "layercam"
STEM_BYTES = 200  # of a file's name that goes into its picture's; file systems take 255 in all
MIN_PANEL_PX = 192  # side of a film, and of its heat map


@dataclass(frozen=True)
class HeatMapSettings:
    """The folder that heat maps are written to, and the method of explain/saliency.py."""

    folder: Path
    method: str = METHOD


@dataclass(frozen=True)
class HeatMapWriter:
    """Writes heat maps of one model; taken: the paths that it wrote."""

    explainer: Explainer
    settings: HeatMapSettings
    taken: set[Path] = field(default_factory=set)

    def write(self, files: list[Path], squares: list[Square], prob: npt.NDArray[np.float64]) -> list[str]:
        """Write the film beside its heat map for each of the squares; return the files."""
        images = Samples(pd.DataFrame(index=range(len(squares))), np.stack([square.image for square in squares]))
        pixels = images.pixels(np.arange(len(squares)))
        maps = self._maps(pixels)
        paths = []
        for place, (file, square) in enumerate(zip(files, squares, strict=True)):
            grey, caption = pixels[place, ..., 0].astype(np.uint8), f"{self.settings.method}, prob {prob[place]:.2f}"
            size_px = max(MIN_PANEL_PX, *grey.shape)
            path = self._free_path(file)
            with atomic_write(path) as unfinished:
                unfinished.write_bytes(overlays.encode_heat_map(grey, square.mask, maps[place], caption, size_px))
            paths.append(str(path))
        return paths

    def _maps(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the maps (n, h, w): what a method draws at random must not depend on what else is in the batch."""
        method = self.settings.method
        if method in CAMS:
            return self.explainer.maps(pixels, method)
        return np.concatenate([self.explainer.maps(pixels[place : place + 1], method) for place in range(len(pixels))])

    def _free_path(self, file: Path) -> Path:
        """Return the path of a file's heat map: its name, with a number where another file's has it."""
        stem = os.fsdecode(os.fsencode(file.stem)[:STEM_BYTES])
        names = chain([f"{stem}.png"], (f"{stem}_{number}.png" for number in count(2)))
        path = next(path for path in map(self.settings.folder.joinpath, names) if path not in self.taken)
        self.taken.add(path)
        return path


def open_writer(model: keras.Model, settings: HeatMapSettings) -> HeatMapWriter:
    """Make the folder and return the writer; raises InputError for an unknown method."""
    if settings.method not in METHODS:
        raise InputError(f"unknown saliency method {settings.method!r}; there are {', '.join(METHODS)}")
    settings.folder.mkdir(parents=True, exist_ok=True)
    return HeatMapWriter(Explainer(model), settings)
