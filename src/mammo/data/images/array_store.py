"""Writing the pixel store record by record, in constant memory, so that an interrupted run can continue.

Unfinished work lies in a resume folder (core.resume), not among the stage's outputs.
"""

import errno
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mammo.core.errors import InputError

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
BLOCK = 64  # records read at once
log = logging.getLogger(__name__)


class Records:
    """A .npy file (count, *shape) that grows by one record at a time and may end early; `len` counts whole records."""

    def __init__(self, path: Path, count: int, shape: tuple[int, ...], dtype: npt.DTypeLike):
        header = io.BytesIO()
        description = np.lib.format.header_data_from_array_1_0(np.empty((0, *shape), dtype))
        np.lib.format.write_array_header_1_0(header, description | {"shape": (count, *shape)})
        self.path = path
        self.dtype = np.dtype(dtype)
        self.header = header.getvalue()
        self.record_bytes = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        # Unbuffered: written bytes survive the process, however it ends.
        self.file = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self.file.seek(0)
        if self.file.read(len(self.header)) != self.header:
            self.file.seek(0)
            self.file.truncate()
            self._write(self.header)

    def __len__(self) -> int:
        return (self.file.seek(0, io.SEEK_END) - len(self.header)) // self.record_bytes

    def truncate(self, count: int) -> None:
        """Drop all but the first `count` records, and a half-written one."""
        self.file.truncate(len(self.header) + count * self.record_bytes)
        self.file.seek(0, io.SEEK_END)

    def append(self, record: npt.ArrayLike) -> None:
        """Write one more record."""
        self._write(np.ascontiguousarray(record, self.dtype).tobytes())

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            rest = rest[self.file.write(rest) :]


class Writer:
    """Append samples to a pixel store in `folder`, after those of an earlier run; a context manager.

    images.npy, without_lesion.npy and masks.npy lie in `folder / store`, where the rest of the store belongs, too.
    measured: how many numbers come with each sample; they lie beside the store.
    """

    def __init__(self, folder: Path, count: int, image_shape: tuple[int, int], bits: int, measured: int = 1):
        self.count = count
        self.store = folder / "store"
        self.store.mkdir(parents=True, exist_ok=True)
        self.images = Records(self.store / "images.npy", count, image_shape, f"u{bits // 8}")
        self.without_lesion = Records(self.store / "without_lesion.npy", count, image_shape, f"u{bits // 8}")
        self.masks = Records(self.store / "masks.npy", count, image_shape, np.uint8)
        self.measurements = Records(folder / "measurements.npy", count, (measured,), np.float64)
        self.done = min(len(records) for records in self._all())
        for records in self._all():
            records.truncate(self.done)

    def __enter__(self) -> Self:
        if self.done:
            log.warning("resumed at %d of %d images", self.done, self.count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for records in self._all():
            records.file.close()
        if kind is not None:
            log.warning("stopped at %d of %d images; the next run continues there", self.done, self.count)

    def append(
        self,
        image: npt.NDArray[Any],
        without_lesion: npt.NDArray[Any],
        mask: npt.NDArray[np.uint8],
        measurements: Sequence[float],
    ) -> None:
        """Add a sample; raises InputError where the disk is full."""
        try:
            self.images.append(image)
            self.without_lesion.append(without_lesion)
            self.masks.append(mask)
            self.measurements.append(measurements)
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            missing_bytes = (self.count - self.done) * sum(records.record_bytes for records in self._all())
            raise InputError(
                f"{self.store}: no space for image {self.done + 1} of {self.count} ({error.strerror}); free "
                f"{missing_bytes / 2**20:,.0f} MiB there and run `dvc repro` again: the {self.done} finished ones stay"
            ) from error
        self.done += 1

    def _all(self) -> tuple[Records, ...]:
        return self.images, self.without_lesion, self.masks, self.measurements


def iterate_blocks(path: Path) -> Iterator[npt.NDArray[Any]]:
    """Yield the records of a .npy file in blocks: a memory map of the whole would count as memory in use."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        size = int(np.prod(shape[1:], dtype=np.int64))
        while len(values := np.fromfile(file, dtype, BLOCK * size)):
            yield values.reshape(-1, *shape[1:])


def mean(path: Path) -> float:
    """Return the mean of all values of a .npy file."""
    total, count = 0.0, 0
    for block in iterate_blocks(path):
        total += float(block.sum(dtype=np.float64))
        count += block.size
    return total / count
