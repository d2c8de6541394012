"""The samples of the pixel store: a table of rows, and their images on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core import schemas
from mammo.core.files import read_table


@dataclass(frozen=True)
class Samples:
    """Rows of the pixel store: `index` (schemas.INDEX) and `images` (n, h, w), all of the store, on disk."""

    index: pd.DataFrame
    images: npt.NDArray[np.unsignedinteger[Any]]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (h, w, 1) of an image."""
        height, width = self.images.shape[1:]
        return height, width, 1

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The labels (n,) 0/1."""
        return self.index["label"].to_numpy(np.int64)

    def take(self, split: str) -> "Samples":
        """Return the rows of one split; `index` keeps its row numbers into `images`."""
        return Samples(self.index[self.index["split"] == split], self.images)

    def pixels(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return images (n, h, w, 1) at positions of `index`, 0-255: uint8, or float32 from a store of 16 bits."""
        stored = self.images[self.index.index.to_numpy()[positions], ..., np.newaxis]
        return stored.astype(np.float32) / 257 if stored.dtype == np.uint16 else stored


def open_store(folder: Path, variant: str = "images") -> Samples:
    """Open the pixel store, images on disk; raises TableError for a patient in two splits.

    variant: images, or without_lesion for the same rows with their lesions removed.
    """
    index = read_table(folder / "index.csv", schemas.INDEX)
    schemas.assert_patients_apart(index, str(folder / "index.csv"))
    path = folder / f"{variant}.npy"
    if not path.is_file():
        raise schemas.TableError(f"{path} does not exist; run `dvc repro preprocess`")
    images = np.load(path, mmap_mode="r")
    if len(images) != len(index):
        raise schemas.TableError(f"{path}: {len(images)} images but {len(index)} rows; run `dvc repro -f preprocess`")
    return Samples(index, images)


def open_without_lesion(folder: Path) -> Samples:
    """Open the samples of the store whose lesion could be removed, with their lesions removed."""
    samples = open_store(folder, "without_lesion")
    removals = read_table(folder / "without_lesion.csv", schemas.WITHOUT_LESION)
    marked = removals["removal"] != schemas.NONE_MARKED
    return Samples(samples.index[marked.to_numpy()], samples.images)
