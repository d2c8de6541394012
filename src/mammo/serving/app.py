"""The routes of the service: one definition of an answer with the command line, and clear refusals."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from mammo.inference.about import NOTICE
from mammo.inference.predictor import Predictor
from mammo.serving import inference_protocol
from mammo.serving.audit_log import AuditLog
from mammo.serving.batching import BusyError
from mammo.serving.body_limits import BodyLimits
from mammo.serving.drift import log_film, reference_of
from mammo.serving.drift_monitor import DriftMonitor
from mammo.serving.messages import FilmAnswer, ModelDescription, Prediction, Refusal
from mammo.serving.observation import Observation
from mammo.serving.requests import BOX, FILE, Upload, read_uploads
from mammo.serving.service import FilmError, Service, make_entry
from mammo.serving.service_metrics import ServiceMetrics
from mammo.serving.settings import ServiceSettings

REFUSALS = {
    400: "the form cannot be read",
    401: "no API key, or an unknown one",
    408: "the body took too long",
    413: "the body is too large",
    422: "the film cannot be used",
    429: "too many films wait; try again",
    503: "the model is not ready, or took too long",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": why} for status, why in REFUSALS.items()
}
DICOM, MULTIPART = "application/dicom", "multipart/related"
BINARY = {"schema": {"type": "string", "format": "binary"}}
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            **dict.fromkeys(("image/*", DICOM), BINARY),
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FILE],
                    "properties": {
                        FILE: {"type": "array", "items": {"type": "string", "format": "binary"}},
                        BOX: {"type": "array", "items": {"type": "string", "example": "410,980,690,1290"}},
                    },
                }
            },
        },
    }
}
EXPLANATIONS = {
    "responses": {
        "200": {
            "description": f"a PNG. With `Accept: {DICOM}`: the object that `result` names: a report (sr), the "
            f'heat map on the grid of the film (seg), or a picture (sc). With `Accept: {MULTIPART}; type="{DICOM}"`: '
            "all of them, as STOW-RS takes them",
            "content": dict.fromkeys(("image/png", DICOM, MULTIPART), BINARY),
        }
    }
}
PAGE = Path(__file__).with_name("page")
Answer = TypeVar("Answer")


def create_app(predictor: Predictor, settings: ServiceSettings | None = None) -> FastAPI:
    """Return the ASGI application that serves a predictor."""
    settings, metrics = settings or ServiceSettings(), ServiceMetrics()
    service = Service(predictor, settings, metrics)
    metrics.watch_queue(lambda: service.batcher.waiting)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="mammo",
        description=f"Malignancy of films, by one trained model. {NOTICE}",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Observation, metrics=metrics)
    _add_refusals(app)
    app.include_router(_health_routes(service, metrics))
    allowed = [Depends(_authentication(settings))]
    journal = _open_journal(service, metrics)
    app.include_router(_answer_routes(service, journal), dependencies=allowed)
    app.include_router(_picture_routes(service, journal), dependencies=allowed)
    app.include_router(inference_protocol.build_router(service), dependencies=allowed)
    app.add_api_route("/", _show_page, include_in_schema=False)
    app.mount("/page", StaticFiles(directory=PAGE), "page")
    return app


def _show_page() -> FileResponse:
    """Return the reader's page."""
    return FileResponse(PAGE / "index.html")


def _authentication(settings: ServiceSettings) -> Callable[..., Awaitable[None]]:
    """Return the dependency that names the user of a request, or refuses it."""

    async def authenticate(
        request: Request,
        x_api_key: Annotated[str | None, Header()] = None,
        authorization: Annotated[str | None, Header()] = None,
    ) -> None:
        bearer = (authorization or "").removeprefix("Bearer ").strip()
        user = settings.user_of(x_api_key or bearer)
        if user is None:
            raise HTTPException(401, "send an API key as X-API-Key or bearer token", {"WWW-Authenticate": "Bearer"})
        request.state.user = user

    return authenticate


