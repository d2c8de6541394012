"""The pixel store -> shuffled, weighted batches, and the augmentation of a training batch.

An image leaves the store as raw pixels (n, h, w, 1); nothing is read before its batch is asked for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo import tables
from mammo.params import AugmentationParams


@dataclass(frozen=True)
class Samples:
    """Rows of the pixel store: `index` (tables.INDEX) and its `images` (all rows of the store, (n, h, w), on disk)."""

    index: pd.DataFrame
    images: npt.NDArray[np.unsignedinteger[Any]]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, 1)."""
        height, width = self.images.shape[1:]
        return height, width, 1

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """0/1, (n,)."""
        return self.index["label"].to_numpy(np.int64)

    def take(self, split: str) -> "Samples":
        """The rows of one split; `index` keeps its row numbers into `images`."""
        return Samples(self.index[self.index["split"] == split], self.images)

    def pixels(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Images (n, h, w, 1) at positions 0..len(index)-1, 0..255: uint8, or float32 from a store of 16 bits."""
        stored = self.images[self.index.index.to_numpy()[positions], ..., np.newaxis]
        return stored.astype(np.float32) / 257 if stored.dtype == np.uint16 else stored


def open_store(folder: Path) -> Samples:
    """All samples of data/pixels/; images stay on disk, and a patient in two splits is refused."""
    index = tables.read(folder / "index.csv", tables.INDEX)
    tables.assert_patients_apart(index, str(folder / "index.csv"))
    images = np.load(folder / "images.npy", mmap_mode="r")
    if len(images) != len(index):
        raise tables.TableError(f"{folder}: {len(images)} images but {len(index)} rows; run `dvc repro -f preprocess`")
    return Samples(index, images)


class TrainingBatches(keras.utils.PyDataset):
    """Shuffled batches of (pixels, labels, weights); the order of an epoch depends on the seed and its number only."""

    def __init__(self, samples: Samples, batch_size: int, class_weights: bool, seed: int):
        super().__init__()
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.weights = _balanced(samples.labels) if class_weights else np.ones(len(samples.index), np.float32)
        self._shuffle()

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[npt.NDArray[np.float32], ...]:
        positions = np.sort(self.order[number * self.batch_size : (number + 1) * self.batch_size])
        labels = self.samples.labels[positions, np.newaxis].astype(np.float32)
        return self.samples.pixels(positions).astype(np.float32), labels, self.weights[positions]

    def on_epoch_end(self) -> None:
        """Shuffle anew."""
        self.epoch += 1
        self._shuffle()

    def _shuffle(self) -> None:
        self.order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.samples.index))


def _balanced(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Weights (n,) of mean 1 that give both classes the same total."""
    share = np.bincount(labels, minlength=2) / len(labels)
    return (0.5 / share[labels]).astype(np.float32)


def augmentation(params: AugmentationParams, strength: float, seed: int) -> list[keras.layers.Layer]:
    """Layers that change a training batch of raw pixels at random and leave others alone; `strength` scales them."""
    if strength == 0:
        return []
    layers = keras.layers
    flips = [layers.RandomFlip("horizontal_and_vertical", seed=seed)] if params.flip else []
    return [
        layers.Rescaling(1 / 255),
        *flips,
        layers.RandomRotation(strength * params.rotation_degrees / 360, fill_mode="constant", seed=seed + 1),
        layers.RandomZoom(strength * params.zoom, fill_mode="constant", seed=seed + 2),
        layers.RandomTranslation(
            strength * params.translation, strength * params.translation, fill_mode="constant", seed=seed + 3
        ),
        layers.RandomContrast(strength * params.contrast, value_range=(0, 1), seed=seed + 4),
        layers.GaussianNoise(strength * params.noise, seed=seed + 5),
        layers.Rescaling(255.0),
        layers.ReLU(max_value=255.0),  # noise leaves the range of pixels
    ]
