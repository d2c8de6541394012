"""Unfinished work is found by its key, kept on errors, removed when done or old, and done by one run at a time."""

import os
import threading
import time
from pathlib import Path

import pytest

from mammo.core import resume


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return tmp_path


def interrupted(key: str) -> Path:
    with pytest.raises(RuntimeError), resume.resumable_folder("kind", key) as folder:
        (folder / "begun").write_text("half")
        raise RuntimeError
    return folder


def test_unfinished_work_survives_an_error_and_goes_when_done(repository: Path) -> None:
    folder = interrupted("one")
    assert folder.parent == repository / ".dvc/tmp/mammo"
    with resume.resumable_folder("kind", "one") as again:
        assert again == folder
        assert (again / "begun").read_text() == "half"
    assert not folder.exists()


def test_other_foundations_have_another_key() -> None:
    keys = {resume.content_key(*texts) for texts in [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("c", "ab")]}
    assert len(keys) == 5
    assert resume.content_key("ab", "c") == resume.content_key("ab", "c")


def test_work_of_other_keys_goes_when_it_is_old(repository: Path) -> None:
    home = repository / ".dvc/tmp/mammo"
    for name in ("old", "young", "own"):
        interrupted(name)
    long_ago = time.time() - (resume.STALE_DAYS + 1) * 24 * 3600
    for name in ("old", "own"):
        for place in [*home.glob(f"kind-{name}*"), *(home / f"kind-{name}").rglob("*")]:
            os.utime(place, (long_ago, long_ago))
    with resume.resumable_folder("kind", "own") as folder:
        assert (folder / "begun").is_file()
    assert {path.name for path in home.iterdir()} == {"kind-young", "kind-young.lock", "kind-own.lock"}


def test_a_cache_stays_and_is_of_its_kind_and_key() -> None:
    folder = resume.cache_folder("vectors", "a")
    (folder / "0.npy").write_text("x")
    assert (resume.cache_folder("vectors", "a") / "0.npy").is_file()
    assert resume.cache_folder("vectors", "b") != folder != resume.cache_folder("others", "a")


def test_a_second_run_of_the_same_key_waits_for_the_first(caplog: pytest.LogCaptureFixture) -> None:
    order: list[str] = []

    def second() -> None:
        with resume.resumable_folder("kind", "key"):
            order.append("second")

    with resume.resumable_folder("kind", "key"):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    waiting.join(5)
    assert order == ["first", "second"]
    assert caplog.messages == ["another run does the same work (kind); waiting for it"]


def test_the_code_of_a_module_is_its_text() -> None:
    assert resume.source_texts(resume) == [Path(resume.__file__).read_text(encoding="utf-8")]
