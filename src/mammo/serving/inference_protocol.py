"""The Open Inference Protocol (V2), which KServe and Triton clients speak: prepared arrays in, probabilities out.

https://github.com/kserve/open-inference-protocol
"""

import asyncio
import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, HTTPException
from pydantic import BaseModel

from mammo.serving.service import Service

INPUT, OUTPUTS = "image", ("prob", "calibrated")
DATATYPES = {8: "UINT8", 16: "UINT16"}  # by preprocess.bits
Images = npt.NDArray[np.unsignedinteger[Any]]


class TensorInput(BaseModel):
    """Prepared images, as preprocess writes them: (n, h, w), of two views (n, views, h, w); flat or nested."""

    name: Literal["image"]
    shape: list[int]
    datatype: str
    data: list[Any]


class InferRequest(BaseModel):
    """A request for probabilities."""

    id: str | None = None
    inputs: list[TensorInput]


def build_router(service: Service) -> APIRouter:
    """Return the routes below /v2."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
    name = service.version.name

    @router.get("")
    def server() -> dict[str, Any]:
        return {"name": "mammo", "version": service.version.version or "", "extensions": []}

    @router.get("/health/live")
    def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/health/ready")
    def ready() -> dict[str, bool]:
        if not service.ready:
            raise HTTPException(503, "the model is not ready yet")
        return {"ready": True}

    @router.get("/models/{model}")
    def metadata(model: str) -> dict[str, Any]:
        _check_name(model, name)
        return _describe(service)

    @router.get("/models/{model}/ready")
    def model_ready(model: str) -> dict[str, bool]:
        _check_name(model, name)
        return ready()

    @router.post("/models/{model}/infer")
    async def infer(model: str, request: InferRequest) -> dict[str, Any]:
        _check_name(model, name)
        return await _infer(service, request)

    return router


def _check_name(model: str, served: str) -> None:
    if model != served:
        raise HTTPException(404, f"there is no model {model[:80]!r}; served is {served}")


def _describe(service: Service) -> dict[str, Any]:
    outputs = [{"name": output, "datatype": "FP64", "shape": [-1]} for output in OUTPUTS]
    inputs = [{"name": INPUT, "datatype": _datatype(service), "shape": _tensor_shape(service)}]
    return {"name": service.version.name, "platform": "keras", "inputs": inputs, "outputs": outputs}


async def _infer(service: Service, request: InferRequest) -> dict[str, Any]:
    if len(request.inputs) != 1:
        raise HTTPException(422, f"{len(request.inputs)} inputs; there is one, {INPUT}")
    tensor, about = request.inputs[0], service.predictor.about
    images = _to_images(tensor, service)
    prob = np.array(await asyncio.gather(*map(service.batcher.predict, images)))
    if about.two_views:
        views = tensor.shape[1]
        prob = service.predictor.average_views(prob, [str(place // views) for place in range(len(prob))])[::views]
    calibrated = about.calibrate(prob)
    values = {"prob": prob.tolist(), "calibrated": [None if np.isnan(value) else value for value in calibrated]}
    outputs = [{"name": output, "datatype": "FP64", "shape": [len(prob)], "data": values[output]} for output in OUTPUTS]
    answer = {"model_name": service.version.name, "outputs": outputs}
    return answer if request.id is None else answer | {"id": request.id}


def _to_images(tensor: TensorInput, service: Service) -> Images:
    """Return the images (n, h, w), those of several views one after the other; raises HTTPException."""
    shape, expected, most = tensor.shape, _tensor_shape(service), service.settings.max_batch
    counts, sides = shape[:-2], shape[-2:]
    fits = len(shape) == len(expected) and sides == expected[-2:] and min(counts) >= 1
    if not fits or math.prod(counts) > most:
        raise HTTPException(422, f"shape {shape[:8]}; the model takes {expected}, from 1 to {most} images in all")
    if tensor.datatype != _datatype(service):
        raise HTTPException(422, f"datatype {tensor.datatype[:20]!r}; the model takes {_datatype(service)}")
    try:
        values = np.asarray(tensor.data, np.int64).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise HTTPException(422, f"data: are no whole numbers of shape {shape} ({error})") from error
    if values.min() < 0 or values.max() >= 2**service.predictor.about.preprocess.bits:
        raise HTTPException(422, f"data: is outside {tensor.datatype}")
    return values.astype(service.dtype).reshape(-1, *sides)


def _tensor_shape(service: Service) -> list[int]:
    """Return the shape of the input, -1 where any size goes."""
    height, width, _ = service.predictor.about.image_shape
    return [-1, -1, height, width] if service.predictor.about.two_views else [-1, height, width]


def _datatype(service: Service) -> str:
    return DATATYPES[service.predictor.about.preprocess.bits]
