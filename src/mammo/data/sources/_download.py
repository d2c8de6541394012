"""Downloads of files, resumable and verified.

A file gets its final name when it has the size and the checksum that its source states. Until then it is `<name>.part`,
which the next call completes; finished files are not fetched again, and survive every error.
"""

import errno
import hashlib
import logging
import os
import shutil
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import requests
from filelock import FileLock, Timeout
from requests.adapters import HTTPAdapter
from tqdm import tqdm

from mammo.core.errors import InputError

T = TypeVar("T")
Advance = Callable[[int], object]  # moves the progress bar by so many bytes

CONNECTIONS = 8
TIMEOUT_S = (10, 60)  # to connect, and between two bytes
WAITS_S = (1, 2, 4, 8, 16, 32)  # between attempts that bring nothing new
CHUNK_BYTES = 1 << 16
CONTENT_ATTEMPTS = 2  # the half file of an earlier run may be damaged; then the file is fetched whole, once
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
GB = 1e9

_RESUME = "Finished files stay, and the next run continues where this one stopped"


class DownloadError(InputError):
    """A file cannot be downloaded; the message says which, why, and what to do. Finished files stay."""


@dataclass(frozen=True)
class Remote:
    """A file to fetch, with the size and checksum that its source states.

    checksum: `<algorithm of hashlib>:<hex digest>`, or empty. starts_with: the first bytes of its format, which an
    error page lacks; for files without a checksum.
    """

    url: str
    path: Path
    size_bytes: int | None = None
    checksum: str = ""
    starts_with: bytes = b""

    @property
    def part(self) -> Path:
        """The path of the unfinished file."""
        return self.path.with_name(f"{self.path.name}.part")


@dataclass(frozen=True)
class StoredObject:
    """An object of an S3 bucket. checksum: empty where it was uploaded in parts, as its ETag then is no MD5."""

    key: str
    size_bytes: int
    checksum: str


def fetch(remotes: Sequence[Remote], description: str) -> None:
    """Download the missing files, several at a time, with a progress bar in bytes.

    Raises DownloadError where the disk is too small for all of them, before anything is fetched, and where a file
    cannot be downloaded; the unfinished parts of the others stay, and the next call completes them.
    """
    missing = [remote for remote in remotes if not _is_complete(remote)]
    done, total = sum(_size(remote.part) for remote in missing), sum(remote.size_bytes or 0 for remote in missing)
    for folder in {remote.path.parent for remote in missing}:
        with name_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    if missing:
        require_space(missing[0].path.parent, total - done)
        with (
            open_session() as session,
            tqdm(total=total, initial=done, desc=description, unit="B", unit_scale=True) as bar,
        ):
            _fetch_all(session, missing, bar.update)


def list_objects(session: requests.Session, endpoint: str, bucket: str, prefix: str) -> list[StoredObject]:
    """List the objects of a public S3 bucket whose keys start with `prefix` (ListObjectsV2, path-style address)."""
    url, token = f"{endpoint.rstrip('/')}/{bucket}", ""
    objects: list[StoredObject] = []
    while True:
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        content = retry(partial(_content, session, url, query), f"{url}?prefix={prefix}")
        page = _parse_xml(content, url)
        objects += [_stored_object(element) for element in page.iterfind("{*}Contents")]
        token = page.findtext("{*}NextContinuationToken", "")
        if not token:
            return objects


def retry(
    attempt: Callable[[], T],
    name: str,
    progress: Callable[[], int] = lambda: 0,
    stop: threading.Event | None = None,
) -> T:
    """Return the result of `attempt`, repeated with growing waits while the network fails.

    The waits start again after an attempt that raises `progress()` above all before. `name` is that of the file, for
    errors. Raises DownloadError when the waits are used up or `stop` is set, and at once for other failures.
    """
    stop = stop or threading.Event()
    furthest, waits = progress(), iter(WAITS_S)
    while True:
        try:
            return attempt()
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            problem = f"cannot be reached or breaks off ({error}). Check the network and HTTPS_PROXY"
        except requests.HTTPError as error:
            problem = _explain_status(error)
        except requests.RequestException as error:
            raise DownloadError(f"{name}: {error}") from error
        if progress() > furthest:
            furthest, waits = progress(), iter(WAITS_S)
        wait = next(waits, None)
        if wait is None or stop.wait(wait):
            raise DownloadError(f"{name}: {problem}. {_RESUME}")


