"""From the bytes of films to answers: decoded in threads, predicted in batches, read as the command line reads them."""

import asyncio
import hashlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np

from mammo.core.errors import InputError
from mammo.data.images.preprocess import Square
from mammo.inference import heat_maps
from mammo.inference.about import About
from mammo.inference.films import check_single_films, prepare_and_check
from mammo.inference.heat_maps import HeatMapDrawer
from mammo.inference.predictor import Ensemble, Predictor
from mammo.serving.batching import Batcher
from mammo.serving.film_view import FilmView, parse_film, view_film
from mammo.serving.messages import FilmAnswer, ModelDescription, ModelVersion
from mammo.serving.requests import Upload
from mammo.serving.service_metrics import ServiceMetrics
from mammo.serving.settings import ServiceSettings

Decoded = TypeVar("Decoded")


class FilmError(Exception):
    """A film cannot be used; the message says why."""


class Service:
    """A predictor behind a queue; belongs to one event loop."""

    def __init__(self, predictor: Predictor, settings: ServiceSettings, metrics: ServiceMetrics):
        self.predictor, self.settings = predictor, settings
        self.version = ModelVersion(
            name=predictor.about.name, version=predictor.about.record, model_sha256=predictor.about.model_sha256
        )
        self.dtype = np.dtype(np.uint8 if predictor.about.preprocess.bits == 8 else np.uint16)
        self.ready = False
        self.batcher = Batcher(
            predictor.probabilities, settings.max_queue, settings.max_batch, metrics.batch_sizes.observe
        )
        self._decoders = ThreadPoolExecutor(settings.workers, "decode")
        self._drawer: HeatMapDrawer | None = None
        self._drawing = asyncio.Lock()

    async def start(self) -> None:
        """Start, and predict once in each size of a batch: Keras builds a graph for each, which takes seconds."""
        await asyncio.to_thread(self._warm_up)
        self.batcher.start()
        self.ready = True

    async def stop(self) -> None:
        """Answer what waits, then end."""
        self.ready = False
        await self.batcher.stop()
        self._decoders.shutdown()

    def _warm_up(self) -> None:
        largest = int(math.log2(self.settings.max_batch))
        blank = np.zeros((2**largest, *self.predictor.about.image_shape[:2]), self.dtype)
        for power in range(largest + 1):
            self.predictor.probabilities(blank[: 2**power])

    async def answer(self, uploads: Sequence[Upload]) -> list[FilmAnswer]:
        """Return the answer to each film; raises FilmError, or BusyError where too many wait."""
        films = await asyncio.gather(*(self.prepare(upload) for upload in uploads))
        prob = await asyncio.gather(*(self.batcher.predict(square.image) for square, _ in films))
        readings = self.predictor.read_probabilities([upload.path for upload in uploads], np.array(prob))
        answers = []
        for upload, (_, doubt), reading in zip(uploads, films, readings, strict=True):
            if "error" in reading:
                raise FilmError(str(reading["error"]))
            box = ",".join(map(str, upload.box)) if upload.box else None
            filled = {name: None if _is_missing(value) else value for name, value in reading.items()}
            answers.append(FilmAnswer.model_validate(filled | {"box": box, "doubt": doubt or None}))
        return answers

    async def prepare(self, upload: Upload) -> tuple[Square, str]:
        """Return a film as the model takes it, and why it can be no mammogram; raises FilmError."""
        work = partial(_prepare, upload, self.predictor.about, self.settings.max_pixels)
        return await self._decode(work)

    async def explain(self, upload: Upload) -> bytes:
        """Return a PNG of the prepared film beside where the model looked; raises FilmError, or BusyError."""
        if isinstance(self.predictor.model, Ensemble):
            raise FilmError(f"{self.version.name} has no heat map of its own; serve one of its members")
        square, _ = await self.prepare(upload)
        prob = np.array([await self.batcher.predict(square.image)])
        async with self._drawing:  # one at a time: gradients take as much memory as they get
            if self._drawer is None:
                self._drawer = await asyncio.to_thread(heat_maps.make_drawer, self.predictor.model)
            (picture,) = await asyncio.to_thread(self._drawer.draw, [square], prob)
        return picture

    async def view(self, upload: Upload) -> FilmView:
        """Return a film's pixels for a screen; raises FilmError."""
        return await self._decode(partial(view_film, upload.path, upload.data, self.settings.max_pixels))

    async def _decode(self, work: Callable[[], Decoded]) -> Decoded:
        """Return what `work` makes of a film, in a thread that decodes; raises FilmError for its InputError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoders, work)
        except InputError as error:
            raise FilmError(str(error)) from error

    def describe(self) -> ModelDescription:
        """Return what is known of the model."""
        about = self.predictor.about
        return ModelDescription(
            model=self.version,
            unit=about.unit,
            image_shape=list(about.image_shape),
            operating_point=about.operating_point.model_dump() if about.operating_point else None,
            calibration=about.calibration.model_dump() if about.calibration else None,
            confidences=sorted(map(float, about.conformal)),
            data=about.data,
            packages=about.packages,
            licence=about.licence,
        )


def _prepare(upload: Upload, about: About, max_pixels: int) -> tuple[Square, str]:
    """Decode and prepare one film; raises InputError."""
    image = parse_film(upload.path, upload.data, max_pixels)
    check_single_films(about)
    _check_box(upload, about)
    return prepare_and_check(image, upload.box, about)


def _check_box(upload: Upload, about: About) -> None:
    if about.unit == "lesion" and upload.box is None:
        raise InputError(f"{upload.path}: {about.name} reads lesions; say where one is: box=x0,y0,x1,y1")
    if about.unit == "image" and upload.box is not None:
        raise InputError(f"{upload.path}: {about.name} reads whole films; leave the box out")


def hash_uploads(uploads: Sequence[Upload]) -> list[str]:
    """Return the SHA-256 of each film's bytes."""
    return [hashlib.sha256(upload.data).hexdigest() for upload in uploads]


def _is_missing(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
