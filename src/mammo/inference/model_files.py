"""The files of a finished model or ensemble in one folder: a bundle's, or those of an MLflow model.

A model is model.keras; an ensemble is combination.json and a members/<name>.keras for each member.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mammo.core.errors import InputError
from mammo.core.files import sha256
from mammo.evaluation.ensembling import Combination
from mammo.inference.about import About, BundleError

if TYPE_CHECKING:
    import keras

ABOUT, MODEL, COMBINATION, MEMBERS = "bundle.json", "model.keras", "combination.json", "members"


@dataclass(frozen=True)
class Ensemble:
    """Models that predict the same images, by name, and the combination of their probabilities."""

    members: Mapping[str, "keras.Model"]
    combination: Combination


def list_members(model: "keras.Model | Ensemble") -> "list[keras.Model]":
    """Return the models of an ensemble, or the one model."""
    return list(model.members.values()) if isinstance(model, Ensemble) else [model]


def member_file(name: str) -> str:
    """Return the path of a member's file below the folder; a member's name may have parts, as seeds/light_cnn/21."""
    return f"{MEMBERS}/{name}.keras"


def hash_ensemble(digests: Mapping[str, str], combination: Combination) -> str:
    """Return the SHA-256 of the members' names, of the digests of their files, and of the combination."""
    lines = [f"{member} {digest}\n" for member, digest in digests.items()]
    return hashlib.sha256("".join([*lines, combination.to_json()]).encode()).hexdigest()


def read_combination(folder: Path, source: object) -> Combination | None:
    """Return the combination of the ensemble in a folder, None for a single model.

    source: what the errors call the folder. Raises BundleError for what is none, or names a member outside of the
    folder, and where a file of the model or ensemble is missing.
    """
    combination = _parse_combination(folder, source)
    for name in list_files(combination):
        if not (folder / name).is_file():
            raise BundleError(f"{source}: {name} is missing; fetch or export it again")
    return combination


def _parse_combination(folder: Path, source: object) -> Combination | None:
    path = folder / COMBINATION
    if not path.is_file():
        return None
    try:
        combination = Combination.from_json(path.read_text(encoding="utf-8"))
    except (InputError, UnicodeDecodeError) as error:
        reason = str(error).partition("; run `dvc")[0]  # there is no stage to run beside a bundle
        raise BundleError(f"{source}: {COMBINATION} cannot be used ({reason}); export it again") from error
    for name in combination.members:
        parts = PurePosixPath(member_file(name)).parts
        if ".." in parts or "\\" in name or member_file(name) != "/".join(parts):
            raise BundleError(f"{source}: {COMBINATION} names a member {name!r}, which is no name; export it again")
    return combination


def list_files(combination: Combination | None) -> list[str]:
    """Return the files that are the ensemble of a combination, or without one a single model."""
    return [MODEL] if combination is None else [COMBINATION, *map(member_file, combination.members)]


def hash_model(folder: Path, source: object) -> str:
    """Return what About.model_sha256 has to be for these files; raises BundleError where one is missing."""
    combination = read_combination(folder, source)
    if combination is None:
        return sha256(folder / MODEL)
    return hash_ensemble({name: sha256(folder / member_file(name)) for name in combination.members}, combination)


def load(folder: Path, about: About) -> "keras.Model | Ensemble":
    """Return the model or ensemble; raises BundleError where a file is missing, or takes or gives something else."""
    combination = read_combination(folder, about.name)
    return load_files({name: folder / name for name in list_files(combination)}, combination, about)


def load_files(files: Mapping[str, Path], combination: Combination | None, about: About) -> "keras.Model | Ensemble":
    """Return the model or ensemble of files that are named as in a folder; raises BundleError as `load`."""
    if combination is None:
        return _load_model(files[MODEL], about, about.name)
    members = {
        name: _load_model(files[member_file(name)], about, f"{about.name}, member {name}")
        for name in combination.members
    }
    return Ensemble(members, combination)


def _load_model(path: Path, about: About, name: str) -> "keras.Model":
    """Return one model of a description; raises BundleError where it takes or gives something else.

    name: what the errors call it.
    """
    from mammo import models  # Keras takes seconds
    from mammo.inference import foreign_model

    model = models.load(path)
    foreign_model.check_shapes(model, name)
    if model.input_shape[1:] != about.image_shape or model.output_shape[-1] != 1:
        raise BundleError(
            f"{name}: its model takes {model.input_shape} and gives {model.output_shape}, and its {ABOUT} is of images "
            f"{about.image_shape} and one probability; export it again"
        )
    return model
