"""Fitting from a stage: in a workshop, so that a training that was killed goes on at its last whole epoch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from mammo import augmentation, batches, checkpoints, features, inference, losses, models, monitors, training, workshop
from mammo.batches import Samples
from mammo.params import ModelParams, Params, TrainParams
from mammo.training import Fitted, Log
from stages.paths import PIXELS, fingerprint

ROOMS = (augmentation, batches, checkpoints, features, inference, losses, models, monitors, training)


def open_samples(recipe: TrainParams) -> Samples:
    """The pixel store, with the backend set to what `recipe` and reproducibility ask for."""
    training.use_deterministic_kernels()
    training.use_precision(recipe.precision)
    return batches.open_store(PIXELS)


@contextmanager
def workplace(stage: str, own: ModelParams, recipe: TrainParams, loaded: Params, *more: str) -> Iterator[Path]:
    """The folder of a training's unfinished work, named by all that it rests on; it goes when the block ends well."""
    with workshop.unfinished("training", key(stage, own, recipe, loaded, *more)) as folder:
        yield folder


def key(stage: str, own: ModelParams, recipe: TrainParams, loaded: Params, *more: str) -> str:
    """A short name for all that a training rests on: data, parameters, code, backend."""
    settings = [part.model_dump_json() for part in (own, recipe, loaded.focal)]
    architectures = [
        path.read_text(encoding="utf-8") for path in sorted(Path(str(models.__file__)).parent.glob("*.py"))
    ]
    backend = f"{keras.backend.backend()} {keras.__version__}"
    foundations = [stage, str(loaded.seed), fingerprint(), backend, *settings, *more, *architectures]
    return workshop.key(*foundations, *workshop.code(*ROOMS))


def fit(
    model: keras.Model,
    samples: Samples,
    recipe: TrainParams,
    own: ModelParams,
    loaded: Params,
    seed: int,
    log: Log,
    folder: Path,
) -> Fitted:
    """Train `model` on the rows of split train, watched on those of split val."""
    train, validation = samples.take("train"), samples.take("val")
    return training.fit(model, train, validation, recipe, own, loaded.focal, seed, log, folder)
