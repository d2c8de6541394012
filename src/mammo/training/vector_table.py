"""A table of arrays on disk under keys, to which processes add rows and from which they read without loading it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
KEY_BYTES = 16
MISSING = -1


@dataclass(frozen=True)
class Vectors:
    """Rows of a table in an order of their own; `vectors[positions]` reads them: (n, ...) of the table's type."""

    stored: npt.NDArray[Any]
    rows: Positions

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: Positions | slice) -> npt.NDArray[Any]:
        return np.array(self.stored[self.rows[positions]])


class VectorTable:
    """Arrays of one shape in a folder, each under a key of 16 bytes; rows are added and never changed.

    A row counts once its key is written, which is after its array: killed at any moment, the table holds whole rows.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: str = "float32"):
        folder.mkdir(parents=True, exist_ok=True)
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.row_bytes = math.prod(shape) * self.dtype.itemsize
        self.keys_path, self.vectors_path = folder / "keys.bin", folder / "vectors.bin"
        self.lock = FileLock(folder / "table.lock")
        self.known: dict[bytes, int] = {}
        for path in (self.keys_path, self.vectors_path):
            path.touch()

    def find_rows(self, keys: Sequence[bytes]) -> Positions:
        """Return the row (n,) of each key, MISSING where there is none."""
        self._refresh()
        return np.array([self.known.get(key, MISSING) for key in keys], np.int64)

    def add(self, keys: Sequence[bytes], vectors: npt.NDArray[Any]) -> None:
        """Add the arrays (n, *shape) of the keys that are not in the table."""
        with self.lock:
            self._refresh()
            new = [
                position
                for key, position in dict(zip(keys, range(len(keys)), strict=True)).items()
                if key not in self.known
            ]
            _write_at(self.vectors_path, len(self.known) * self.row_bytes, vectors[new].astype(self.dtype).tobytes())
            _write_at(self.keys_path, len(self.known) * KEY_BYTES, b"".join(keys[position] for position in new))
            self._refresh()

    def take(self, keys: Sequence[bytes]) -> Vectors:
        """Return the arrays of `keys`, which are all in the table."""
        rows = self.find_rows(keys)
        shape = (len(self.known), *self.shape)
        if not self.known:
            return Vectors(np.empty(shape, self.dtype), rows)
        return Vectors(np.memmap(self.vectors_path, self.dtype, mode="r", shape=shape), rows)

    def _refresh(self) -> None:
        """Read the keys that this or another process has added."""
        with self.keys_path.open("rb") as file:
            file.seek(len(self.known) * KEY_BYTES)
            content = file.read()
        for start in range(0, len(content) - KEY_BYTES + 1, KEY_BYTES):
            self.known[content[start : start + KEY_BYTES]] = len(self.known)


def _write_at(path: Path, offset: int, content: bytes) -> None:
    """Write `content` at `offset` in place of what a killed process may have left there."""
    with path.open("r+b") as file:
        file.truncate(offset)
        file.seek(offset)
        file.write(content)
