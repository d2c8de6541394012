"""What frozen layers make of an image, computed once: what learns then trains, and heads predict, on stored features.

Of a frozen base these are vectors (the layer `pool`). Where the upper blocks of a base learn as well
(`models.*.cache_frozen`), they are the feature maps of the last layer before those blocks, in 16 bits.

A training image has `train.feature_copies` augmented versions; epoch e uses version e modulo their number. A vector
depends on the base, on its own image and on the place of its row among all rows outside the test set, and on no fold:
trainings and cross-validations of one base share what is cached in .dvc/tmp/mammo/features-<base>/.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from itertools import islice, takewhile
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mammo.core import resume
from mammo.core.config import TrainingConfig
from mammo.data.samples import Samples
from mammo.training import augmentation
from mammo.training.health import TrainingError
from mammo.training.result import TrainingData
from mammo.training.vector_table import KEY_BYTES, MISSING, Floats, Positions, Vectors, VectorTable

BATCH = 32  # of every computation: kernels for other numbers of rows may round a row's vector differently
VECTOR = "pool"  # the layer that ends the base

Rows = Iterator[tuple[int, npt.NDArray[np.float32]]]  # position, image (h, w, 1)


def build_base(model: keras.Model, cut: str = VECTOR) -> keras.Model:
    """Return `model` up to its layer `cut`: image to vector, or to feature map."""
    return keras.Model(model.inputs, model.get_layer(cut).output)


def build_head(model: keras.Model, cut: str = VECTOR) -> keras.Model:
    """Return `model` from its layer `cut` on: vector to probability. It shares the weights of `model`."""
    return keras.Model(model.get_layer(cut).output, model.output)


def base_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of `model` up to `pool`."""
    return list(build_base(model).layers)


def has_frozen_base(model: keras.Model) -> bool:
    """Return whether `model` has a layer `pool` and no layer up to it learns."""
    return any(layer.name == VECTOR for layer in model.layers) and not build_base(model).trainable_weights


def find_cut(model: keras.Model) -> str:
    """Return the name of the last layer that has all that learns behind it, and is the only way of the image there.

    Raise TrainingError where nothing that has weights lies before such a layer.
    """
    before = list(takewhile(lambda layer: not layer.trainable_weights, model.layers))
    for layer in reversed(before):
        if _leads_to_all_that_learns(model, layer.name) and build_base(model, layer.name).weights:
            return str(layer.name)
    raise TrainingError(
        "cache_frozen: no frozen layer lies before all layers that learn; it needs one entry in `crops`, and a "
        "`trainable` that leaves the lower blocks out"
    )


def _leads_to_all_that_learns(model: keras.Model, cut: str) -> bool:
    """Return whether the part of `model` behind `cut` needs nothing else, and holds all weights that learn."""
    try:
        tail = build_head(model, cut)
    except ValueError:  # Keras' answer where the image reaches the output on another way too
        return False
    return len(tail.trainable_weights) == len(model.trainable_weights)


class FrozenBase:
    """The frozen part of a model as it is now, up to its layer `cut`; features are computed where the cache has none.

    Vectors are stored as float32, feature maps as float16.
    """

    def __init__(self, model: keras.Model, cut: str = VECTOR):
        self.network, self.cut = build_base(model, cut), cut
        backend = (keras.__version__, keras.backend.backend(), *resume.source_texts(augmentation))
        folder = resume.cache_folder("features", resume.content_key(_hash_base(self.network), *backend))
        shape = self.network.output_shape[1:]
        self.table = VectorTable(folder, shape, "float32" if len(shape) == 1 else "float16")

    def extract(self, samples: Samples) -> Vectors:
        """Return the vectors (n, channels) of the images."""
        return self.extract_mirrored(samples, [()])[0]

    def extract_mirrored(self, samples: Samples, mirrors: Sequence[tuple[int, ...]]) -> list[Vectors]:
        """Return the vectors of the images for each of `mirrors`, the axes of (n, h, w, 1) along which to flip them."""
        digests = _hash_rows(samples)
        names = [f"mirrored {axes}" if axes else "" for axes in mirrors]
        return [
            self.look_up([_key(digest, name) for digest in digests], partial(_load_mirrored, samples, axes), "features")
            for axes, name in zip(mirrors, names, strict=True)
        ]

    def look_up(self, keys: list[bytes], load: Callable[[Positions], Rows], description: str) -> Vectors:
        """Return the features under `keys`; load: yields the images at positions of `keys` that have none yet."""
        missing = np.flatnonzero(self.table.find_rows(keys) == MISSING)
        self._check_space(len(missing))
        images = load(missing)
        with tqdm(total=len(missing), desc=description, mininterval=1, disable=not len(missing)) as bar:
            while batch := list(islice(images, BATCH)):
                features = self._run(np.stack([image for _, image in batch]))
                self.table.add([keys[position] for position, _ in batch], self._to_stored(features))
                bar.update(len(batch))
        return self.table.take(keys)

    def _check_space(self, count: int) -> None:
        """Raise TrainingError where the features of `count` images do not fit on the disk."""
        needed, free = count * self.table.row_bytes, shutil.disk_usage(self.table.vectors_path).free
        if needed > free:
            raise TrainingError(
                f"{count} stored features of layer {self.cut} take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
                f"free at {self.table.vectors_path.parent}: lower train.feature_copies, or set `cache_frozen: false`"
            )

    def _to_stored(self, features: Floats) -> npt.NDArray[Any]:
        with np.errstate(over="ignore"):
            stored = features.astype(self.table.dtype)
        if np.isinf(stored).any() and np.isfinite(features).all():
            raise TrainingError(f"layer {self.cut}: values too large for 16 bits; set `cache_frozen: false`")
        return stored

    def _run(self, images: Floats) -> Floats:
        padded = np.pad(images, [(0, BATCH - len(images)), (0, 0), (0, 0), (0, 0)], mode="edge")
        return np.asarray(keras.ops.convert_to_numpy(self.network.predict_on_batch(padded)))[: len(images)]


