"""Batches: films on their way are waited for, but not for ever, and a film alone not at all."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from mammo.serving.batching import Batcher, BatchLimits, BusyError

IMAGE = np.full((4, 4), 7, np.uint8)


class Model:
    """Answers the mean of each image, and keeps the sizes of batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.coming = 0

    def predict(self, images: Any) -> Any:
        return images.mean(axis=(1, 2)) / 255

    def batcher(self, max_wait_s: float, max_batch: int = 4, max_queue: int = 64) -> Batcher:
        limits = BatchLimits(max_queue, max_batch, max_wait_s)
        return Batcher(self.predict, limits, lambda: self.coming, self.sizes.append)


def run(batcher: Batcher, work: Callable[[], Coroutine[Any, Any, Any]]) -> float:
    """Seconds that the work took."""

    async def whole() -> float:
        batcher.start()
        start = time.perf_counter()
        await work()
        taken = time.perf_counter() - start
        await batcher.stop()
        return taken

    return asyncio.run(whole())


def test_a_film_alone_waits_for_none() -> None:
    model = Model()
    batcher = model.batcher(max_wait_s=30)
    assert run(batcher, lambda: batcher.predict(IMAGE)) < 10
    assert model.sizes == [1]


def test_films_on_their_way_are_predicted_together() -> None:
    model = Model()
    batcher = model.batcher(max_wait_s=30)
    model.coming = 2

    async def arrive(after_s: float, image: Any) -> float:
        await asyncio.sleep(after_s)
        if after_s:
            model.coming -= 1
        return await batcher.predict(image)

    async def work() -> None:
        found = await asyncio.gather(arrive(0, IMAGE), arrive(0.02, 2 * IMAGE), arrive(0.04, 3 * IMAGE))
        np.testing.assert_allclose(found, [7 / 255, 14 / 255, 21 / 255])

    run(batcher, work)
    assert model.sizes == [3]


def test_a_full_batch_waits_no_longer() -> None:
    model = Model()
    batcher = model.batcher(max_wait_s=30, max_batch=2)
    model.coming = 1

    async def work() -> None:
        await asyncio.gather(*(batcher.predict(IMAGE) for _ in range(4)))

    assert run(batcher, work) < 10
    assert model.sizes == [2, 2]


def test_what_never_comes_is_waited_for_no_longer_than_allowed() -> None:
    model = Model()
    batcher = model.batcher(max_wait_s=0.1)
    model.coming = 1
    assert 0.1 <= run(batcher, lambda: batcher.predict(IMAGE)) < 10


def test_more_than_may_wait_are_refused() -> None:
    model = Model()
    batcher = model.batcher(max_wait_s=0, max_queue=1)

    async def work() -> None:
        results = await asyncio.gather(*(batcher.predict(IMAGE) for _ in range(3)), return_exceptions=True)
        assert sum(isinstance(result, BusyError) for result in results) >= 1

    run(batcher, work)


@pytest.mark.parametrize("max_wait_s", [0.0, 0.05])
def test_a_failure_is_that_of_its_batch(max_wait_s: float) -> None:
    model = Model()
    batcher = model.batcher(max_wait_s)

    async def work() -> None:
        batcher._predict = lambda images: 1 / 0  # type: ignore[assignment, return-value]
        with pytest.raises(ZeroDivisionError):
            await batcher.predict(IMAGE)
        batcher._predict = lambda images: images.mean(axis=(1, 2))
        assert await batcher.predict(IMAGE) == 7

    run(batcher, work)
