"""An append-only log of inferences, in which each line holds the hash of the line before it.

A line changed, taken out or put in later breaks the chain at its place. It holds hashes of inputs, never pixels, names
of files or values of DICOM headers. What a log like this is for: EU AI Act (2024/1689), articles 12, 19 and 26.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mammo.core.errors import InputError

START = 64 * "0"  # what the first line names as the hash before it
TAIL_BYTES = 2**16  # more than a line has


@dataclass(frozen=True)
class Verified:
    """What a log holds: its lines, the hash of the last of them, and the bytes of an unfinished one at its end."""

    lines: int
    last_hash: str
    unfinished_bytes: int


class AuditLog:
    """A log that this process appends to. Several processes may, one line at a time; each line is on disk at once.

    The threads of a process queue at a lock of their own: a lock on the file is tried again every 50 ms.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._threads = threading.RLock()
        self._processes = FileLock(path.with_name(f"{path.name}.lock"), thread_local=False)
        self._end = (0, START)  # size of the file behind this process's last line, and the hash of that line
        with self._threads, self._processes:
            self._drop_unfinished_line()

    def append(self, entry: Mapping[str, Any]) -> None:
        """Append an entry; it is on disk when this returns."""
        with self._threads, self._processes, self.path.open("ab") as file:
            size, last_hash = self._end
            if file.tell() != size:  # another process has written
                last_hash = _last_hash(self.path)
            line, last_hash = chain(entry, last_hash)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            self._end = (file.tell(), last_hash)

    def _drop_unfinished_line(self) -> None:
        """Cut off what a process that was killed had written of a line; the next line says so."""
        content = _tail(self.path)
        unfinished = len(content) - (content.rfind(b"\n") + 1)
        if unfinished:
            os.truncate(self.path, self.path.stat().st_size - unfinished)
            self.append({"event": "recovered", "dropped_bytes": unfinished})


def chain(entry: Mapping[str, Any], last_hash: str) -> tuple[bytes, str]:
    """Return the line of an entry behind the line of that hash, and its own hash."""
    content = {**entry, "previous": last_hash}
    digest = _hash(content)
    return (json.dumps(content | {"hash": digest}, sort_keys=True, ensure_ascii=True) + "\n").encode(), digest


def verify(path: Path) -> Verified:
    """Check every line of a log; raises InputError that names the first line that is not what was written."""
    last_hash, number, unfinished = START, 0, 0
    for number, line in enumerate(_lines(path), 1):
        if not line.endswith(b"\n"):
            number, unfinished = number - 1, len(line)
            break
        last_hash = _check(path, number, line, last_hash)["hash"]
    return Verified(number, last_hash, unfinished)


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a log, each after it was checked as `verify` does; raises InputError."""
    last_hash = START
    for number, line in enumerate(_lines(path), 1):
        if not line.endswith(b"\n"):
            return
        entry = _check(path, number, line, last_hash)
        last_hash = entry["hash"]
        yield entry


def _check(path: Path, number: int, line: bytes, last_hash: str) -> dict[str, Any]:
    """Return the entry of a line, which follows the line of that hash; raises InputError."""
    try:
        content: dict[str, Any] = json.loads(line)
        stated = content.pop("hash")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}, line {number}: is no line of an audit log ({error})") from error
    if content.get("previous") != last_hash:
        raise InputError(f"{path}, line {number}: does not follow the line before it; lines were taken out or put in")
    if _hash(content) != stated:
        raise InputError(f"{path}, line {number}: was changed after it was written")
    return content | {"hash": stated}


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _last_hash(path: Path) -> str:
    lines = _tail(path).splitlines()
    return str(json.loads(lines[-1])["hash"]) if lines else START


def _tail(path: Path) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return file.read()
