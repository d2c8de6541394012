"""Memory of a training against the size of its data set: `python benchmarks/training_memory.py` (about a minute).

Prints the peak memory of a process that trains the light CNN for one epoch from an array store on disk, and of one that
does the same steps from a store ten times as large.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo import models
from mammo.core.config import load_config
from mammo.data.samples import Samples
from mammo.training import augmentation, trainer
from mammo.training.loader import TrainingBatches

FEW, MANY, SIZE_PX, STEPS = 1_000, 10_000, 224, 60


def train(store: Path, count: int) -> None:
    """Train STEPS steps on random batches of `count` images of `store`."""
    config = load_config(Path(__file__).resolve().parents[1] / "params.yaml").for_model("light_cnn")
    label = np.arange(count) % 2
    index = pd.DataFrame({"label": label, "sample_id": np.arange(count), "abnormality_type": "mass"})
    samples = Samples(index, np.load(store, mmap_mode="r"))
    layers = augmentation.build_layers(config.train.augmentation, config.model.augmentation_strength, 0)
    network = trainer.prepend_augmentation(layers, models.build(config.model, samples.image_shape, seed=0))
    network.compile("adamw", "binary_crossentropy")
    data = TrainingBatches(samples, config.train, 0)
    for step in range(STEPS):
        inputs, labels, weights = data[step]
        network.train_on_batch(inputs, labels, weights)


def write_store(path: Path, count: int) -> None:
    """Write random films in parts, so that they are never in memory together."""
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, SIZE_PX, SIZE_PX))
    rng = np.random.default_rng(0)
    for start in range(0, count, FEW):
        images[start : start + FEW] = rng.integers(0, 256, images[start : start + FEW].shape, dtype=np.uint8)
    images.flush()


def private_peak_mib(store: Path, count: int) -> float:
    """Return the peak of a process's private memory; pages of the mapped file belong to the operating system."""
    words = [sys.executable, __file__, str(store), str(count)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def print_own_peak(store: Path, count: int) -> None:
    """Train and print the peak of private memory; the process that `private_peak_mib` starts (Linux)."""
    keras.utils.disable_interactive_logging()
    train(store, count)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print((int(status["VmHWM"].split()[0]) - int(status["RssFile"].split()[0])) / 1024)


def main() -> None:
    """Print both peaks and their ratio."""
    with TemporaryDirectory() as folder:
        peaks = {}
        for count in (FEW, MANY):
            write_store(Path(folder) / "images.npy", count)
            peaks[count] = private_peak_mib(Path(folder) / "images.npy", count)
    for count, peak in peaks.items():
        print(f"{count:6d} images of {SIZE_PX} px on disk: {peak:6.0f} MiB while training")
    print(f"ten times the images: {peaks[MANY] / peaks[FEW]:.2f}x")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_own_peak(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
