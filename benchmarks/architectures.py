"""Size and speed of every architecture: `python benchmarks/architectures.py [SIZE_PX]` (a few minutes, two cores).

Prints parameters, images per second in prediction and in training of all layers, and the speed relative to VGG16.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo import models
from mammo.core import plugins
from mammo.core.config import ModelConfig, load_config
from mammo.models import architectures

BATCH, ROUNDS = 32, 4
REFERENCE = "vgg16"
PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"


def plain_config(architecture: str) -> ModelConfig:
    """Return the parameters of an architecture whose every layer learns, from random weights."""
    return ModelConfig(
        **load_config(PARAMS).model_defaults.model_dump(),
        architecture=architecture,
        weights="none",
        trainable=["all"],
        head_units=[],
        dropout=0.0,
        learning_rate=0.001,
        loss="binary_crossentropy",
        augmentation_strength=0.0,
    )


def per_second(work: Callable[[], object]) -> float:
    """Return the images per second of the fastest of ROUNDS calls, after one to warm up."""
    work()
    times = []
    for _ in range(ROUNDS):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return BATCH / min(times)


def main() -> None:
    """Print the table."""
    size_px = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, size_px, size_px, 1)).astype(np.float32)
    labels = (np.arange(BATCH) % 2)[:, np.newaxis].astype(np.float32)
    measurements: dict[str, tuple[int, float, float]] = {}
    for name in plugins.plugin_names(architectures):
        keras.backend.clear_session()
        model = models.build(plain_config(name), (size_px, size_px, 1), seed=0)
        predicting = per_second(lambda model=model: model.predict_on_batch(images))
        model.compile("sgd", "binary_crossentropy", jit_compile=False)
        training = per_second(lambda model=model: model.train_on_batch(images, labels))
        measurements[name] = model.count_params(), predicting, training
    base = measurements[REFERENCE]
    print(
        f"{BATCH} images of {size_px} px a batch, all layers learning; images per second, and relative to {REFERENCE}"
    )
    for name, (count, predicting, training) in measurements.items():
        speeds = (
            f"predict {predicting:7.1f} {predicting / base[1]:6.1f}x   train {training:6.1f} {training / base[2]:6.1f}x"
        )
        print(f"{name:16} {count / 1e6:6.2f} M   {speeds}")


if __name__ == "__main__":
    main()
