"""Time ten epochs of a frozen VGG16's head: `python benchmarks/feature_cache.py` (about four minutes, two cores).

Prints side by side: the notebook way (each epoch decodes and resizes image files and runs the whole network), the whole
network on images in the pixel store, and the head on the base's vectors: with as many augmented copies of the training
images as params.yaml says (the base then runs COPIES times instead of once per epoch), trained once more with another
learning rate (the vectors lie in the cache), and with one copy.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
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
    """Random images, the malignant ones brighter (else training stops at a collapse); two thirds to train on."""
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
    """Wall-clock time of one call."""
    start = perf_counter()
    work()
    return perf_counter() - start


def main() -> None:
    """Print seconds for ten epochs and the ratios."""
    loaded = load_config(Path(__file__).resolve().parents[1] / "params.yaml")
    own, recipe = loaded.model("basic_vgg16"), loaded.train.model_copy(update={"epochs": EPOCHS})
    samples = cohort()
    train, validation = samples.take("train"), samples.take("val")
    model = models.build(own, samples.image_shape, 0)

    def whole_network(inputs: Callable[..., np.ndarray] | None = None) -> None:
        layers = augmentation.build_layers(recipe.augmentation, own.augmentation_strength, 0)
        network = trainer.prepend_augmentation(layers, model)
        network.compile("adamw", "binary_crossentropy")
        data = TrainingBatches(train, recipe.batch_size, recipe.balance, 0, inputs=inputs)
        network.fit(data, epochs=EPOCHS, shuffle=False, verbose=0)

    def cached(folder: Path, copies: int, times: float = 1.0) -> None:
        os.environ["DVC_ROOT"] = str(folder)
        asked = recipe.model_copy(update={"feature_copies": copies})
        this = own.model_copy(update={"learning_rate": times * own.learning_rate})
        assert phases.training_phases(asked, this) == [Phase("head", EPOCHS, this.learning_rate, frozen=True)]
        trainer.fit(model, train, validation, asked, this, loaded.focal, 0, lambda *row: None, folder / f"work{times}")

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
        found = {
            "notebook way: decode, resize, whole network": seconds(lambda: whole_network(decoded)),
            "whole network on the pixel store": seconds(whole_network),
        }
        several, one = Path(folder) / "several", Path(folder) / "one"
        copies = recipe.feature_copies
        found |= {
            f"head on the vectors of {copies} copies": seconds(lambda: cached(several, copies)),
            "the same with another learning rate": seconds(lambda: cached(several, copies, times=2.0)),
            "head on the vectors of 1 copy": seconds(lambda: cached(one, 1)),
        }
    whole = found["whole network on the pixel store"]
    print(f"{len(train.index)} images of {SIZE_PX} px, {EPOCHS} epochs of basic_vgg16")
    for name, took in found.items():
        print(f"{name:50} {took:7.1f} s   {whole / took:5.1f} times as fast as the whole network")


if __name__ == "__main__":
    main()
