"""Cost of Grad-CAM in batches: `python benchmarks/saliency.py` (about two minutes on two cores).

Prints, for basic_vgg16 and light_cnn, milliseconds per image of a plain prediction, of `saliency.Explainer`, of one
image at a time by one eager tape through a new model with two outputs, and of tf-keras-vis, one image at a time too,
where it is installed (`pip install tf-keras-vis==0.8.7`, which reads Keras 3 models; nothing else here needs it). Then
their ratios, and by how much our coarse maps differ from theirs, as a share of the largest value.
All are asked in turn, and the fastest of REPEATS counts: the machine's other work disturbs all alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo import models
from mammo.core.config import load_config
from mammo.explain import saliency

IMAGES, APART, REPEATS = 32, 8, 5
SIZES_PX = {"basic_vgg16": 96, "light_cnn": 224}

Images = np.ndarray  # (n, h, w, 1)
Way = Callable[[Images], object]  # to make maps, or predictions, of images


def tape(model: keras.Model, image: np.ndarray) -> np.ndarray:
    """Return Grad-CAM (h, w) of one image (h, w, 1) as a notebook computes it."""
    outputs = [model.get_layer(name).output for name in ("features", "logit")]
    cut = keras.Model(model.inputs, outputs)
    with tf.GradientTape() as tape:
        features, logit = cut([image[np.newaxis].astype(np.float32)], training=False)
    gradient = tape.gradient(logit, features)
    cam = np.maximum((np.mean(gradient, axis=(1, 2), keepdims=True) * features.numpy()).sum(axis=-1)[0], 0)
    large = cv2.resize(cam, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return large / max(large.max(), np.finfo(np.float32).tiny)


def of_tf_keras_vis(model: keras.Model) -> Callable[..., np.ndarray]:
    """Return tf-keras-vis' Grad-CAM at the layer `features`: one image (h, w, 1) to (1, h, w)."""
    from tf_keras_vis.gradcam import Gradcam

    gradcam = Gradcam(keras.Model(model.inputs, model.get_layer("logit").output), clone=False)
    layer = {"penultimate_layer": "features", "seek_penultimate_conv_layer": False}
    return lambda image, **options: gradcam(
        lambda logit: logit[:, 0], image[np.newaxis].astype(np.float32), **layer, **options
    )


def milliseconds(way: Way, images: Images) -> float:
    """Return the milliseconds per image."""
    start = time.perf_counter()
    way(images)
    return 1000 * (time.perf_counter() - start) / len(images)


def compare(name: str, size_px: int) -> None:
    """Print the times per image and the differences between maps."""
    model_config = (
        load_config(Path(__file__).resolve().parents[1] / "params.yaml")
        .model(name)
        .model_copy(update={"weights": "none"})
    )
    model = models.build(model_config, (size_px, size_px, 1), seed=0)
    explainer = saliency.Explainer(model)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, size_px, size_px, 1), dtype=np.uint8)
    some = images[:APART]
    ways: dict[str, tuple[Way, Images]] = {
        "prediction": (model.predict_on_batch, images),
        "batched": (lambda images: explainer.maps(images, "gradcam"), images),
        "one at a time": (lambda images: [tape(model, image) for image in images], some),
    }
    differences = {"one at a time": _share(explainer.maps(some, "gradcam"), [tape(model, image) for image in some])}
    if find_spec("tf_keras_vis"):
        theirs = of_tf_keras_vis(model)
        ways["tf-keras-vis"] = (lambda images: [theirs(image) for image in images], some)
        # It places the corners of the enlarged map otherwise than cv2, and stretches it from its minimum.
        coarse = [theirs(image, expand_cam=False, normalize_cam=False)[0] for image in some]
        differences["tf-keras-vis"] = _share(explainer.cams(some.astype(np.float32), ["gradcam"])["gradcam"], coarse)
    for way, way_images in ways.values():
        way(way_images)
    taken = {way: min(values) for way, values in zip(ways, _in_turn(list(ways.values())), strict=True)}
    ratios = [f"{way} / batched {taken[way] / taken['batched']:.1f}" for way in differences]
    print(
        f"{name} at {size_px} px, ms per image: "
        + ", ".join(f"{way} {value:.2f}" for way, value in taken.items())
        + f"; batched / prediction {taken['batched'] / taken['prediction']:.2f}, {', '.join(ratios)}\n"
        + "  maps differ by: "
        + ", ".join(f"{way} {value:.0e}" for way, value in differences.items())
    )


def _share(maps: np.ndarray, others: list[np.ndarray]) -> float:
    return float(np.abs(maps - others).max() / np.max(others))


def _in_turn(ways: list[tuple[Way, Images]]) -> list[list[float]]:
    rounds = [[milliseconds(way, images) for way, images in ways] for _ in range(REPEATS)]
    return [list(values) for values in zip(*rounds, strict=True)]


if __name__ == "__main__":
    for name, size_px in SIZES_PX.items():
        compare(name, size_px)
