"""The feature vectors of a frozen base, computed once per image: the head then trains on vectors.

A training image has `train.feature_copies` augmented versions; epoch e uses version e modulo their number. With a cache
a version is computed once and read back from disk, without one it is computed in every epoch; the vectors are equal.
"""

import hashlib
import json
from collections.abc import Callable, Sequence

import keras
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from mammo.core import resume
from mammo.core.config import TrainingConfig
from mammo.core.files import atomic_write
from mammo.data.samples import Samples
from mammo.training import augmentation
from mammo.training.predict import predict_batch

Floats = npt.NDArray[np.float32]
BATCH = 32
VECTOR = "pool"  # the layer that ends the base


def build_base(model: keras.Model) -> keras.Model:
    """Return `model` up to its layer `pool`: image to vector."""
    return keras.Model(model.inputs, model.get_layer(VECTOR).output)


def build_head(model: keras.Model) -> keras.Model:
    """Return `model` from its layer `pool` on: vector to probability. It shares the weights of `model`."""
    return keras.Model(model.get_layer(VECTOR).output, model.output)


def base_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of `model` up to `pool`."""
    return list(build_base(model).layers)


def extract_features(model: keras.Model, samples: Samples) -> Floats:
    """Return the vectors (n, channels) of the images without augmentation."""
    return np.concatenate(list(_compute_batches(build_base(model), samples, [], "features")))


class AugmentedFeatures:
    """The training images as vectors, in `count` augmented versions, one per epoch in turn."""

    def __init__(self, model: keras.Model, samples: Samples, config: TrainingConfig, cached: bool = True):
        changes, strength = config.train.augmentation, config.model.augmentation_strength
        self.base = build_base(model)
        self.samples = samples
        self.layers: Callable[[int], Sequence[keras.layers.Layer]] = lambda copy: augmentation.build_layers(
            changes, strength, config.seed + 1000 * copy
        )
        self.count = config.train.feature_copies if strength else 1
        self.folder = None
        if cached:
            backend = [keras.__version__, keras.backend.backend()]
            description = json.dumps([changes.model_dump(), strength, config.seed, *backend])
            self.folder = resume.cache_folder(
                "features", resume.content_key(description, _hash_base(self.base), _hash_pixels(samples))
            )

    def __call__(self, epoch: int) -> Floats:
        """Return the vectors (n, channels) of all samples for an epoch (from 0)."""
        copy = epoch % self.count
        if self.folder is None:
            return self._compute(copy)
        path = self.folder / f"{copy}.npy"
        if not path.is_file():
            with atomic_write(path) as unfinished, unfinished.open("wb") as file:
                np.save(file, self._compute(copy))
        return np.asarray(np.load(path, mmap_mode="r"))

    def _compute(self, copy: int) -> Floats:
        description = f"features, copy {copy + 1} of {self.count}"
        return np.concatenate(list(_compute_batches(self.base, self.samples, self.layers(copy), description)))


def _compute_batches(
    base: keras.Model, samples: Samples, layers: Sequence[keras.layers.Layer], description: str
) -> list[Floats]:
    """Return the vectors of each batch, in the order of the samples: augmentation then depends on its seed alone."""
    batches = []
    for start in tqdm(range(0, len(samples.index), BATCH), desc=description, mininterval=1):
        x = samples.pixels(np.arange(start, min(start + BATCH, len(samples.index)))).astype(np.float32)
        for layer in layers:
            x = layer(x, training=True)
        batches.append(predict_batch(base, keras.ops.convert_to_numpy(x)).astype(np.float32))
    return batches


def _hash_base(base: keras.Model) -> str:
    # Without names: Keras numbers the layers of one process on and on.
    layers = [(type(layer).__name__, layer.get_config() | {"name": ""}) for layer in base.layers]
    digest = hashlib.sha256(json.dumps([base.input_shape, layers], default=str).encode())
    for array in base.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _hash_pixels(samples: Samples) -> str:
    digest = hashlib.sha256(str(samples.image_shape).encode())
    for start in range(0, len(samples.index), BATCH):
        positions = np.arange(start, min(start + BATCH, len(samples.index)))
        digest.update(np.ascontiguousarray(samples.pixels(positions)).tobytes())
    return digest.hexdigest()
