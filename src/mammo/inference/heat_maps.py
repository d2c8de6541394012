"""Heat maps of single films: the film beside where the model looked, a PNG per row."""

from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.errors import InputError
from mammo.data.images.preprocess import Square
from mammo.data.samples import Samples
from mammo.explain.saliency import METHODS, Explainer

METHOD = "layercam"


@dataclass(frozen=True)
class HeatMapSettings:
    """The folder that heat maps are written to, and the method of explain/saliency.py."""

    folder: Path
    method: str = METHOD


@dataclass(frozen=True)
class HeatMapWriter:
    """Writes heat maps of one model."""

    explainer: Explainer
    settings: HeatMapSettings
    name_counts: dict[str, int] = field(default_factory=dict)  # how many files of that name were written

    def write(self, files: list[Path], squares: list[Square], prob: npt.NDArray[np.float64]) -> list[str]:
        """Write the film beside its heat map for each of the squares; return the files."""
        images = Samples(pd.DataFrame(index=range(len(squares))), np.stack([square.image for square in squares]))
        pixels = images.pixels(np.arange(len(squares)))
        paths = []
        for place, (file, square) in enumerate(zip(files, squares, strict=True)):
            heat = self.explainer.maps(pixels[place : place + 1], self.settings.method)[0]
            panels = np.stack([pixels[place, ..., 0].astype(np.uint8)] * 2), np.stack([square.mask] * 2)
            title = f"{self.settings.method}, prob {prob[place]:.2f}"
            paths.append(self._save(file, panels, heat, title))
        return paths

    def _save(
        self,
        file: Path,
        panels: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]],
        heat: npt.NDArray[np.float32],
        title: str,
    ) -> str:
        """panels: the images (2, h, w) and their masks."""
        from mammo.reporting.figures import contact_sheets, png  # matplotlib, only where something is drawn

        maps = np.stack([np.zeros_like(heat), heat])
        path = self._path(file)
        png.save_figure(contact_sheets.draw_contact_sheet(*panels, [file.name, title], maps), path)
        return str(path)

    def _path(self, file: Path) -> Path:
        number = self.name_counts[file.stem] = self.name_counts.get(file.stem, 0) + 1
        return self.settings.folder / (f"{file.stem}.png" if number == 1 else f"{file.stem}_{number}.png")


def open_writer(model: keras.Model, settings: HeatMapSettings) -> HeatMapWriter:
    """Make the folder and return the writer; raises InputError for an unknown method."""
    if settings.method not in METHODS:
        raise InputError(f"unknown saliency method {settings.method!r}; there are {', '.join(METHODS)}")
    settings.folder.mkdir(parents=True, exist_ok=True)
    return HeatMapWriter(Explainer(model), settings)
