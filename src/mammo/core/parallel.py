"""Parallel work on threads; all work that fans out goes through `parallel_map`."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_AHEAD = 4  # per worker: begun, or finished and waiting, beyond the item that is read


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, description: str, done: int = 0
) -> Iterator[Result]:
    """Apply `function` to every item on `workers` threads, in order, with a progress bar.

    Threads, because decoding, hashing and resizing release the interpreter's lock. Items are taken, and results held,
    only a few per worker ahead of the reader. The first error stops the work and is raised.
    done: the number of items that were finished before these; the bar starts there.
    """
    total = done + len(items) if isinstance(items, Sized) else None
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        with _single_threaded_opencv(), tqdm(total=total, initial=done, desc=description, mininterval=1) as bar:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ITEMS_AHEAD * workers:
                    yield waiting.popleft().result()
                    bar.update()
            while waiting:
                yield waiting.popleft().result()
                bar.update()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Limit OpenCV to one thread: it would fan each item out once more, and its threads would wait for each other."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
