"""Random changes of training images, as Keras layers that run on the device and leave inference alone.

Raw pixels (n, h, w, 1) in 0..255 go in and come out. Geometry and intensity as any scan varies, and the artifacts of
scanned film: labels, tape, borders, scratches.
"""

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from mammo.core.config import AugmentationConfig

RANDOM_VALUES = 6  # to place an artifact


def build_layers(params: AugmentationConfig, strength: float, seed: int) -> list[keras.layers.Layer]:
    """Return the layers of the changes whose amount is not 0, in the order of the fields.

    strength: scales every amount; 0 gives no layer. seed: of the first layer; the others count up from it.
    """
    if strength == 0:
        return []
    kinds, fill = keras.layers, "constant"
    shear = math.tan(math.radians(strength * params.shear_degrees))
    shift, blurred = strength * params.translation, strength * params.blur
    factories: list[tuple[float, Callable[[], keras.layers.Layer]]] = [
        (params.flip, lambda: kinds.RandomFlip("horizontal_and_vertical", seed=seed)),
        (
            params.rotation_degrees,
            lambda: kinds.RandomRotation(strength * params.rotation_degrees / 360, fill_mode=fill, seed=seed + 1),
        ),
        (params.shear_degrees, lambda: kinds.RandomShear(shear, shear, fill_mode=fill, seed=seed + 2)),
        (params.zoom, lambda: kinds.RandomZoom(strength * params.zoom, fill_mode=fill, seed=seed + 3)),
        (params.translation, lambda: kinds.RandomTranslation(shift, shift, fill_mode=fill, seed=seed + 4)),
        (params.gamma, lambda: RandomGamma(strength * params.gamma, seed=seed + 5)),
        (
            params.contrast,
            lambda: kinds.RandomContrast(strength * params.contrast, value_range=(0, 1), seed=seed + 6),
        ),
        (
            params.blur,
            lambda: kinds.RandomGaussianBlur((blurred, blurred), 3, (1.0, 1.0), value_range=(0, 1), seed=seed + 7),
        ),
        (params.noise, lambda: kinds.GaussianNoise(strength * params.noise, seed=seed + 8)),
        (params.artifacts, lambda: FilmArtifacts(strength * params.artifacts, seed=seed + 9)),
    ]
    changes = [make() for amount, make in factories if amount]
    # Noise leaves the range of pixels.
    return [kinds.Rescaling(1 / 255), *changes, kinds.Rescaling(255.0), kinds.ReLU(max_value=255.0)] if changes else []


def reseed(layers: Sequence[keras.layers.Layer], seed: Sequence[int]) -> None:
    """Seed the generators of `layers`; Keras saves none, and dropout takes its own from Python's global generator."""
    generators = [getattr(layer, "seed_generator", None) or getattr(layer, "generator", None) for layer in layers]
    for number, generator in enumerate(filter(None, generators)):
        value = np.random.SeedSequence([*seed, number]).generate_state(1)[0]
        generator.state.assign([int(value), 0])


class RandomGamma(keras.layers.Layer):
    """A random power between 1 / (1 + amount) and 1 + amount: how dark a film was exposed or scanned."""

    def __init__(self, amount: float, seed: int):
        super().__init__()
        self.amount = amount
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Return `images` (n, h, w, 1) in 0..1, each raised to a power of its own; unchanged in inference."""
        if not training:
            return images
        limit = math.log1p(self.amount)
        power = keras.random.uniform((ops.shape(images)[0], 1, 1, 1), -limit, limit, seed=self.seed_generator)
        return ops.power(ops.clip(images, 1e-6, 1.0), ops.exp(power))


class FilmArtifacts(keras.layers.Layer):
    """One random artifact of scanned film in a share of the images: a label, a strip of tape, a border or a scratch."""

    def __init__(self, share: float, seed: int):
        super().__init__()
        self.share = share
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Return `images` (n, h, w, 1) in 0..1, some with an artifact; unchanged in inference."""
        if not training:
            return images
        count, height, width = ops.shape(images)[:3]
        draws = keras.random.uniform((count, RANDOM_VALUES + 2), seed=self.seed_generator)
        hit, kind = draws[:, -1] < self.share, ops.floor(4 * draws[:, -2])
        u = [draws[:, number, None, None] for number in range(RANDOM_VALUES)]
        y = ops.reshape(ops.arange(height, dtype="float32") + 0.5, (1, -1, 1)) / height
        x = ops.reshape(ops.arange(width, dtype="float32") + 0.5, (1, 1, -1)) / width
        image = images[..., 0]
        line = ops.abs((x - u[0]) * ops.cos(math.pi * u[2]) + (y - u[1]) * ops.sin(math.pi * u[2]))
        top = ops.where(u[1] < 0.5, 0.02, 0.86)
        on_label = (ops.abs(x - 0.1 - 0.8 * u[0]) < 0.06 + 0.08 * u[2]) & (y > top) & (y < top + 0.12)
        side = ops.where(u[0] < 0.5, ops.where(u[1] < 0.5, x, 1 - x), ops.where(u[1] < 0.5, y, 1 - y))
        painted = [
            (on_label, ops.full_like(image, 0.95)),
            (line < 0.02 + 0.03 * u[3], 0.65 * image + 0.3),
            (side < 0.02 + 0.06 * u[3], ops.zeros_like(image) + ops.round(u[4])),
            (line < 0.75 / ops.cast(height, "float32"), 0.4 * image + 0.55),
        ]
        for number, (where, paint) in enumerate(painted):
            image = ops.where((hit & (kind == number))[:, None, None] & where, paint, image)
        return image[..., None]