class AugmentedFeatures:
    """The training images as stored features, in `count` augmented versions, one per epoch in turn."""

    def __init__(self, base: FrozenBase, data: TrainingData, config: TrainingConfig):
        changes, strength = config.train.augmentation, config.model.augmentation_strength
        self.base, self.data, self.seed = base, data, config.base_seed
        self.layers = augmentation.build_layers(changes, strength, self.seed)
        self.count = config.train.feature_copies if self.layers else 1
        self.description = json.dumps([changes.model_dump(), strength, self.seed])
        self.versions: dict[int, Vectors] = {}

    @cached_property
    def digests(self) -> list[bytes]:
        """A digest of the pixels of each training row."""
        return _hash_rows(self.data.train)

    def __call__(self, epoch: int) -> Vectors:
        """Return the features (n, ...) of all training rows for an epoch (from 0)."""
        copy = epoch % self.count
        if copy not in self.versions:
            self.versions[copy] = self._extract(copy) if self.layers else self.base.extract(self.data.train)
        return self.versions[copy]

    def _extract(self, copy: int) -> Vectors:
        """Return the vectors of an augmented version: batches of all rows outside test are augmented as wholes."""
        index = self.data.all_rows.index
        places = np.flatnonzero((index["split"] == "train").to_numpy())
        sizes = np.minimum(BATCH, len(index) - places // BATCH * BATCH)  # a batch's size changes its draws
        rows = zip(self.digests, places, sizes, strict=True)
        keys = [_key(digest, f"{self.description} {copy} {place} {size}") for digest, place, size in rows]

        def load(positions: Positions) -> Rows:
            batches = places[positions] // BATCH
            for batch in np.unique(batches):
                images = self._augment(copy, int(batch))
                for position in positions[batches == batch]:
                    yield int(position), images[places[position] % BATCH]

        return self.base.look_up(keys, load, f"features, copy {copy + 1} of {self.count}")

    def _augment(self, copy: int, batch: int) -> Floats:
        """Return the augmented images (up to BATCH, h, w, 1) of a batch of all rows outside test."""
        samples = self.data.all_rows
        rows = np.arange(batch * BATCH, min((batch + 1) * BATCH, len(samples.index)))
        augmentation.reseed(self.layers, [self.seed, copy, batch])
        x = samples.pixels(rows).astype(np.float32)
        for layer in self.layers:
            x = layer(x, training=True)
        return np.asarray(keras.ops.convert_to_numpy(x), np.float32)


def _load_mirrored(samples: Samples, axes: tuple[int, ...], positions: Positions) -> Rows:
    for position in positions:
        yield int(position), np.flip(samples.pixels(np.array([position])), axes)[0].astype(np.float32)


def _key(image_digest: bytes, change: str) -> bytes:
    return hashlib.blake2b(image_digest + change.encode(), digest_size=KEY_BYTES).digest()


def _hash_rows(samples: Samples) -> list[bytes]:
    """Return a digest of the pixels of each row."""
    digests = []
    for position in range(len(samples.index)):
        pixels = samples.pixels(np.array([position]))
        shape = f"{pixels.shape} {pixels.dtype}".encode()
        digests.append(hashlib.blake2b(shape + np.ascontiguousarray(pixels).tobytes(), digest_size=KEY_BYTES).digest())
    return digests


def _hash_base(base: keras.Model) -> str:
    # Without names, which Keras numbers on and on in a process, and without what learns, which changes no vector.
    dropped = {"name": "", "trainable": False}
    layers = [(type(layer).__name__, layer.get_config() | dropped) for layer in base.layers]
    digest = hashlib.sha256(json.dumps([base.input_shape, layers], default=str).encode())
    for array in base.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
