"""Time ten epochs of a frozen VGG16's head: `python benchmarks/feature_cache.py` (about four minutes, two cores).

Prints side by side: the notebook way (each epoch decodes and resizes image files and runs the whole network), the whole
network on images of the array store, and the head on the base's vectors: with as many augmented copies of the training
images as params.yaml says (the base then runs COPIES times instead of once per epoch), trained once more with another
learning rate (the vectors lie in the cache), and with one copy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import cv2
import keras
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo import models
from mammo.core.config import load_config
from mammo.data.samples import Samples
from mammo.training import augmentation, phases, trainer
from mammo.training.loader import TrainingBatches
from mammo.training.phases import Phase

SAMPLES, SIZE_PX, FILE_PX, EPOCHS = 384, 64, 800, 10


def cohort() -> Samples:
    """Return random images, two thirds of them for training; malignant ones are brighter, against a collapse."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, SAMPLES)
    index = pd.DataFrame(
        {
            "sample_id": [f"S{number}" for number in range(SAMPLES)],
            "patient_id": [f"P{number}" for number in range(SAMPLES)],
            "split": np.where(np.arange(SAMPLES) % 3 < 2, "train", "val"),
            "label": label,
            "abnormality_type": "mass",
        }
    )
    noise = rng.integers(0, 156, (SAMPLES, SIZE_PX, SIZE_PX), dtype=np.uint8)
    return Samples(index, noise + np.uint8(100) * label[:, np.newaxis, np.newaxis].astype(np.uint8))


def seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call."""
    start = perf_counter()
    work()
    return perf_counter() - start


def main() -> None:
    """Print seconds for ten epochs and the ratios."""
    config = load_config(Path(__file__).resolve().parents[1] / "params.yaml").for_model("basic_vgg16")
    config = replace(config, train=config.train.model_copy(update={"epochs": EPOCHS}))
    samples = cohort()
    train = samples.take("train")
    model = models.build(config.model, samples.image_shape, seed=0)

    def whole_network(inputs: Callable[..., np.ndarray] | None = None) -> None:
        layers = augmentation.build_layers(config.train.augmentation, config.model.augmentation_strength, 0)
        network = trainer.prepend_augmentation(layers, model)
        network.compile("adamw", "binary_crossentropy")
        data = TrainingBatches(train, config.train, 0, inputs=inputs)
        network.fit(data, epochs=EPOCHS, shuffle=False, verbose=0)

    def train_head(folder: Path, copies: int, rate_factor: float = 1.0) -> None:
        os.environ["DVC_ROOT"] = str(folder)
        rate = rate_factor * config.model.learning_rate
        head_config = replace(
            config,
            train=config.train.model_copy(update={"feature_copies": copies}),
            model=config.model.model_copy(update={"learning_rate": rate}),
        )
        assert phases.training_phases(head_config) == [Phase("head", EPOCHS, rate, frozen=True)]
        trainer.fit(model, samples, head_config, folder / f"work{rate_factor}", lambda *row: None)

    with TemporaryDirectory() as folder:
        for number in range(SAMPLES):
            large = cv2.resize(samples.images[number], (FILE_PX, FILE_PX))
            cv2.imwrite(f"{folder}/{number}.jpg", large)

        def decoded(epoch: int, positions: np.ndarray) -> np.ndarray:
            rows = train.index.index.to_numpy()[positions]
            films = [cv2.imread(f"{folder}/{row}.jpg", cv2.IMREAD_GRAYSCALE) for row in rows]
            return np.stack([cv2.resize(film, (SIZE_PX, SIZE_PX)) for film in films])[..., np.newaxis]

        keras.utils.disable_interactive_logging()
        whole_network()  # warm-up: tracing and memory
        times = {
            "notebook way: decode, resize, whole network": seconds(lambda: whole_network(decoded)),
            "whole network on the array store": seconds(whole_network),
        }
        several, single = Path(folder) / "several", Path(folder) / "single"
        copies = config.train.feature_copies
        times |= {
            f"head on the vectors of {copies} copies": seconds(lambda: train_head(several, copies)),
            "the same with another learning rate": seconds(lambda: train_head(several, copies, rate_factor=2.0)),
            "head on the vectors of 1 copy": seconds(lambda: train_head(single, 1)),
        }
    whole = times["whole network on the array store"]
    print(f"{len(train.index)} images of {SIZE_PX} px, {EPOCHS} epochs of basic_vgg16")
    for name, seconds_taken in times.items():
        print(f"{name:50} {seconds_taken:7.1f} s   {whole / seconds_taken:5.1f} times as fast as the whole network")


if __name__ == "__main__":
    main()
