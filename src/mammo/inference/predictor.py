"""Image files -> predictions of a finished model: the stages' own code on single films, a batch at a time.

A file that cannot be used gets its error in its row, and the others go on.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo import models
from mammo.core.config import PARAMS_FILE, load_config
from mammo.core.errors import InputError
from mammo.core.files import sha256
from mammo.core.parallel import parallel_map
from mammo.core.row_names import is_combined
from mammo.data.images import io
from mammo.data.images.preprocess import Square
from mammo.data.samples import Samples
from mammo.evaluation.ensembling import Combination
from mammo.inference import bundle, foreign_model, served_model, workspace_models
from mammo.inference.about import About, BundleError, agree
from mammo.inference.ensemble import read_ensemble
from mammo.inference.films import (
    Boxes,
    Corners,
    FilmRequest,
    PreparedFilm,
    add_boxes,
    check_single_films,
    list_requests,
    prepare_film,
    prepare_request,
)
from mammo.inference.heat_maps import HeatMapSettings, HeatMapWriter, open_writer
from mammo.tracking.model_uri import is_model_uri
from mammo.training import predict

Item = TypeVar("Item")
Result = TypeVar("Result")

COLUMNS = [
    *("file", "box", "prob", "calibrated", "threshold", "call", "set", "answer", "confidence", "doubt", "heat_map"),
    "error",
    *("model", "version", "model_sha256"),
]
NUMBERS = ("prob", "calibrated", "threshold", "confidence")
WORKERS = 2
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ensemble:
    """Models that predict the same images, by name, and the combination of their probabilities."""

    members: Mapping[str, keras.Model]
    combination: Combination


@dataclass(frozen=True)
class Predictor:
    """A model or an ensemble, how films are prepared for it and its probabilities read; workers: threads that read."""

    model: keras.Model | Ensemble
    about: About
    workers: int = WORKERS

    def predict(
        self,
        files: Path | str | Iterable[Path | str],
        box: Corners | None = None,
        boxes: Boxes | None = None,
        *,
        confidence: float | None = None,
        heat_maps: Path | str | HeatMapSettings | None = None,
    ) -> pd.DataFrame:
        """Return a row per file and box (COLUMNS): the model's prediction, or in `error` why there is none.

        files: image files and folders of them. A model of lesions needs `box` (of one file) or `boxes` by file. prob is
        the model's own, `calibrated` and `call` rest on its validation rows, `set` is the class that stands at
        `confidence` (of the bundle's; .9 if it has it) or "refer".
        `answer`: the class on which call and set agree, else "refer". doubt: why the image can be no mammogram.
        heat_maps: folder for a picture per row. Raises InputError for what concerns all files.
        """
        listed = list_requests([files] if isinstance(files, Path | str) else files)
        requests = self._with_boxes(listed, box, boxes)
        level = self._confidence(confidence)
        writer = None if heat_maps is None else self._heat_map_writer(heat_maps, requests)
        films = parallel_map(
            partial(prepare_request, about=self.about), requests, self.workers, f"predict {self.about.name}"
        )
        with io.capture_decoder_warnings() as warnings:
            batches = map_ahead(lambda batch: list(self._rows(batch, level, writer)), _batches(films))
            rows = [row for batch in batches for row in batch]
            damaged = bool(warnings())
        # The warnings name no file: one at a time tells which.
        return make_table(map(_refuse_damaged, rows) if damaged else rows)

    def probabilities(
        self, images: npt.NDArray[np.unsignedinteger[Any]], flips: bool | None = None
    ) -> npt.NDArray[np.float64]:
        """Return the model's own probabilities (n,) of prepared images (n, h, w), uint8 or uint16.

        flips: average with the mirrored image; by default as the model was evaluated.
        """
        flips = self.about.flips if flips is None else flips
        samples = Samples(pd.DataFrame(index=range(len(images))), images)
        if not isinstance(self.model, Ensemble):
            return predict.predict_probabilities(self.model, samples, flips)
        members = self.model.members.values()
        single = [predict.predict_probabilities(member, samples, flips) for member in members]
        return self.model.combination(np.column_stack(single))

    def prepare(self, file: Path | str, box: Corners | None = None) -> Square:
        """Return a file as the model takes it; raises PixelError."""
        return prepare_film(io.load(Path(file)), box, self.about)

    def _with_boxes(self, requests: list[FilmRequest], box: Corners | None, boxes: Boxes | None) -> list[FilmRequest]:
        name = self.about.name
        check_single_films(self.about)
        if self.about.unit == "image":
            if box is not None or boxes is not None:
                raise InputError(f"{name} reads whole films; leave the box out")
            return requests
        if box is not None and (len(requests) != 1 or boxes is not None):
            raise InputError(
                f"one box, but {len(requests)} files or a table of boxes; give the boxes of all in one table"
            )
        return add_boxes(requests, {requests[0].file: [box]} if box is not None else boxes or {}, name)

    def _confidence(self, confidence: float | None) -> float:
        """Return `confidence`, or the one nearest to CONFIDENCE that the model has; raises BundleError."""
        chosen = self.about.nearest_confidence() if confidence is None else confidence
        self.about.prediction_sets(np.empty(0), chosen)
        return chosen

    def _heat_map_writer(self, settings: Path | str | HeatMapSettings, requests: list[FilmRequest]) -> HeatMapWriter:
        if not isinstance(settings, HeatMapSettings):
            settings = HeatMapSettings(Path(settings))
        if any(request.file.resolve().parent == settings.folder.resolve() for request in requests):
            raise InputError(f"{settings.folder} holds films, which heat maps could replace; name another folder")
        if isinstance(self.model, Ensemble):
            raise InputError(
                f"{self.about.name} has no heat map of its own; ask a member: {', '.join(self.model.members)}"
            )
        return open_writer(self.model, settings)

    def _rows(
        self, films: list[PreparedFilm], confidence: float, writer: HeatMapWriter | None
    ) -> Iterator[dict[str, object]]:
        """Yield a row per film of a batch."""
        usable = [(film.request.file, film.square) for film in films if film.square is not None]
        files, squares = [file for file, _ in usable], [square for _, square in usable]
        prob = self.probabilities(np.stack([square.image for square in squares])) if squares else np.empty(0)
        readings = self._readings(files, prob, confidence)
        pictures = iter(writer.write(files, squares, prob) if writer and squares else [])
        for film in films:
            row = self._request_columns(film)
            if film.square is not None:
                row |= next(readings) | {"heat_map": next(pictures, None)}
            yield row

    def _request_columns(self, film: PreparedFilm) -> dict[str, object]:
        box = film.request.box
        return {
            "file": str(film.request.file),
            "box": ",".join(map(str, box)) if box else None,
            "doubt": film.rejection_reason or None,
            "error": film.error or None,
            "model": self.about.name,
            "version": self.about.record,
            "model_sha256": self.about.model_sha256,
        }

    def read_probabilities(
        self, names: Sequence[Path], prob: npt.NDArray[np.float64], confidence: float | None = None
    ) -> list[dict[str, object]]:
        """Return the columns that rest on each of the model's probabilities (n,), or the error of one that is nan.

        names: what the errors call the films. confidence: as for `predict`.
        """
        return list(self._readings(list(names), prob, self._confidence(confidence)))

    def _readings(
        self, files: list[Path], prob: npt.NDArray[np.float64], confidence: float
    ) -> Iterator[dict[str, object]]:
        """Yield the columns that rest on each probability, or the error of one that is no number."""
        about = self.about
        threshold = about.operating_point.threshold if about.operating_point else None
        level = confidence if about.conformal else None
        calibrated, classes, sets = about.calibrate(prob), about.classify(prob), about.prediction_sets(prob, confidence)
        for place, file in enumerate(files):
            if not 0 <= prob[place] <= 1:
                value = "no number for it (nan)" if np.isnan(prob[place]) else f"{prob[place]:.3g} for it"
                yield {"error": f"{file}: {about.name} gives {value}, which is no probability; are its weights whole?"}
                continue
            yield {
                "prob": prob[place],
                "calibrated": calibrated[place],
                "call": classes[place],
                "set": sets[place],
                "answer": agree(classes[place], sets[place]),
                "threshold": threshold,
                "confidence": level,
            }


def _refuse_damaged(row: Mapping[str, object]) -> Mapping[str, object]:
    """Return a row of `predict`, with an error in place of its answer where the decoder found its file damaged."""
    if row["error"] or not (damage := io.find_damage(Path(str(row["file"])))):
        return row
    if picture := row.get("heat_map"):
        Path(str(picture)).unlink(missing_ok=True)
    identity = {name: row[name] for name in ("file", "box", "model", "version", "model_sha256")}
    return identity | {"error": f"{row['file']}: damaged ({damage}); fetch or scan it again"}


def make_table(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Return rows as a table of COLUMNS; a missing number is nan, a missing text None."""
    filled = [{**dict.fromkeys(COLUMNS), **row} for row in rows]
    # pandas' own type of text refuses a file name that is no UTF-8.
    return pd.DataFrame(filled, columns=COLUMNS, dtype=object).astype(dict.fromkeys(NUMBERS, np.float64))


def load(source: Path | str, output: int | None = None) -> Predictor:
    """Return the predictor of a bundle, a .keras file, an MLflow URI, a model or an ensemble of this workspace.

    output: which of several outputs of a foreign model is the probability of malignancy, counted from 0. Raises
    InputError for what is none of these. A .keras file that is no model of this workspace is prepared for by
    params.yaml, and nothing is known of its operating point and calibration.
    """
    path = Path(source)
    if is_model_uri(str(source)):
        return _load_from_server(str(source), output)
    if path.suffix == ".keras":
        return _load_file(models.check_exists(path), output)
    if output is not None:
        raise InputError(f"{source} says itself how it is read; an output is chosen of a foreign .keras file alone")
    return _load_known(path)


def _load_known(path: Path) -> Predictor:
    """Return the predictor of a bundle, or of a name of this workspace."""
    text = str(path)
    if bundle.is_bundle(path):
        with bundle.open_bundle(path) as (about, folder):
            return Predictor(_load_checked(folder / bundle.MODEL, about), about)
    if path.exists():
        raise BundleError(f"{path} is no bundle of `python -m mammo export`: it has no {bundle.ABOUT}")
    if path.suffix == ".zip" or path.is_absolute():
        raise InputError(f"{path} does not exist")
    if is_combined(text):
        return _load_ensemble(text)
    about = workspace_models.describe_model(text)
    return Predictor(models.load(workspace_models.model_path(text)), about)


def _load_checked(path: Path, about: About) -> keras.Model:
    """Return the model of a description; raises BundleError where it takes or gives something else."""
    model = models.load(path)
    foreign_model.check_shapes(model, about.name)
    if model.input_shape[1:] != about.image_shape or model.output_shape[-1] != 1:
        raise BundleError(
            f"{about.name}: its model takes {model.input_shape} and gives {model.output_shape}, and its {bundle.ABOUT} "
            f"is of images {about.image_shape} and one probability; export it again"
        )
    return model


def _load_file(path: Path, output: int | None) -> Predictor:
    name = workspace_models.identify_file(path)
    if name is None:
        return _by_params(path, path.stem, output)
    return Predictor(models.load(path), workspace_models.describe_model(name))


def _load_ensemble(name: str) -> Predictor:
    trained = read_ensemble(name)
    paths = {member: workspace_models.model_path(member) for member in trained.combination.members}
    members = {member: models.load(path) for member, path in paths.items()}
    return Predictor(Ensemble(members, trained.combination), trained.about)


def _load_from_server(uri: str, output: int | None) -> Predictor:
    """Return a model from MLflow.

    A registered version says itself how its probabilities are read; another model is known if a model of this
    workspace has the same weights.
    """
    from mammo.tracking import mlflow_client  # MLflow takes seconds

    download = mlflow_client.download(uri)
    for about in download.rglob(served_model.ABOUT):
        return served_model.read(about.parent)
    path = mlflow_client.find_model(uri, download)
    model = models.load(path)
    for name in sorted(workspace_models.list_models(), key=lambda name: name not in uri.split("/")):
        if _same_weights(model, models.load(workspace_models.model_path(name))):
            return Predictor(model, workspace_models.describe_model(name))
    return _by_params(path, uri, output)


def _same_weights(a: keras.Model, b: keras.Model) -> bool:
    pairs = list(zip(a.get_weights(), b.get_weights(), strict=False))
    return len(a.weights) == len(b.weights) and all(np.array_equal(first, second) for first, second in pairs)


def _by_params(path: Path, name: str, output: int | None) -> Predictor:
    """Return the predictor of a .keras file whose films are prepared as params.yaml says."""
    if not PARAMS_FILE.is_file():
        raise InputError(
            f"{name} does not say how films are prepared for it; run in the repository that trained it, whose "
            "params.yaml does, or use a bundle (`python -m mammo export`)"
        )
    config, model = load_config(), models.load(path)
    foreign_model.check_shapes(model, name)
    about = About(
        name=name,
        unit=config.ingest.unit,
        preprocess=config.preprocess,
        flips=config.predict.flips,
        model_sha256=sha256(path),
    )
    if model.input_shape[1:] != about.image_shape:
        raise InputError(
            f"{name} takes images of {model.input_shape[1:]}, and params.yaml prepares {about.image_shape}; "
            "set preprocess.size_px and ingest.unit as it was trained"
        )
    probability = foreign_model.select_probability(model, output, name)
    log.warning("%s: no operating point, calibration or prediction sets are known of it", name)
    return Predictor(probability, about)


def _batches(films: Iterator[PreparedFilm]) -> Iterator[list[PreparedFilm]]:
    while batch := list(islice(films, predict.BATCH)):
        yield batch


def map_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function` of every item, in their order, while the next item is being made."""
    with ThreadPoolExecutor(1) as pool:
        running: Future[Result] | None = None
        for item in items:
            submitted = pool.submit(function, item)
            if running is not None:
                yield running.result()
            running = submitted
        if running is not None:
            yield running.result()
