"""Image files -> predictions of a finished model: the stages' own code on single films, a batch at a time.

A file that cannot be used gets its error in its row, and the others go on.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, compress, islice
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
from mammo.data.images import io
from mammo.data.images.preprocess import Square
from mammo.data.samples import Samples
from mammo.evaluation import ensembling
from mammo.inference import bundle, foreign_model, model_files, served_model, signatures, workspace_models
from mammo.inference.about import About, BundleError, agree
from mammo.inference.ensemble import read_row
from mammo.inference.films import (
    Boxes,
    Corners,
    FilmRequest,
    Pairs,
    PreparedFilm,
    add_boxes,
    check_pairs,
    check_single_films,
    check_two_views,
    list_requests,
    prepare_film,
    prepare_request,
)
from mammo.inference.heat_maps import HeatMapSettings, HeatMapWriter, open_writer
from mammo.inference.model_files import Ensemble
from mammo.tracking.model_uri import is_model_uri
from mammo.training import predict

Item = TypeVar("Item")
Result = TypeVar("Result")

COLUMNS = [
    *("file", "box", "pair", "prob", "prob_one_view", "views", "calibrated", "threshold", "call", "set", "answer"),
    *("confidence", "doubt", "heat_map", "error"),
    *("model", "version", "model_sha256"),
]
NUMBERS = ("prob", "prob_one_view", "calibrated", "threshold", "confidence")
WORKERS = 2
FILMS_AT_ONCE = 8  # in one thread
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredFilm:
    """A film with the model's own probability, nan where there is an error; heat_map: its picture's file."""

    request: FilmRequest
    doubt: str
    error: str
    prob: float = math.nan
    heat_map: str | None = None


@dataclass(frozen=True)
class Predictor:
    """A model or an ensemble, how films are prepared for it and its probabilities read; workers: threads that read."""

    model: keras.Model | Ensemble
    about: About
    workers: int = WORKERS

    def predict(
        self,
        files: Path | str | Iterable[Path | str] | Pairs,
        box: Corners | None = None,
        boxes: Boxes | None = None,
        *,
        confidence: float | None = None,
        heat_maps: Path | str | HeatMapSettings | None = None,
    ) -> pd.DataFrame:
        """Return a row per file and box (COLUMNS): the model's prediction, or in `error` why there is none.

        files: image files and folders of them; of a model of two views `read_pairs`, which has their boxes as well. A
        model of lesions needs `box` (of one file) or `boxes` by file. prob is the model's own, of two views the mean
        log-odds of the pair, to which each view's own (`prob_one_view`) went; views: how many they are. `calibrated`
        and `call` rest on its validation rows, `set` is the class that stands at `confidence` (of the bundle's; .9 if
        it has it) or "refer". `answer`: the class on which call and set agree, else "refer". doubt: why the image can
        be no mammogram. heat_maps: folder for a picture per row. Raises InputError for what concerns all files.
        """
        requests = self._list_requests(files, box, boxes)
        level = self._confidence(confidence)
        writer = None if heat_maps is None else self._heat_map_writer(heat_maps, requests)
        films = self._prepare_all(requests)
        with io.capture_decoder_warnings() as warnings:
            batches = map_ahead(partial(self._score, writer=writer), _batches(films))
            scored = [film for batch in batches for film in batch]
            damaged = bool(warnings())
        # The warnings name no file: one at a time tells which.
        return make_table(self._read([_refuse_damaged(film) for film in scored] if damaged else scored, level))

    def probabilities(
        self, images: npt.NDArray[np.unsignedinteger[Any]], flips: bool | None = None
    ) -> npt.NDArray[np.float64]:
        """Return the model's own probabilities (n,) of prepared images (n, h, w), uint8 or uint16, each alone.

        flips: average with the mirrored image; by default as the model was evaluated.
        """
        flips = self.about.flips if flips is None else flips
        samples = Samples(pd.DataFrame(index=range(len(images))), images)
        if not isinstance(self.model, Ensemble):
            return predict.predict_probabilities(self.model, samples, flips)
        members = self.model.members.values()
        single = [predict.predict_probabilities(member, samples, flips) for member in members]
        return self.model.combination(np.column_stack(single))

    def average_views(self, prob: npt.NDArray[np.float64], pairs: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the mean log-odds of each probability's pair (n,), as probabilities; an empty name is no pair."""
        return ensembling.average_log_odds(prob, [_number_units(pairs)])

    def prepare(self, file: Path | str, box: Corners | None = None) -> Square:
        """Return a file as the model takes it; raises PixelError."""
        return prepare_film(io.load(Path(file)), box, self.about)

    def _prepare_all(self, requests: list[FilmRequest]) -> Iterator[PreparedFilm]:
        """Yield the prepared films in their order; a thread gets several at once, which costs less than one by one."""
        parts = [requests[start : start + FILMS_AT_ONCE] for start in range(0, len(requests), FILMS_AT_ONCE)]
        title = f"predict {self.about.name}, {FILMS_AT_ONCE} films a step"
        prepare = partial(_prepare_part, about=self.about)
        return chain.from_iterable(parallel_map(prepare, parts, self.workers, title))

    def _list_requests(
        self, files: Path | str | Iterable[Path | str] | Pairs, box: Corners | None, boxes: Boxes | None
    ) -> list[FilmRequest]:
        name = self.about.name
        check_single_films(self.about)
        requests = list_requests(files)
        if isinstance(files, Pairs):
            if box is not None or boxes is not None:
                raise InputError("the boxes of films that belong together stand in the table of pairs")
            return check_pairs(requests, self.about)
        check_two_views(self.about)
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
        return open_writer(self.model, settings, self.about.two_views)

    def _score(self, films: list[PreparedFilm], writer: HeatMapWriter | None) -> list[ScoredFilm]:
        """Return the films of a batch with the model's own probabilities."""
        usable = [(film.request.file, film.square) for film in films if film.square is not None]
        files, squares = [file for file, _ in usable], [square for _, square in usable]
        prob = self.probabilities(np.stack([square.image for square in squares])) if squares else np.empty(0)
        pictures = writer.write(files, squares, prob) if writer and squares else [None] * len(files)
        scores = iter(zip(prob.tolist(), pictures, strict=True))
        return [
            ScoredFilm(film.request, film.rejection_reason, film.error, *(next(scores) if film.square else ()))
            for film in films
        ]

    def _read(self, films: list[ScoredFilm], confidence: float) -> Iterator[dict[str, object]]:
        """Yield a row of COLUMNS per film."""
        scored = [film for film in films if not film.error]
        prob, pairs = np.array([film.prob for film in scored]), [film.request.pair for film in scored]
        readings = self.read_probabilities([film.request.file for film in scored], prob, pairs, confidence)
        reading = iter(readings)
        for film in films:
            yield self._describe(film) | (next(reading) | {"heat_map": film.heat_map} if not film.error else {})

    def _describe(self, film: ScoredFilm) -> dict[str, object]:
        box = film.request.box
        return {
            "file": str(film.request.file),
            "box": ",".join(map(str, box)) if box else None,
            "pair": film.request.pair or None,
            "doubt": film.doubt or None,
            "error": film.error or None,
            "model": self.about.name,
            "version": self.about.record,
            "model_sha256": self.about.model_sha256,
        }

    def read_probabilities(
        self,
        names: Sequence[Path],
        prob: npt.NDArray[np.float64],
        pairs: Sequence[str] | None = None,
        confidence: float | None = None,
    ) -> list[dict[str, object]]:
        """Return the columns that rest on each of the model's probabilities (n,), or the error of one that is nan.

        names: what the errors call the films. pairs: of a model of two views, the name of each film's pair, or an empty
        text. confidence: as for `predict`.
        """
        level, about = self._confidence(confidence), self.about
        threshold = about.operating_point.threshold if about.operating_point else None
        is_prob = (prob >= 0) & (prob <= 1)
        own = prob[is_prob]
        views = self._combine_views(own, list(compress(pairs or [""] * len(prob), is_prob)))
        combined = np.array([view["prob"] for view in views])
        calibrated, classes, sets = (
            about.calibrate(combined),
            about.classify(combined),
            about.prediction_sets(combined, level),
        )
        readings = (
            view
            | {
                "calibrated": calibrated[place],
                "call": classes[place],
                "set": sets[place],
                "answer": agree(classes[place], sets[place]),
                "threshold": threshold,
                "confidence": level if about.conformal else None,
            }
            for place, view in enumerate(views)
        )
        return [
            next(readings) if known else {"error": self._explain_no_probability(name, value)}
            for name, value, known in zip(names, prob.tolist(), is_prob, strict=True)
        ]

    def _combine_views(self, prob: npt.NDArray[np.float64], pairs: Sequence[str]) -> list[dict[str, object]]:
        """Return prob of each film; of a model of two views also its own, and how many views went into prob."""
        if not self.about.two_views:
            return [{"prob": value} for value in prob.tolist()]
        units = _number_units(pairs)
        counts = units.groupby(units).transform("size")
        rows = zip(self.average_views(prob, pairs).tolist(), prob.tolist(), counts.tolist(), strict=True)
        return [{"prob": mean, "prob_one_view": one, "views": count} for mean, one, count in rows]

    def _explain_no_probability(self, name: Path, value: float) -> str:
        given = "no number for it (nan)" if math.isnan(value) else f"{value:.3g} for it"
        return f"{name}: {self.about.name} gives {given}, which is no probability; are its weights whole?"


