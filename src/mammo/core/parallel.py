"""The one place where work fans out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import cv2
from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # items per worker that are begun, or done and waiting, beyond the one that is read


def parallel_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, description: str, done: int = 0
) -> Iterator[Result]:
    """`function` of every item, in the order of the items, on `workers` threads, with a progress bar.

    Threads, because decoding, hashing and resizing release the interpreter's lock. Items are taken and results are
    kept only a few per worker ahead of the reader. The first error stops the work and is raised.
    done: how many items before these were finished earlier; the bar starts there.
    """
    total = done + len(items) if isinstance(items, Sized) else None
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        with _opencv_on_one_thread(), tqdm(total=total, initial=done, desc=description, mininterval=1) as bar:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
                    bar.update()
            while waiting:
                yield waiting.popleft().result()
                bar.update()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _opencv_on_one_thread() -> Iterator[None]:
    """OpenCV would fan each item out once more, and its threads would wait for each other."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
