"""Dynamic batching: films that arrive while the model is busy, or are nearly decoded, are predicted together.

A call of the model costs as much as several films, whatever their number. A film alone waits for none.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.unsignedinteger[Any]]
POLL_S = 0.002
Predict = Callable[[Images], npt.NDArray[np.float64]]


class BusyError(Exception):
    """The queue is full; the client may try again."""


@dataclass(frozen=True)
class BatchLimits:
    """max_queue: images that wait at most; max_batch: of one call; max_wait_s: for images that are on their way."""

    max_queue: int
    max_batch: int
    max_wait_s: float


@dataclass(frozen=True)
class _Waiting:
    image: Images
    prob: "asyncio.Future[float]"


class Batcher:
    """Predicts single images (h, w) in batches, in one thread; all methods belong to one event loop.

    expecting: how many further images are on their way. on_batch: called with the size of each batch.
    """

    def __init__(
        self, predict: Predict, limits: BatchLimits, expecting: Callable[[], int], on_batch: Callable[[int], None]
    ):
        self._predict, self._limits, self._expecting, self._on_batch = predict, limits, expecting, on_batch
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(limits.max_queue)
        self._thread = ThreadPoolExecutor(1, "predict")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """The number of images that wait for the model."""
        return self._queue.qsize()

    def start(self) -> None:
        """Start to predict."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Predict what waits, then end."""
        await self._queue.join()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._thread.shutdown()

    async def predict(self, image: Images) -> float:
        """Return the probability of one image; raises BusyError where too many wait."""
        waiting = _Waiting(image, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise BusyError from None
        return await waiting.prob

    async def _run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            await self._collect()
            while len(batch) < self._limits.max_batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._answer([waiting for waiting in batch if not waiting.prob.done()])
            for _ in batch:
                self._queue.task_done()

    async def _collect(self) -> None:
        """Wait for the images that are on their way, as long as the limits allow."""
        clock = asyncio.get_running_loop().time
        end = clock() + self._limits.max_wait_s
        while self._queue.qsize() + 1 < self._limits.max_batch and self._expecting() and clock() < end:
            await asyncio.sleep(POLL_S)

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Set the results of a batch; one whose client has gone is left out, a failure is that of its batch alone."""
        if not batch:
            return
        self._on_batch(len(batch))
        images = np.stack([waiting.image for waiting in batch])
        try:
            prob = await asyncio.get_running_loop().run_in_executor(self._thread, self._predict, images)
        except Exception as error:  # noqa: BLE001  the clients get it, and the next batch is predicted
            results: list[float | Exception] = [error] * len(batch)
        else:
            results = [float(value) for value in prob]
        for waiting, result in zip(batch, results, strict=True):
            if waiting.prob.done():
                continue
            if isinstance(result, Exception):
                waiting.prob.set_exception(result)
            else:
                waiting.prob.set_result(result)
