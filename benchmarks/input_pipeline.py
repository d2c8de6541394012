"""Time the input pipeline of a training: `python benchmarks/input_pipeline.py` (about two minutes, two cores).

Prints side by side, as medians over rounds, an epoch of the light CNN: on one batch held in memory, from the array
store, and the notebook way, which decodes and resizes image files in every epoch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import cv2
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo import models
from mammo.core.config import load_config
from mammo.data.samples import Samples
from mammo.training import augmentation, trainer
from mammo.training.loader import TrainingBatches

SAMPLES, SIZE_PX, FILE_PX, ROUNDS = 480, 128, 800, 5

Inputs = Callable[[int, np.ndarray], np.ndarray]


def main() -> None:
    """Print the seconds of an epoch and the ratios."""
    config = load_config(Path(__file__).resolve().parents[1] / "params.yaml").for_model("light_cnn")
    rng = np.random.default_rng(0)
    index = pd.DataFrame(
        {"label": rng.integers(0, 2, SAMPLES), "sample_id": range(SAMPLES), "abnormality_type": "mass"}
    )
    with TemporaryDirectory() as folder:
        stored = rng.integers(0, 256, (SAMPLES, SIZE_PX, SIZE_PX), dtype=np.uint8)
        np.save(f"{folder}/images.npy", stored)
        samples = Samples(index, np.load(f"{folder}/images.npy", mmap_mode="r"))
        for number in range(SAMPLES):
            cv2.imwrite(f"{folder}/{number}.jpg", cv2.resize(stored[number], (FILE_PX, FILE_PX)))

        def held(epoch: int, positions: np.ndarray) -> np.ndarray:
            return batch[: len(positions)]

        def decoded(epoch: int, positions: np.ndarray) -> np.ndarray:
            films = [cv2.imread(f"{folder}/{position}.jpg", cv2.IMREAD_GRAYSCALE) for position in positions]
            return np.stack([cv2.resize(film, (SIZE_PX, SIZE_PX)) for film in films])[..., np.newaxis]

        batch = samples.pixels(np.arange(config.train.batch_size)).astype(np.float32)
        layers = augmentation.build_layers(config.train.augmentation, config.model.augmentation_strength, 0)
        network = trainer.prepend_augmentation(layers, models.build(config.model, samples.image_shape, seed=0))
        network.compile("adamw", "binary_crossentropy")

        def epoch_seconds(inputs: Inputs | None) -> float:
            data = TrainingBatches(samples, config.train, 0, inputs=inputs)
            start = perf_counter()
            network.fit(data, epochs=1, shuffle=False, verbose=0)
            return perf_counter() - start

        ways: dict[str, Inputs | None] = {
            "one batch held in memory": held,
            "the array store": None,
            "notebook way: decode and resize": decoded,
        }
        epoch_seconds(held)  # warm-up: tracing
        rounds = [{name: epoch_seconds(inputs) for name, inputs in ways.items()} for _ in range(ROUNDS)]
    print(
        f"an epoch of light_cnn on {SAMPLES} images of {SIZE_PX} px, files of {FILE_PX} px; median of {ROUNDS} rounds"
    )
    base = median(seconds["one batch held in memory"] for seconds in rounds)
    for name in ways:
        took = median(seconds[name] for seconds in rounds)
        print(f"{name:34} {took:6.2f} s   {took / base:5.2f}x")


if __name__ == "__main__":
    main()
