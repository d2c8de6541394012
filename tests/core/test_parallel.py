"""Work that fans out: every result, in order, however many workers; the first error ends it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator

import cv2
import pytest

from mammo.core.parallel import ITEMS_AHEAD, parallel_map

MANY = 300


def late_first(number: int) -> int:
    """The square of `number`, the sooner the larger it is."""
    time.sleep(0.002 if number % 4 == 0 else 0)
    return number**2


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, ITEMS_AHEAD, MANY])
def test_results_come_in_the_order_of_the_items(workers: int, count: int) -> None:
    assert list(parallel_map(late_first, range(count), workers, "squares")) == [number**2 for number in range(count)]


def test_every_item_is_done_once() -> None:
    done: Counter[int] = Counter()

    def note(number: int) -> None:
        done[number] += 1

    list(parallel_map(note, range(MANY), 3, "notes"))
    assert done == Counter(range(MANY))


def test_items_may_come_from_an_iterator_and_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def endless() -> Iterator[int]:
        number = 0
        while True:
            taken.append(number)
            yield number
            number += 1

    results = parallel_map(str, endless(), 2, "texts")
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    assert len(taken) <= 3 + ITEMS_AHEAD * 2 + 1
    results.close()


def test_the_first_error_is_raised_and_stops_the_work() -> None:
    started: list[int] = []

    def fail_from_three(number: int) -> int:
        started.append(number)
        if number >= 3:
            raise ValueError(f"item {number}")
        return number

    results = parallel_map(fail_from_three, range(MANY), 2, "failing")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(results)
    assert len(started) <= 4 + ITEMS_AHEAD * 2


@pytest.mark.parametrize("workers", [1, 3])
def test_only_a_few_results_wait_for_their_reader(workers: int) -> None:
    started: list[int] = []
    results = parallel_map(started.append, range(MANY), workers, "waiting")
    next(results)
    time.sleep(0.05)
    assert len(started) <= 1 + ITEMS_AHEAD * workers
    results.close()


def test_what_has_not_begun_is_dropped_when_the_reader_leaves() -> None:
    started: list[int] = []
    held = threading.Event()

    def wait(number: int) -> int:
        started.append(number)
        if number:
            held.wait(5)
        return number

    results = parallel_map(wait, range(MANY), 2, "left")
    assert next(results) == 0
    threading.Timer(0.05, held.set).start()
    results.close()
    assert len(started) <= 3


def test_the_bar_starts_where_earlier_work_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(parallel_map(str, [1, 2], 1, "resumed", done=8)) == ["1", "2"]
    displayed = capsys.readouterr().err
    assert "8/10" in displayed
    assert "10/10" in displayed


def test_opencv_keeps_to_one_thread_per_worker_and_gets_its_own_back() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        assert set(parallel_map(lambda _: cv2.getNumThreads(), range(9), 2, "threads")) == {1}
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)
