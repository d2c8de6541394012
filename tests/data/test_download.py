"""Downloads against a failing server: whole files under their names, halves resumed, errors with a cure."""

import errno
import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import s3_server
from s3_server import Fault, Server

from mammo.core.errors import InputError
from mammo.data.sources import _download
from mammo.data.sources._download import DownloadError, Remote

SIZE = 10 * _download.CHUNK_BYTES + 123
BUCKET = "/bucket"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(_download, "WAITS_S", (0, 0, 0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with s3_server.running() as started:
        yield started


def content_of(number: int, size: int = SIZE) -> bytes:
    return np.random.default_rng(number).bytes(size)


def offered(server: Server, folder: Path, count: int = 1, size: int = SIZE) -> list[Remote]:
    """`count` files on the server, as their listing describes them."""
    for number in range(count):
        server.files[f"{BUCKET}/series/{number}.dcm"] = content_of(number, size)
    with _download.open_session() as opened:
        objects = _download.list_objects(opened, server.url, "bucket", "series/")
    server.asked.clear()
    return [
        Remote(f"{server.url}{BUCKET}/{item.key}", folder / Path(item.key).name, item.size_bytes, item.checksum)
        for item in objects
    ]


def path_of(remote: Remote) -> str:
    return "/" + remote.url.split("/", 3)[3]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What comes


@pytest.mark.parametrize("size", [0, 1, _download.CHUNK_BYTES, SIZE])
def test_files_come_byte_for_byte_and_leave_nothing_else(server: Server, tmp_path: Path, size: int) -> None:
    remotes = offered(server, tmp_path / "new" / "folder", count=20, size=size)
    _download.fetch(remotes, "files")
    for number, remote in enumerate(sorted(remotes, key=lambda remote: int(remote.path.stem))):
        assert remote.path.read_bytes() == content_of(number, size)
    assert names(tmp_path / "new" / "folder") == sorted(f"{number}.dcm" for number in range(20))


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    remotes = offered(server, tmp_path, count=3)
    _download.fetch(remotes[:2], "files")
    server.asked.clear()
    _download.fetch(remotes, "files")
    assert [path for path, _ in server.asked] == [path_of(remotes[2])]


def test_a_file_of_another_size_under_the_final_name_is_replaced(server: Server, tmp_path: Path) -> None:
    (remote,) = offered(server, tmp_path)
    remote.path.write_bytes(b"half")
    _download.fetch([remote], "files")
    assert remote.path.read_bytes() == content_of(0)


def test_a_file_of_unknown_size_comes_whole_and_never_resumes(server: Server, tmp_path: Path) -> None:
    (listed,) = offered(server, tmp_path)
    remote = Remote(listed.url, listed.path)
    remote.part.write_bytes(b"old beginning")
    _download.fetch([remote], "files")
    assert remote.path.read_bytes() == content_of(0)
    assert server.asked == [(path_of(remote), "")]


def test_progress_is_shown_in_bytes_and_ends_at_all(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remotes = offered(server, tmp_path, count=4)
    server.faults[path_of(remotes[0])] = [Fault(cut_after=SIZE // 2)]
    server.faults[path_of(remotes[1])] = [Fault(body=bytes(SIZE))]
    _download.fetch(remotes, "all of it")
    displayed = capsys.readouterr().err
    assert "all of it: 100%" in displayed
    assert re.search(r"2\.62M/2\.62M", displayed.splitlines()[-1].split("\r")[-1])


# Interruptions


def test_a_cut_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    (remote,) = offered(server, tmp_path)
    server.faults[path_of(remote)] = [Fault(cut_after=SIZE // 2), Fault(cut_after=SIZE // 4)]
    _download.fetch([remote], "files")
    assert remote.path.read_bytes() == content_of(0)
    starts = [int(asked.removeprefix("bytes=").removesuffix("-") or 0) for _, asked in server.asked]
    assert starts[0] == 0 < starts[1] < starts[2]
    assert SIZE // 2 - _download.CHUNK_BYTES <= starts[1] <= SIZE // 2


def test_a_connection_that_moves_on_may_break_more_often_than_there_are_attempts(
    server: Server, tmp_path: Path
) -> None:
    (remote,) = offered(server, tmp_path)
    server.faults[path_of(remote)] = [Fault(cut_after=_download.CHUNK_BYTES) for _ in range(9)]
    _download.fetch([remote], "files")
    assert remote.path.read_bytes() == content_of(0)


def test_a_server_that_knows_no_ranges_sends_the_whole_file_again(server: Server, tmp_path: Path) -> None:
    (remote,) = offered(server, tmp_path)
    server.ranges = False
    server.faults[path_of(remote)] = [Fault(cut_after=SIZE // 2)]
    _download.fetch([remote], "files")
    assert remote.path.read_bytes() == content_of(0)
    assert len(server.asked) == 2


def test_a_server_that_always_cuts_is_given_up_and_the_half_stays(server: Server, tmp_path: Path) -> None:
    (remote,) = offered(server, tmp_path)
    server.ranges = False
    server.faults[path_of(remote)] = [Fault(cut_after=SIZE // 2) for _ in range(100)]
    with pytest.raises(DownloadError, match=r"0\.dcm from http.* Check the network .* where this one stopped"):
        _download.fetch([remote], "files")
    assert len(server.asked) < 10
    assert names(tmp_path) == ["0.dcm.part"]


def test_a_complete_half_file_needs_no_request(server: Server, tmp_path: Path) -> None:
    (remote,) = offered(server, tmp_path)
    remote.part.write_bytes(content_of(0))
    _download.fetch([remote], "files")
    assert remote.path.read_bytes() == content_of(0)
    assert server.asked == []


@pytest.mark.parametrize("half", [bytes(1000), bytes(SIZE), bytes(SIZE + 1)])
def test_a_damaged_half_file_is_replaced(server: Server, tmp_path: Path, half: bytes) -> None:
    (remote,) = offered(server, tmp_path)
    remote.part.write_bytes(half)
    _download.fetch([remote], "files")
    assert remote.path.read_bytes() == content_of(0)
    assert names(tmp_path) == ["0.dcm"]


def test_the_error_of_one_file_ends_the_others_which_keep_their_halves(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "WAITS_S", (0.3, 0.3))
    slow, gone = offered(server, tmp_path, count=2)
    server.faults = {path_of(slow): [Fault(pause_s=0.3)], path_of(gone): [Fault(status=503), Fault(status=404)]}
    with pytest.raises(DownloadError, match="404"):
        _download.fetch([slow, gone], "files")
    assert names(tmp_path) == ["0.dcm.part"]
    half = slow.part.read_bytes()
    assert 0 < len(half) < SIZE and content_of(0).startswith(half)


def test_after_a_kill_only_the_rest_is_fetched(server: Server, tmp_path: Path) -> None:
    remotes = offered(server, tmp_path, count=12)
    stalled = remotes[_download.CONNECTIONS :]
    server.faults = {path_of(remote): [Fault(stall_after=SIZE // 2)] for remote in stalled}
    script = "\n".join(
        ["from pathlib import Path", "from mammo.data.sources._download import Remote, fetch", "remotes = ["]
        + [f"    Remote({r.url!r}, Path({str(r.path)!r}), {r.size_bytes}, {r.checksum!r})," for r in remotes]
        + ["]", "fetch(remotes, 'files')"]
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    wait_until(lambda: all(r.part.exists() and r.part.stat().st_size >= SIZE // 4 for r in stalled))
    wait_until(lambda: all(r.path.exists() for r in remotes[: _download.CONNECTIONS]))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not any(remote.path.exists() for remote in stalled)
    server.asked.clear()

    _download.fetch(remotes, "files")
    assert sorted(path for path, _ in server.asked) == sorted(map(path_of, stalled))
    assert all(asked.startswith("bytes=") for _, asked in server.asked)
    assert all(remote.path.read_bytes() == content_of(int(remote.path.stem)) for remote in remotes)
    assert names(tmp_path) == sorted(remote.path.name for remote in remotes)


def wait_until(condition, seconds: float = 30) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


# Wrong content


@pytest.mark.parametrize("known", ["size and MD5", "SHA-256", "first bytes"])
def test_other_content_never_gets_the_final_name(server: Server, tmp_path: Path, known: str) -> None:
    (listed,) = offered(server, tmp_path)
    digest = hashlib.sha256(content_of(0)).hexdigest()
    remote, reason = {
        "size and MD5": (listed, "its md5 is"),
        "SHA-256": (Remote(listed.url, listed.path, checksum=f"sha256:{digest}"), "its sha256 is"),
        "first bytes": (Remote(listed.url, listed.path, starts_with=content_of(0)[:4]), "of another format"),
    }[known]
    server.faults[path_of(remote)] = [Fault(body=b"<html>".ljust(SIZE, b" ")) for _ in range(20)]
    with pytest.raises(DownloadError, match=f"0.dcm from http.*{reason}"):
        _download.fetch([remote], "files")
    assert names(tmp_path) == []
    assert len(server.asked) == _download.CONTENT_ATTEMPTS


def test_a_file_longer_than_listed_is_refused(server: Server, tmp_path: Path) -> None:
    (remote,) = offered(server, tmp_path)
    server.faults[path_of(remote)] = [Fault(body=content_of(0) + b"more") for _ in range(20)]
    with pytest.raises(DownloadError, match=f"{SIZE + 4} bytes came, but its source states {SIZE}"):
        _download.fetch([remote], "files")
    assert names(tmp_path) == []


def test_the_etag_of_a_multipart_upload_is_not_taken_for_a_checksum(server: Server, tmp_path: Path) -> None:
    server.multipart_etags = True
    (remote,) = offered(server, tmp_path)
    assert remote.checksum == ""
    _download.fetch([remote], "files")
    assert remote.path.read_bytes() == content_of(0)


# Servers and networks that refuse


@pytest.mark.parametrize("status", sorted(_download.TRANSIENT))
def test_a_passing_refusal_is_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    (remote,) = offered(server, tmp_path)
    server.faults[path_of(remote)] = [Fault(status=status), Fault(status=status)]
    _download.fetch([remote], "files")
    assert remote.path.read_bytes() == content_of(0)
    assert server.times_asked(path_of(remote)) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_final_refusal_is_told_at_once_and_the_other_files_stay(server: Server, tmp_path: Path, status: int) -> None:
    remotes = offered(server, tmp_path, count=3)
    _download.fetch(remotes[:2], "files")
    server.faults[path_of(remotes[2])] = [Fault(status=status)]
    with pytest.raises(DownloadError, match=rf"{status} .*{re.escape(path_of(remotes[2]))}"):
        _download.fetch(remotes, "files")
    assert server.times_asked(path_of(remotes[2])) == 1
    assert names(tmp_path) == ["0.dcm", "1.dcm"]


def test_waits_grow_while_nothing_comes(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    stop = threading.Event()
    monkeypatch.setattr(stop, "wait", waited.append)
    monkeypatch.setattr(_download, "WAITS_S", (1, 2, 4))
    (remote,) = offered(server, tmp_path)
    server.faults[path_of(remote)] = [Fault(status=503) for _ in range(100)]
    with _download.open_session() as opened, pytest.raises(DownloadError, match=r"503 .* Try again later"):
        _download.retry(lambda: opened.get(remote.url).raise_for_status(), "a file", stop=stop)
    assert waited == [1, 2, 4]


def test_no_network_is_told_with_host_and_cure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_download, "WAITS_S", (0,))
    with s3_server.running() as server:
        address = server.url
    with pytest.raises(DownloadError, match=r"cannot be reached.*Check the network and HTTPS_PROXY") as error:
        _download.fetch([Remote(f"{address}/bucket/0.dcm", tmp_path / "0.dcm", 5)], "files")
    assert "127.0.0.1" in str(error.value)
    assert names(tmp_path) == []


def test_an_address_that_is_none_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"0\.dcm from nowhere"):
        _download.fetch([Remote("nowhere/0.dcm", tmp_path / "0.dcm")], "files")


def test_a_download_error_is_one_that_a_user_can_cure() -> None:
    assert issubclass(DownloadError, InputError)


# Disks that refuse


def full_after(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Writing to a file of that name fails, as on a full disk or one that is broken."""
    real_open = Path.open

    def refusing(path: Path, mode: str = "r", *args, **options):  # type: ignore[no-untyped-def]
        file = real_open(path, mode, *args, **options)
        if path.name == name and "a" in mode:
            return FullFile(file, number)
        return file

    monkeypatch.setattr(Path, "open", refusing)


class FullFile:
    """A file that takes one chunk and then no more."""

    def __init__(self, file, number: int) -> None:  # type: ignore[no-untyped-def]
        self.file, self.number, self.written = file, number, False

    def __enter__(self) -> "FullFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, chunk: bytes) -> None:
        if self.written:
            raise OSError(self.number, "refused by the test")
        self.written = True
        self.file.write(chunk)


def test_a_full_disk_is_told_and_nothing_is_lost(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes = offered(server, tmp_path, count=3)
    _download.fetch(remotes[:2], "files")
    with monkeypatch.context() as patched:
        full_after(patched, "2.dcm.part", errno.ENOSPC)
        with pytest.raises(DownloadError, match=r"2\.dcm\.part: the disk is full\. Free some space and run again"):
            _download.fetch(remotes, "files")
    assert names(tmp_path) == ["0.dcm", "1.dcm", "2.dcm.part"]
    _download.fetch(remotes, "files")
    assert remotes[2].path.read_bytes() == content_of(2)
    assert server.asked[-1] == (path_of(remotes[2]), f"bytes={_download.CHUNK_BYTES}-")


def test_any_other_refusal_of_the_disk_is_told_with_its_reason(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes = offered(server, tmp_path)
    full_after(monkeypatch, "0.dcm.part", errno.EIO)
    with pytest.raises(DownloadError, match=r"0\.dcm\.part cannot be written: refused by the test"):
        _download.fetch(remotes, "files")


def test_a_folder_that_cannot_be_made_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    remotes = offered(server, tmp_path / "file" / "folder")
    with pytest.raises(DownloadError, match=r"file/folder cannot be written"):
        _download.fetch(remotes, "files")
    with pytest.raises(DownloadError, match=r"cannot be written"), _download.lock_folder(tmp_path / "file"):
        pass


def test_too_small_a_disk_is_told_before_anything_is_fetched(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes = offered(server, tmp_path / "new", count=3)
    asked_for = 3 * SIZE
    monkeypatch.setattr(_download.shutil, "disk_usage", lambda place: FreeSpace(asked_for - 1))
    with pytest.raises(DownloadError, match=r"GB are to be downloaded, but its disk has .* GB free"):
        _download.fetch(remotes, "files")
    assert server.asked == []
    remotes[0].part.write_bytes(content_of(0)[:1])
    _download.fetch(remotes, "files")


class FreeSpace:
    def __init__(self, free: int) -> None:
        self.free = free


# Listing


def test_a_listing_of_several_pages_is_read_to_its_end(server: Server, tmp_path: Path) -> None:
    server.listed_at_once = 3
    assert len(offered(server, tmp_path, count=10, size=5)) == 10


def test_a_listing_holds_only_the_prefix(server: Server, tmp_path: Path) -> None:
    server.files[f"{BUCKET}/other/0.dcm"] = b"other"
    assert [remote.path.name for remote in offered(server, tmp_path, count=2)] == ["0.dcm", "1.dcm"]


@pytest.mark.parametrize("page", [b"<html><body>Log in</body></html>", b"Log in", b""])
def test_a_login_page_is_not_an_empty_listing(server: Server, page: bytes) -> None:
    server.faults[BUCKET] = [Fault(body=page)]
    with _download.open_session() as opened, pytest.raises(DownloadError, match=r"the answer is no S3 listing"):
        _download.list_objects(opened, server.url, "bucket", "series/")


def test_a_listing_survives_a_passing_refusal(server: Server, tmp_path: Path) -> None:
    server.faults[BUCKET] = [Fault(status=503), Fault(status=500)]
    assert len(offered(server, tmp_path, count=2)) == 2


# Several processes


def test_one_process_at_a_time_downloads_to_a_folder(tmp_path: Path) -> None:
    inside, order = threading.Event(), []

    def second() -> None:
        inside.wait()
        with _download.lock_folder(tmp_path / "new"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with _download.lock_folder(tmp_path / "new"):
        inside.set()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