def _health_routes(service: Service, metrics: ServiceMetrics) -> APIRouter:
    router = APIRouter()

    @router.get("/health/live", tags=["health"])
    def live() -> dict[str, str]:
        """Return that the process answers."""
        return {"status": "live"}

    @router.get("/health/ready", tags=["health"])
    def ready() -> dict[str, str]:
        """Return that the model answers; 503 before."""
        if not service.ready:
            raise HTTPException(503, "the model is not ready yet")
        return {"status": "ready"}

    @router.get("/metrics", tags=["health"])
    def prometheus() -> Response:
        """Return the metrics in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    return router


@dataclass(frozen=True)
class _Journal:
    """Where each inference is counted, and kept if there is an audit log."""

    metrics: ServiceMetrics
    audit_log: AuditLog | None
    monitor: DriftMonitor | None

    async def keep(self, event: str, answer: Prediction, uploads: list[Upload], user: str) -> None:
        """Keep an answer: hashes of the films, never pixels or names."""
        self.metrics.count_answers(answer.films)
        if self.monitor is None and self.audit_log is None:
            return
        entry = await asyncio.to_thread(make_entry, event, answer, uploads, user)  # hashes films: others go on
        if self.monitor is not None:
            for digest, film in zip(entry["inputs_sha256"], entry["films"], strict=True):
                self.monitor.add(log_film(entry["time"][:10], digest, film))
        if self.audit_log is not None:
            await asyncio.to_thread(self.audit_log.append, entry)


def _open_journal(service: Service, metrics: ServiceMetrics) -> _Journal:
    """Return the journal of a service; a model that has kept no scores has no monitor of drift."""
    about, settings = service.predictor.about, service.settings
    monitor = None if about.reference is None else DriftMonitor(reference_of(about), settings.drift)
    if monitor is not None:
        metrics.watch_drift(monitor.measure)
    return _Journal(metrics, None if settings.audit_log is None else AuditLog(settings.audit_log), monitor)


def _answer_routes(service: Service, journal: _Journal) -> APIRouter:
    router, settings = APIRouter(prefix="/v1", tags=["answers"], responses=RESPONSES), service.settings

    @router.get("/model")
    def model() -> ModelDescription:
        """Return the model that is served, its operating point and calibration."""
        return service.describe()

    @router.post("/predict", openapi_extra=BODY, response_model=Prediction)
    async def predict(request: Request) -> Response:
        """Return the malignancy of one film (raw body; a lesion's box as `?box=`), or of several views (a form)."""
        uploads = await read_uploads(request, settings)
        start = time.perf_counter()
        films = await _limit_time(service.answer(uploads), settings.answer_timeout_s)
        answer = _make_answer(films, service, request, time.perf_counter() - start)
        await journal.keep("predict", answer, uploads, request.state.user)
        return Response(answer.model_dump_json(), media_type="application/json")  # not validated a second time

    return router


def _picture_routes(service: Service, journal: _Journal) -> APIRouter:
    router, settings = APIRouter(prefix="/v1", tags=["answers"], responses=RESPONSES), service.settings

    async def one_film(request: Request) -> Upload:
        uploads = await read_uploads(request, settings)
        if len(uploads) != 1:
            raise HTTPException(422, f"{len(uploads)} films; send one")
        return uploads[0]

    @router.post("/explain", openapi_extra=BODY | EXPLANATIONS, response_class=Response)
    async def explain(
        request: Request,
        accept: Annotated[str, Header()] = "",
        result: Annotated[Literal["sr", "seg", "sc"], Query(description="which DICOM object")] = "seg",
    ) -> Response:
        """Return where the model looked, as `Accept` says: a PNG, one DICOM object, or all of them for a STOW-RS."""
        upload, start = await one_film(request), time.perf_counter()
        as_dicom = DICOM in accept
        work: Awaitable[tuple[FilmAnswer, Any]] = service.report(upload) if as_dicom else service.explain(upload)
        film, content = await _limit_time(work, settings.answer_timeout_s)
        answer = _make_answer([film], service, request, time.perf_counter() - start)
        await journal.keep("explain", answer, [upload], request.state.user)
        return _dicom_response(content, accept, result) if as_dicom else Response(content, media_type="image/png")

    @router.post("/film", openapi_extra=BODY, response_class=Response)
    async def film(request: Request) -> Response:
        """Return a film's grey values for a screen: 16 bits each, little-endian; the header X-Film has the shape."""
        view = await service.view(await one_film(request))
        shape = {name: value for name, value in asdict(view).items() if name != "pixels"}
        headers = {"X-Film": json.dumps(shape)}
        return Response(view.pixels, media_type="application/octet-stream", headers=headers)

    return router


def _dicom_response(objects: Mapping[str, bytes], accept: str, kind: str) -> Response:
    """Return one object, or all of them in the form in which DICOMweb stores them (PS3.18, 8.6.1.2)."""
    if MULTIPART in accept:
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
        body = b"".join(head + content + b"\r\n" for content in objects.values()) + f"--{boundary}--\r\n".encode()
        return Response(body, media_type=f'{MULTIPART}; type="{DICOM}"; boundary={boundary}')
    if kind not in objects:
        raise HTTPException(422, f"there is no {kind} of this model, which has no heat map of its own")
    return Response(objects[kind], media_type=DICOM)


async def _limit_time(answers: Awaitable[Answer], seconds: float) -> Answer:
    try:
        async with asyncio.timeout(seconds):
            return await answers
    except TimeoutError:
        raise HTTPException(503, f"no answer within {seconds:g} s; try again", {"Retry-After": "5"}) from None


def _make_answer(films: list[FilmAnswer], service: Service, request: Request, seconds: float) -> Prediction:
    mean = float(np.mean([film.prob for film in films])) if len(films) > 1 else None
    return Prediction(
        request_id=request.state.id, films=films, mean_prob=mean, model=service.version, seconds=round(seconds, 4)
    )


def _add_refusals(app: FastAPI) -> None:
    """Answer a film that cannot be used, and a full queue, by a status and a reason."""

    @app.exception_handler(FilmError)
    async def refuse_film(request: Request, error: FilmError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.exception_handler(BusyError)
    async def refuse_for_now(request: Request, error: BusyError) -> JSONResponse:
        return JSONResponse({"detail": REFUSALS[429]}, 429, {"Retry-After": "1"})
