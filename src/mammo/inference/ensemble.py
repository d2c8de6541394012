"""An ensemble of this workspace, ready for films: its members, and the combination that the ensemble stage fitted.

The combination must lead from the members' prediction tables to the ensemble's own, or it is refused: something was
trained or combined since.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.core import schemas
from mammo.core.files import read_table
from mammo.core.paths import ENSEMBLES, PREDICTIONS
from mammo.core.records import Record, record_path
from mammo.core.row_names import ENSEMBLE, TWO_VIEWS
from mammo.evaluation.ensembling import Combination
from mammo.inference.about import About, BundleError
from mammo.inference.workspace_models import TrainedModel, check_training, describe_row, require_record

TOLERANCE = 1e-9  # between two ways to add up the same numbers


@dataclass(frozen=True)
class TrainedEnsemble:
    """A description, and the combination of the members; its `members` are names below data/models."""

    about: About
    combination: Combination


def list_ensembles() -> list[str]:
    """Return the ensembles of this workspace that take single films."""
    path = record_path("ensemble")
    if not path.is_file():
        return []
    return [f"{ENSEMBLE}{method}" for method in require_record(path).parameters["methods"]]


def read_ensemble(name: str) -> TrainedEnsemble:
    """Return the ensemble `name` of a finished run; raises BundleError where there is none, or its parts do not fit."""
    if name.startswith(TWO_VIEWS):
        raise BundleError(
            f"{name} averages the scores of a lesion's CC and MLO view, and single films are given; "
            f"ask {name.removeprefix(TWO_VIEWS)} about each"
        )
    if name not in list_ensembles():
        known = ", ".join(list_ensembles()) or "none"
        raise BundleError(f"no ensemble {name!r} in this workspace; there are {known}")
    path = record_path("ensemble")
    data = require_record(path).tags["data"]
    combination = _read_combination(name)
    trainings = {member: check_training(member) for member in combination.members}
    _check_combination(name, combination)
    flips = _common_flips(name, data, [record for record, _ in trainings.values()])
    model_sha256 = _hash_members({member: digest for member, (_, digest) in trainings.items()})
    trained = TrainedModel(path, ENSEMBLES / f"{name}.csv", data, flips, model_sha256)
    return TrainedEnsemble(describe_row(name, trained), combination)


def combination_path(name: str) -> Path:
    """Return the path of the JSON file of an ensemble's combination."""
    return ENSEMBLES / f"{name}.json"


def _read_combination(name: str) -> Combination:
    path = combination_path(name)
    if not path.is_file():
        raise BundleError(f"{path} does not exist; run `dvc repro ensemble`")
    return Combination.from_json(path.read_text(encoding="utf-8"))


def _check_combination(name: str, combination: Combination) -> None:
    """Raise BundleError where the combination of the members' predictions of test rows is not the ensemble's own."""
    members = [_test_rows(PREDICTIONS / f"{member}.csv") for member in combination.members]
    expected = _test_rows(ENSEMBLES / f"{name}.csv")["prob"].to_numpy()
    if {len(table) for table in members} == {len(expected)}:
        combined = combination(np.column_stack([table["prob"] for table in members]))
        if np.allclose(combined, expected, rtol=0, atol=TOLERANCE):
            return
    raise BundleError(
        f"{name}: the weights in {combination_path(name)} do not lead from its members' predictions to its own; "
        "run `dvc repro ensemble`"
    )


def _test_rows(path: Path) -> pd.DataFrame:
    """Read the predictions of test rows; those of validation rows are combined out of fold."""
    table = read_table(path, schemas.PREDICTIONS)
    return table[table["split"] == "test"]


def _common_flips(name: str, data: str, records: list[Record]) -> bool:
    """Return whether the members predict with mirrored images; raises BundleError where they do not fit together."""
    if {record.tags["data"] for record in records} != {data}:
        raise BundleError(f"{name} and its members are of different pixels; run `dvc repro ensemble`")
    flips = {record.parameters["predict.flips"] for record in records}
    if len(flips) > 1:
        raise BundleError(f"the members of {name} were asked with and without mirroring; run `dvc repro ensemble`")
    return bool(flips.pop())


def _hash_members(digests: dict[str, str]) -> str:
    """Return the SHA-256 of the members' names and of the digests of their files."""
    lines = [f"{member} {digest}\n" for member, digest in digests.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
