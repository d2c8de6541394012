"""Keras models: build, save and load them.

A model takes raw pixels (n, h, w, 1) in 0..255, scales them inside, and returns the probability of malignancy (n, 1).
It is one flat functional graph: its last spatial feature map is the layer `features`, the vector that its classifier
gets is the layer `pool`, its score before the sigmoid the layer `logit`. A nested base would break Grad-CAM after
reloading.
"""

import json
import re
import zipfile
from pathlib import Path
from typing import Protocol, cast

import keras

from mammo.core import plugins
from mammo.core.config import ModelConfig
from mammo.core.errors import InputError
from mammo.core.files import atomic_write

Shape = tuple[int, int, int]
MAX_EXPANSION = 20  # of a model file that is unpacked
EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)


class Architecture(Protocol):
    """A module of architectures/."""

    def build(self, config: ModelConfig, image_shape: Shape, weights_path: Path | None) -> keras.Model:
        """Return an untrained or pretrained model for images of `image_shape` (h, w, 1)."""


class ModelFileError(InputError):
    """An unusable model file; the message says which and why."""


def build(config: ModelConfig, image_shape: Shape, seed: int, weights_path: Path | None = None) -> keras.Model:
    """Return a model of `config.architecture` with initial weights from `seed`; an unknown name lists the others.

    weights_path: the file that `config.weights` stands for; None where it is `none` or `imagenet`. Raise InputError.
    """
    name = config.architecture
    architecture = cast(Architecture, plugins.load_plugin(f"{__name__}.architectures", name, "models.*.architecture"))
    keras.utils.set_random_seed(seed)  # Keras draws initial weights and dropout from its global state only
    model = architecture.build(config, image_shape, weights_path)
    for layer in ("features", "pool", "logit"):
        if layer not in {known_layer.name for known_layer in model.layers}:
            raise ModelFileError(
                f"src/mammo/models/architectures/{name}.py builds a model without a layer named {layer!r}"
            )
    return model


def save(model: keras.Model, path: Path) -> None:
    """Write `model` as a .keras file whose bytes depend on the model alone, so that DVC sees equal models as equal.

    Keras puts the date of saving into metadata.json and into the zip, and memory addresses into config.json.
    """
    with atomic_write(path) as unfinished:
        as_saved = unfinished.with_suffix(".keras")
        try:
            model.save(as_saved)
            _canonical(as_saved, unfinished)
        finally:
            as_saved.unlink(missing_ok=True)


def _canonical(as_saved: Path, path: Path) -> None:
    edit = {"metadata.json": _without_date, "config.json": _with_numbered_objects}
    with zipfile.ZipFile(as_saved) as source, zipfile.ZipFile(path, "w") as target:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name in edit:
                content = edit[name](content.decode()).encode()
            target.writestr(zipfile.ZipInfo(name, EPOCH_OF_ZIP), content)


def _without_date(metadata: str) -> str:
    return json.dumps({key: value for key, value in json.loads(metadata).items() if key != "date_saved"})


def _with_numbered_objects(config: str) -> str:
    """Return the configuration with shared objects numbered by appearance instead of by memory address."""
    numbers: dict[str, int] = {}
    return re.sub(
        r'("shared_object_id": )(\d+)', lambda match: f"{match[1]}{numbers.setdefault(match[2], len(numbers))}", config
    )


def check_exists(path: Path) -> Path:
    """Return `path`; raise ModelFileError where no file is there."""
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; `dvc repro` trains the models, `dvc pull` fetches them")
    return path


def load(path: Path) -> keras.Model:
    """Return the model in a .keras file; raise ModelFileError, also where this version of Keras cannot read it."""
    check_exists(path)
    try:
        _refuse_expanding(path)
        return keras.models.load_model(path, compile=False)
    except ModelFileError:
        raise
    except (ValueError, TypeError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelFileError(
            f"{path} ({_writer(path)}) cannot be loaded by Keras {keras.__version__}: {_cause(error)}; train the model "
            "again, or open it with what wrote it, build it of Keras' own layers, and save it as .keras"
        ) from error


def _refuse_expanding(path: Path) -> None:
    """Raise ModelFileError for an archive that unpacks to many times its size: weights hardly shrink."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MAX_EXPANSION * path.stat().st_size:
        raise ModelFileError(f"{path}: unpacks to {size:,} bytes, more than {MAX_EXPANSION} times its size; refused")


def _writer(path: Path) -> str:
    """Return the version of Keras that wrote a model file, as an error message says it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return f"written by Keras {json.loads(archive.read('metadata.json'))['keras_version']}"
    except (zipfile.BadZipFile, KeyError, ValueError):
        return "no whole .keras archive"


def _cause(error: Exception) -> str:
    """Return the innermost message of an exception of Keras, without the configurations around it."""
    inner = str(error).rpartition("Exception encountered: ")[2].strip()
    return inner.partition("\n")[0].partition(" Full object config")[0].rstrip(".")
