"""Work that fans out: every result, in order, however many workers; the first error ends it."""

import time
from collections import Counter

import pytest

from mammo import compute


def late_first(number: int) -> int:
    """The square of `number`, the sooner the larger it is."""
    time.sleep(0.002 if number % 4 == 0 else 0)
    return number**2


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, compute.CHUNK, compute.CHUNK + 1])
def test_results_come_in_the_order_of_the_items(workers: int, count: int) -> None:
    assert list(compute.run(late_first, range(count), workers, "squares")) == [number**2 for number in range(count)]


def test_every_item_is_done_once() -> None:
    done: Counter[int] = Counter()

    def note(number: int) -> None:
        done[number] += 1

    list(compute.run(note, range(2 * compute.CHUNK), 3, "notes"))
    assert done == Counter(range(2 * compute.CHUNK))


def test_items_may_come_from_an_iterator() -> None:
    assert list(compute.run(str, iter([3, 1]), 2, "texts")) == ["3", "1"]


def test_the_first_error_is_raised_and_stops_the_work() -> None:
    started: list[int] = []

    def fail_from_three(number: int) -> int:
        started.append(number)
        if number >= 3:
            raise ValueError(f"item {number}")
        return number

    results = compute.run(fail_from_three, range(5 * compute.CHUNK), 2, "failing")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(results)
    assert len(started) <= compute.CHUNK


def test_at_most_one_chunk_waits_for_its_reader() -> None:
    started: list[int] = []
    results = compute.run(started.append, range(4 * compute.CHUNK), 2, "waiting")
    next(results)
    time.sleep(0.05)
    assert len(started) <= compute.CHUNK
    results.close()
