"""Files of a copy on disk, and what could not be listed: a file is missing only where nothing bears its name."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mammo.data.datasets import DatasetError

MAX_FOLDERS = 3  # in an error


@dataclass(frozen=True)
class Listing:
    """Files in the order of their paths. unreadable: folders that could not be listed, with the system's message."""

    files: list[Path]
    unreadable: list[str]

    def describe_unread(self) -> str:
        """Return the folders that could not be listed as the end of a reason; empty where all were."""
        if not self.unreadable:
            return ""
        return f"; {len(self.unreadable)} folder(s) cannot be read: {', '.join(self.unreadable[:MAX_FOLDERS])}"


def list_files(root: Path, is_wanted: Callable[[Path], bool]) -> Listing:
    """List the wanted files in any folder of `root`; links are followed.

    Names that start with a dot are skipped: `._1-1.jpg` of macOS is no image.
    """
    unreadable: list[str] = []

    def note(error: OSError) -> None:
        place = Path(error.filename)
        unreadable.append(f"{place.relative_to(root).as_posix()} ({error.strerror})")

    visible = (path for path in _walk(root, note) if not (path.name.startswith(".") or _is_special(path)))
    return Listing(sorted(path for path in visible if is_wanted(path)), unreadable)


def _is_special(path: Path) -> bool:
    """Say whether a path is a pipe or a device: reading one may never end."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # a broken link: whoever needs it reports that it cannot be read
        return False


def _walk(root: Path, note: Callable[[OSError], None]) -> Iterator[Path]:
    visited: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=note):
        real = os.path.realpath(folder)
        if real in visited:  # a link that leads back up would be followed without end
            subfolders.clear()
            continue
        visited.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(folder, name) for name in names)


def is_missing(path: Path) -> bool:
    """Say whether nothing bears this name; a broken link, or what may not be looked at, is there and unreadable."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def find_table(listing: Listing, root: Path, cure: str) -> Path:
    """Return the one table of a listing, the first of equal copies; raises DatasetError where they differ or are none.

    cure: how to get it, for the error.
    """
    tables = listing.files
    if not tables:
        raise DatasetError(f"{root}: {cure}{listing.describe_unread()}")
    if len({_content(path) for path in tables}) > 1:
        names = " and ".join(path.relative_to(root).as_posix() for path in tables)
        raise DatasetError(f"{root}: {names} differ; keep the one as published")
    return tables[0]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror})") from error