def _prepare_part(requests: Sequence[FilmRequest], about: About) -> list[PreparedFilm]:
    return [prepare_request(request, about) for request in requests]


def _number_units(pairs: Sequence[str]) -> "pd.Series[int]":
    """Return a number (n,) for what each film shows: equal within a pair, and of its own where the name is empty."""
    numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    return pd.Series([numbers[pair] if pair else -1 - place for place, pair in enumerate(pairs)], dtype=np.int64)


def _refuse_damaged(film: ScoredFilm) -> ScoredFilm:
    """Return a film, with an error in place of its answer where the decoder found its file damaged."""
    if film.error or not (damage := io.find_damage(film.request.file)):
        return film
    if film.heat_map:
        Path(film.heat_map).unlink(missing_ok=True)
    return ScoredFilm(film.request, "", f"{film.request.file}: damaged ({damage}); fetch or scan it again")


def make_table(rows: Iterable[Mapping[str, object]]) -> pd.DataFrame:
    """Return rows as a table of COLUMNS; a missing number is nan, a missing text None."""
    filled = [{**dict.fromkeys(COLUMNS), **row} for row in rows]
    # pandas' own type of text refuses a file name that is no UTF-8.
    return pd.DataFrame(filled, columns=COLUMNS, dtype=object).astype(dict.fromkeys(NUMBERS, np.float64))


