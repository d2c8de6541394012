"""The one place where work fans out."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 256


def run(function: Callable[[Item], Result], items: Iterable[Item], workers: int, description: str) -> Iterator[Result]:
    """`function` of every item, in the order of the items, on `workers` threads, with a progress bar.

    Threads, because decoding and resizing release the interpreter's lock. At most CHUNK results wait in memory.
    The first error stops the work and is raised.
    """
    queue = list(items)
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(queue), desc=description, mininterval=1) as bar:
        for start in range(0, len(queue), CHUNK):
            for result in pool.map(function, queue[start : start + CHUNK]):
                bar.update()
                yield result
