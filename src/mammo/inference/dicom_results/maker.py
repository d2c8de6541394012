"""From a film and its answers to its results: what the command line, the service and the worker call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydicom.dataset import Dataset

from mammo.core.errors import InputError
from mammo.core.files import atomic_write
from mammo.data.images import io
from mammo.inference.about import About
from mammo.inference.dicom_results.reading import Reading, read_columns
from mammo.inference.dicom_results.results import Film, encode, make_results
from mammo.inference.films import Corners
from mammo.inference.heat_maps import METHOD, HeatMapDrawer, free_stem, make_drawer
from mammo.inference.model_files import list_members
from mammo.inference.predictor import Predictor

LAYERS = {"features", "logit"}  # of a model that explain/saliency.py explains


@dataclass(frozen=True)
class ResultMaker:
    """Makes the results of one model; drawer: of its heat maps, None for a model that has none."""

    about: About
    drawer: HeatMapDrawer | None

    def make(self, film: Film, answers: Sequence[Mapping[str, Any]]) -> dict[str, Dataset]:
        """Return the results by kind; answers: rows of `predict`, or of the service. Raises InputError."""
        image = io.parse_image(film.path, film.data)
        readings = [self._read(image, answer) for answer in answers]
        return make_results(film, readings, self.about, self.drawer.method if self.drawer else METHOD)

    def _read(self, image: io.Encoded, answer: Mapping[str, Any]) -> Reading:
        box = _corners(answer["box"])
        heat = None if self.drawer is None else self.drawer.map_film(image, box, self.about)
        return read_columns(answer, box, heat)


def open_maker(predictor: Predictor, method: str = METHOD) -> ResultMaker:
    """Return what makes the results of a model; raises InputError for an unknown method.

    A foreign model without the layers that heat maps need gets results without a heat map.
    """
    model, about = predictor.model, predictor.about
    drawn = all(LAYERS.issubset(layer.name for layer in member.layers) for member in list_members(model))
    return ResultMaker(about, make_drawer(model, method, about.two_views) if drawn else None)


@dataclass(frozen=True)
class ResultWriter:
    """Writes results to a folder; taken: the names of films that it has written results of."""

    maker: ResultMaker
    folder: Path
    taken: set[str] = field(default_factory=set)

    def write(self, predictions: pd.DataFrame) -> list[str]:
        """Write the results of each film of a table of `predict`; return why there are none of a film, for each."""
        usable = predictions[predictions["error"].isna()]
        errors = [self._write_film(Path(str(name)), rows) for name, rows in usable.groupby("file", sort=False)]
        return [error for error in errors if error]

    def _write_film(self, path: Path, rows: pd.DataFrame) -> str:
        try:
            answers = [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
            results = self.maker.make(Film(path, path.read_bytes()), answers)
        except (InputError, OSError) as error:
            return str(error)
        stem = free_stem(path, self.taken)
        for kind, result in results.items():
            with atomic_write(self.folder / f"{stem}.{kind}.dcm") as unfinished:
                unfinished.write_bytes(encode(result))
        return ""


def open_writer(predictor: Predictor, folder: Path, method: str, films: Sequence[Path | str]) -> ResultWriter:
    """Make the folder and return the writer; raises InputError where the folder holds films, or is one of them."""
    own = {folder.resolve(), *folder.resolve().parents}
    for film in map(Path, films):
        if film.resolve() in own or film.resolve().parent == folder.resolve():
            raise InputError(f"{folder} lies among the films, which results could replace; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return ResultWriter(open_maker(predictor, method), folder)


def _corners(box: str | None) -> Corners | None:
    if not isinstance(box, str):
        return None
    x0, y0, x1, y1 = map(int, box.split(","))
    return x0, y0, x1, y1