def load(source: Path | str, output: int | None = None, verify: Path | None = None) -> Predictor:
    """Return the predictor of a bundle, a .keras file, an MLflow URI, or a row of this workspace.

    output: which of several outputs of a foreign model is the probability of malignancy, counted from 0. verify: file
    of public keys, one of which must have signed the bundle. Raises InputError for what is none of these. A .keras file
    that is no model of this workspace is prepared for by params.yaml, and nothing is known of its operating point and
    calibration.
    """
    path = Path(source)
    if verify is not None and not bundle.is_bundle(path):
        raise InputError(
            f"{source} is no bundle, and only bundles are signed; `python -m mammo export --sign` makes one"
        )
    if is_model_uri(str(source)):
        return _load_from_server(str(source), output)
    if path.suffix == ".keras":
        return _load_file(models.check_exists(path), output)
    if output is not None:
        raise InputError(f"{source} says itself how it is read; an output is chosen of a foreign .keras file alone")
    return _load_known(path, verify)


def _load_known(path: Path, verify: Path | None) -> Predictor:
    """Return the predictor of a bundle, or of a row of this workspace."""
    if bundle.is_bundle(path):
        keys = None if verify is None else signatures.read_public_keys(verify)
        with bundle.open_bundle(path, keys) as (about, folder):
            return Predictor(model_files.load(folder, about), about)
    if path.exists():
        raise BundleError(f"{path} is no bundle of `python -m mammo export`: it has no {model_files.ABOUT}")
    if path.suffix == ".zip" or path.is_absolute():
        raise InputError(f"{path} does not exist")
    row = read_row(str(path))
    return Predictor(row.load(), row.about)


def _load_file(path: Path, output: int | None) -> Predictor:
    name = workspace_models.identify_file(path)
    if name is None:
        return _by_params(path, path.stem, output)
    return Predictor(models.load(path), workspace_models.describe_model(name))


def _load_from_server(uri: str, output: int | None) -> Predictor:
    """Return a model from MLflow.

    A registered version says itself how its probabilities are read; another model is known if a model of this
    workspace has the same weights.
    """
    from mammo.tracking import mlflow_client  # MLflow takes seconds

    download = mlflow_client.download(uri)
    for about in download.rglob(model_files.ABOUT):
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