def require_space(folder: Path, size_bytes: float) -> None:
    """Raise DownloadError where the disk of `folder`, which may not exist yet, has less than `size_bytes` free."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < size_bytes:
        raise DownloadError(
            f"{folder}: {size_bytes / GB:,.1f} GB are to be downloaded, but its disk has {free / GB:,.1f} GB free. "
            "Free space, set `root` in params.yaml to a folder on a larger disk, or download fewer patients"
        )


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create `folder` and lock it for one process during the block; others wait."""
    with name_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".download.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logging.warning("another process is downloading to %s; waiting for it", folder)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def open_session() -> requests.Session:
    """Open a session for CONNECTIONS threads that keeps its connections."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=CONNECTIONS, pool_maxsize=CONNECTIONS))
    return session


def _fetch_all(session: requests.Session, remotes: list[Remote], advance: Advance) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        futures = [pool.submit(_fetch_file, session, remote, advance, stop) for remote in remotes]
        try:
            for future in as_completed(futures):
                future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _fetch_file(session: requests.Session, remote: Remote, advance: Advance, stop: threading.Event) -> None:
    problem = ""
    for _ in range(CONTENT_ATTEMPTS):
        retry(
            lambda: _receive(session, remote, advance, stop),
            f"{remote.path.name} from {remote.url}",
            lambda: _size(remote.part),
            stop,
        )
        if stop.is_set():
            return
        problem = _content_problem(remote)
        if not problem:
            remote.part.replace(remote.path)
            return
        _discard(remote.part, advance)
    raise DownloadError(
        f"{remote.path.name} from {remote.url}: {problem}; it was deleted. {_RESUME}; if this repeats, the source "
        "(or a proxy) serves another file"
    )


def _receive(session: requests.Session, remote: Remote, advance: Advance, stop: threading.Event) -> None:
    """Append the missing bytes to the unfinished file; ends early when `stop` is set."""
    start = _size(remote.part)
    if remote.size_bytes is None or start > remote.size_bytes:
        _discard(remote.part, advance)
        start = 0
    if start == remote.size_bytes and remote.part.exists():
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with session.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        if start and response.status_code != requests.codes.partial_content:
            _discard(remote.part, advance)
        with name_disk_errors(remote.part), remote.part.open("ab") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                if stop.is_set():
                    return
                file.write(chunk)
                advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the final name without the content


def _content_problem(remote: Remote) -> str:
    """Return why the unfinished file is not the stated one, or an empty text."""
    size = _size(remote.part)
    if remote.size_bytes is not None and size != remote.size_bytes:
        return f"{size} bytes came, but its source states {remote.size_bytes}"
    with remote.part.open("rb") as file:
        if file.read(len(remote.starts_with)) != remote.starts_with:
            return "it is of another format (perhaps an error page)"
        if remote.checksum:
            algorithm, expected = remote.checksum.split(":")
            file.seek(0)
            digest = hashlib.file_digest(file, algorithm).hexdigest()
            return "" if digest == expected else f"its {algorithm} is {digest}, but its source states {expected}"
    return ""


def _is_complete(remote: Remote) -> bool:
    return remote.path.is_file() and remote.size_bytes in (None, _size(remote.path))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _discard(part: Path, advance: Advance) -> None:
    advance(-_size(part))
    part.unlink(missing_ok=True)


@contextmanager
def name_disk_errors(path: Path) -> Iterator[None]:
    """Raise DownloadError for what the disk refuses; network failures pass, although they are OSErrors, too."""
    try:
        yield
    except requests.RequestException:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(f"{path}: the disk is full. Free some space and run again. {_RESUME}") from error
        raise DownloadError(f"{path} cannot be written: {error.strerror or error}. {_RESUME}") from error


def _explain_status(error: requests.HTTPError) -> str:
    """Describe a transient HTTP status; raises DownloadError for all others."""
    answer = " ".join(str(error).split())
    if error.response is not None and error.response.status_code in TRANSIENT:
        return f"{answer}. Try again later"
    raise DownloadError(f"{answer}; the file is not available there") from error


def _content(session: requests.Session, url: str, query: dict[str, str]) -> bytes:
    response = session.get(url, params=query, timeout=TIMEOUT_S)
    response.raise_for_status()
    return response.content


def _parse_xml(content: bytes, url: str) -> ET.Element:
    try:
        page = ET.fromstring(content)
    except ET.ParseError as error:
        raise DownloadError(
            f"{url}: the answer is no S3 listing ({error}); is there a login page on the way?"
        ) from None
    if not page.tag.endswith("ListBucketResult"):
        raise DownloadError(f"{url}: the answer is no S3 listing but <{page.tag}>; is there a login page on the way?")
    return page


def _stored_object(element: ET.Element) -> StoredObject:
    etag = element.findtext("{*}ETag", "").strip('"')
    return StoredObject(
        element.findtext("{*}Key", ""),
        int(element.findtext("{*}Size", "0")),
        "" if "-" in etag or not etag else f"md5:{etag}",
    )
