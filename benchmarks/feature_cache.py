"""Time trainings on stored features: `python benchmarks/feature_cache.py [epochs | folds | blocks]` (minutes).

Prints side by side ten epochs of a head: the notebook way (each epoch decodes and resizes image files and runs the
whole network), the whole network on images of the array store, and the head on the base's vectors: with as many
augmented copies of the training images as params.yaml says (the base then runs COPIES times instead of once per epoch),
trained once more with another learning rate (the vectors lie in the cache), and with one copy. Then a cross-validation
with a logistic regression as its head, in seconds of CPU: with a cache for each fold and predictions by the whole
network, with one cache for all folds, and once more. Last, in seconds of CPU, epochs of ResNet50V2 up to conv4 at
224 px whose last two blocks learn: the whole network, and these blocks on the stored feature maps of the frozen ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from unittest.mock import patch

import cv2
import keras
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo import models
from mammo.core.config import TrainingConfig, load_config
from mammo.data.samples import Samples
from mammo.metrics import discrimination
from mammo.training import augmentation, folds, phases, predict, split_predictions, trainer
from mammo.training.loader import TrainingBatches
from mammo.training.phases import Phase

SAMPLES, SIZE_PX, FILE_PX, EPOCHS, FOLDS = 384, 64, 800, 10, 5
RootOfFold = Callable[[int], Path]


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


def seconds(work: Callable[[], object], clock: Callable[[], float] = perf_counter) -> float:
    """Return the seconds of one call, by the wall clock."""
    start = clock()
    work()
    return clock() - start


def time_epochs() -> None:
    """Print seconds for ten epochs and the ratios."""
    config, samples = parameters(), cohort()
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
    print(f"{len(train.index)} images of {SIZE_PX} px, {EPOCHS} epochs of basic_vgg16")
    show(times, "whole network on the array store")


def parameters() -> TrainingConfig:
    """Return the parameters of basic_vgg16, for so many epochs."""
    config = load_config(Path(__file__).resolve().parents[1] / "params.yaml").for_model("basic_vgg16")
    return replace(config, train=config.train.model_copy(update={"epochs": EPOCHS}))


def show(times: dict[str, float], reference: str) -> None:
    """Print seconds, and how many times as fast as `reference` each is."""
    for name, seconds_taken in times.items():
        print(f"{name:50} {seconds_taken:7.1f} s   {times[reference] / seconds_taken:5.1f} times as fast")


def time_folds() -> None:
    """Print seconds of CPU for a cross-validation and the ratios."""
    config, samples = parameters(), cohort()
    changes = {"optimizer": "logistic_regression", "head_units": [], "input_px": None, "crops": [1.0]}
    config = replace(config, model=config.model.model_copy(update=changes))
    index = samples.index.assign(
        split=samples.index["split"].where(np.arange(SAMPLES) % 6 > 0, "test"), fold=np.arange(SAMPLES) % FOLDS
    )
    samples = Samples(index, samples.images)
    without_lesion = Samples(index, np.flip(samples.images, 0).copy())

    def cross_validate(folder: Path, root_of_fold: Callable[[int], Path], shared: bool) -> list[float]:
        aucs = []
        for fold in range(FOLDS):
            os.environ["DVC_ROOT"] = str(root_of_fold(fold))
            roles = folds.fold_samples(samples, fold, 0.2, config.seed)
            fold_config = replace(config, seed=config.seed + fold)
            model, _ = folds.fit_fold(roles, fold_config, None, folder / str(fold), lambda *row: None)
            with ExitStack() as stack:
                if not shared:
                    stack.enter_context(
                        patch.object(split_predictions, "predict_cached", predict.predict_probabilities)
                    )
                held_out = folds.predict_held_out(model, roles, flips=True)
                test = split_predictions.predict_splits(model, samples, ["test"], flips=True)
                reported = pd.concat([held_out[held_out["split"] == "oof"], test])
                split_predictions.add_scores_without_lesion(model, reported, without_lesion, flips=True)
            rows = held_out[held_out["split"] == "oof"]
            aucs.append(discrimination.auc(rows["label"], rows["prob"]))
        return aucs

    with TemporaryDirectory() as name:
        home, aucs = Path(name), {}
        runs = {
            "a cache for each fold, whole network predicts": (lambda fold: home / f"apart{fold}", False),
            "one cache for all folds": (lambda fold: home / "shared", True),
            "once more": (lambda fold: home / "shared", True),
        }
        keras.utils.disable_interactive_logging()
        times = {}
        for number, (run, (root, shared)) in enumerate(runs.items()):

            def work(number: int = number, run: str = run, root: RootOfFold = root, shared: bool = shared) -> None:
                aucs[run] = cross_validate(home / f"work{number}", root, shared)

            times[run] = seconds(work, process_time)
    print(f"{FOLDS} folds of {SAMPLES} images of {SIZE_PX} px, basic_vgg16")
    show(times, next(iter(times)))
    assert np.allclose(*[aucs[run] for run in list(runs)[:2]], atol=1e-3), aucs


def note_time(times: list[float], *epoch: object) -> None:
    """Append the seconds of CPU so far."""
    times.append(process_time())


def time_blocks() -> None:
    """Print seconds of CPU for an epoch of the two last blocks of ResNet50V2, after one that fills the cache."""
    config, noise = parameters(), cohort()
    samples = Samples(noise.index, np.repeat(np.repeat(noise.images, 7, axis=1), 7, axis=2))
    blocks = {
        "architecture": "resnet50_v2",
        "cut_after": "conv5_block1_preact_relu",
        "weights": "none",
        "trainable": ["conv4_block5", "conv4_block6"],
        "head_units": [],
        "input_px": 224,
        "crops": [0.75],
        "learning_rate": 1e-5,
    }
    config = replace(config, train=config.train.model_copy(update={"feature_copies": 1}))
    keras.utils.disable_interactive_logging()
    times = {}
    for name, cached in {"whole network": False, "blocks on stored feature maps": True}.items():
        model_config = config.model.model_copy(update={**blocks, "cache_frozen": cached})
        model = models.build(model_config, samples.image_shape, seed=0)
        ends: list[float] = []
        with TemporaryDirectory() as folder:
            os.environ["DVC_ROOT"] = folder
            run = replace(config, model=model_config, train=config.train.model_copy(update={"epochs": 3}))
            trainer.fit(model, samples, run, Path(folder) / "work", partial(note_time, ends))
        times[name] = float(np.diff(ends[1:]).mean())
    count = int((samples.index["split"] == "train").sum())
    print(f"an epoch of {count} images of 448 px, resnet50_v2 with two free blocks, monitored on {SAMPLES - count}")
    show(times, "whole network")


def main(parts: list[str]) -> None:
    """Print the parts that are named, or all."""
    for name, work in {"epochs": time_epochs, "folds": time_folds, "blocks": time_blocks}.items():
        if not parts or name in parts:
            work()


if __name__ == "__main__":
    main(sys.argv[1:])
