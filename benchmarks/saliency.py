"""Cost of Grad-CAM in batches: `python benchmarks/saliency.py` (about two minutes on two cores).

Prints, for basic_vgg16 and light_cnn, milliseconds per image of a plain prediction, of `saliency.Explainer`, and of one
image at a time as tf-keras-vis does it (a new model with two outputs and an eager tape for every call), and the ratios.
All three are asked in turn, and the fastest of REPEATS counts: the machine's other work disturbs all alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo import models, params, saliency

IMAGES, REPEATS = 32, 5
SIZES_PX = {"basic_vgg16": 96, "light_cnn": 224}


def one_at_a_time(model: keras.Model, image: np.ndarray) -> np.ndarray:
    """Grad-CAM (h, w) of one image (h, w, 1)."""
    outputs = [model.get_layer(name).output for name in ("features", "logit")]
    cut = keras.Model(model.inputs, outputs)
    with tf.GradientTape() as tape:
        features, logit = cut([image[np.newaxis].astype(np.float32)], training=False)
    gradient = tape.gradient(logit, features)
    found = np.maximum((np.mean(gradient, axis=(1, 2), keepdims=True) * features.numpy()).sum(axis=-1)[0], 0)
    large = cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return large / max(large.max(), np.finfo(np.float32).tiny)


def milliseconds(function: Callable[[], object], images: int) -> float:
    """Per image."""
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start) / images


def compare(name: str, size_px: int) -> None:
    """Print one line."""
    own = (
        params.load(Path(__file__).resolve().parents[1] / "params.yaml")
        .model(name)
        .model_copy(update={"weights": "none"})
    )
    model = models.build(name, own, (size_px, size_px, 1), seed=0)
    explainer = saliency.Explainer(model)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, size_px, size_px, 1), dtype=np.uint8)
    apart = [one_at_a_time(model, image) for image in images[:8]]
    difference = np.abs(explainer.maps(images[:8], "gradcam") - apart).max()
    ways = {
        "prediction": (lambda: model.predict_on_batch(images), IMAGES),
        "batched": (lambda: explainer.maps(images, "gradcam"), IMAGES),
        "one at a time": (lambda: [one_at_a_time(model, image) for image in images[:8]], 8),
    }
    for function, _ in ways.values():
        function()
    taken = {way: min(values) for way, values in zip(ways, _in_turn(list(ways.values())), strict=True)}
    print(
        f"{name} at {size_px} px, ms per image: "
        + ", ".join(f"{way} {value:.2f}" for way, value in taken.items())
        + f"; batched / prediction {taken['batched'] / taken['prediction']:.2f}"
        + f", one at a time / batched {taken['one at a time'] / taken['batched']:.1f}; maps differ by {difference:.0e}"
    )


def _in_turn(ways: list[tuple[Callable[[], object], int]]) -> list[list[float]]:
    rounds = [[milliseconds(function, count) for function, count in ways] for _ in range(REPEATS)]
    return [list(values) for values in zip(*rounds, strict=True)]


if __name__ == "__main__":
    for name, size_px in SIZES_PX.items():
        compare(name, size_px)
