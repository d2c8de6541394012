"""From the bytes of films to answers: decoded in threads, predicted in batches, read as the command line reads them."""

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mammo.core.errors import InputError
from mammo.data.images.preprocess import Square
from mammo.inference.about import About
from mammo.inference.dicom_results.maker import ResultMaker, open_maker
from mammo.inference.dicom_results.results import Film, encode
from mammo.inference.dicom_results.source import read_source
from mammo.inference.films import check_single_films, prepare_and_check
from mammo.inference.predictor import Predictor
from mammo.serving.batching import Batcher, BatchLimits
from mammo.serving.film_view import FilmView, parse_film, view_film
from mammo.serving.messages import FilmAnswer, ModelDescription, ModelVersion, Prediction
from mammo.serving.requests import Upload
from mammo.serving.service_metrics import ServiceMetrics
from mammo.serving.settings import ServiceSettings

REQUEST_PAIR = "request"
Decoded = TypeVar("Decoded")
Floats = npt.NDArray[np.float64]


class FilmError(Exception):
    """A film cannot be used; the message says why."""


class Service:
    """A predictor behind a queue; belongs to one event loop."""

    def __init__(self, predictor: Predictor, settings: ServiceSettings, metrics: ServiceMetrics):
        self.predictor, self.settings = predictor, settings
        self.version = describe_version(predictor.about)
        self.dtype = np.dtype(np.uint8 if predictor.about.preprocess.bits == 8 else np.uint16)
        self.ready = False
        self.preparing = 0
        limits = BatchLimits(settings.max_queue, settings.max_batch, settings.max_wait_s)
        self.batcher = Batcher(predictor.probabilities, limits, lambda: self.preparing, metrics.batch_sizes.observe)
        self._decoders = ThreadPoolExecutor(settings.workers, "decode")
        self._maker: ResultMaker | None = None
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
        return read_answers(self.predictor, uploads, np.array(prob), [doubt for _, doubt in films])

    async def prepare(self, upload: Upload) -> tuple[Square, str]:
        """Return a film as the model takes it, and why it can be no mammogram; raises FilmError."""
        self.preparing += 1
        try:
            return await self._decode(partial(prepare_upload, upload, self.predictor.about, self.settings.max_pixels))
        finally:
            self.preparing -= 1

    async def explain(self, upload: Upload) -> tuple[FilmAnswer, bytes]:
        """Return the answer, and a PNG of the prepared film beside where the model looked.

        Raises FilmError, or BusyError.
        """
        square, doubt = await self.prepare(upload)
        maker = await self._result_maker()
        if maker.drawer is None:
            raise FilmError(
                f"{self.version.name} has no heat map of its own: it, or a member, lacks a layer features or logit"
            )
        prob = np.array([await self.batcher.predict(square.image)])
        (answer,) = read_answers(self.predictor, [upload], prob, [doubt])
        async with self._drawing:
            (picture,) = await asyncio.to_thread(maker.drawer.draw, [square], prob)
        return answer, picture

    async def report(self, upload: Upload) -> tuple[FilmAnswer, dict[str, bytes]]:
        """Return the answer, and its DICOM objects by kind (dicom_results); raises FilmError, or BusyError."""
        await self._decode(partial(read_source, upload.path, upload.data))
        (answer,) = await self.answer([upload])
        maker = await self._result_maker()
        async with self._drawing:
            results = await self._decode(partial(maker.make, Film(upload.path, upload.data), [answer.model_dump()]))
            return answer, {kind: await asyncio.to_thread(encode, result) for kind, result in results.items()}

    async def _result_maker(self) -> ResultMaker:
        async with self._drawing:  # one at a time: gradients take as much memory as they get
            if self._maker is None:
                self._maker = await asyncio.to_thread(open_maker, self.predictor)
            return self._maker

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
            two_views=about.two_views,
            image_shape=list(about.image_shape),
            operating_point=about.operating_point.model_dump() if about.operating_point else None,
            calibration=about.calibration.model_dump() if about.calibration else None,
            confidences=sorted(map(float, about.conformal)),
            data=about.data,
            packages=about.packages,
            licence=about.licence,
        )


def read_answers(
    predictor: Predictor, uploads: Sequence[Upload], prob: Floats, doubts: Sequence[str]
) -> list[FilmAnswer]:
    """Return what the model's probabilities (n,) of films say; raises FilmError for one that is no number.

    A model of two views takes the films for the views of one lesion, or breast.
    """
    pairs = [REQUEST_PAIR] * len(uploads)
    readings = predictor.read_probabilities([upload.path for upload in uploads], prob, pairs)
    answers = []
    for upload, doubt, reading in zip(uploads, doubts, readings, strict=True):
        if "error" in reading:
            raise FilmError(str(reading["error"]))
        box = ",".join(map(str, upload.box)) if upload.box else None
        filled = {name: None if _is_missing(value) else value for name, value in reading.items()}
        answers.append(FilmAnswer.model_validate(filled | {"box": box, "doubt": doubt or None}))
    return answers


def prepare_upload(upload: Upload, about: About, max_pixels: int) -> tuple[Square, str]:
    """Return a film as the model takes it, and why it can be no mammogram; raises InputError."""
    image = parse_film(upload.path, upload.data, max_pixels)
    check_single_films(about)
    _check_box(upload, about)
    return prepare_and_check(image, upload.box, about)


def _check_box(upload: Upload, about: About) -> None:
    if about.unit == "lesion" and upload.box is None:
        raise InputError(f"{upload.path}: {about.name} reads lesions; say where one is: box=x0,y0,x1,y1")
    if about.unit == "image" and upload.box is not None:
        raise InputError(f"{upload.path}: {about.name} reads whole films; leave the box out")


def make_entry(event: str, answer: Prediction, uploads: Sequence[Upload], user: str) -> dict[str, Any]:
    """Return what an audit log keeps of an answer: hashes of the films, never pixels or names."""
    return {
        "event": event,
        "time": format_now(),
        "user": user,
        "request_id": answer.request_id,
        "inputs_sha256": [hashlib.sha256(upload.data).hexdigest() for upload in uploads],
        "model": answer.model.model_dump(),
        "films": [film.model_dump() for film in answer.films],
    }


def format_now() -> str:
    """Return the time as logs have it: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def describe_version(about: About) -> ModelVersion:
    """Return which model answers."""
    return ModelVersion(name=about.name, version=about.record, model_sha256=about.model_sha256)


def _is_missing(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
