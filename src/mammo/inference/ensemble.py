"""The finished rows of this workspace that films can be asked of: models, ensembles, and both over two views.

An ensemble's combination must lead from its members' prediction tables to its own, and the mean over views from its
row's table to its own, or the row is refused: something was trained or combined since.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mammo.core import schemas
from mammo.core.files import read_table
from mammo.core.paths import CASES, ENSEMBLES, PREDICTIONS
from mammo.core.records import Record, record_path
from mammo.core.row_names import ENSEMBLE, TWO_VIEWS, two_views_name
from mammo.evaluation import ensembling
from mammo.evaluation.ensembling import Combination
from mammo.inference import model_files
from mammo.inference.about import About, BundleError
from mammo.inference.model_files import Ensemble
from mammo.inference.workspace_models import (
    TrainedModel,
    check_training,
    describe_model,
    describe_row,
    list_models,
    model_path,
    require_record,
    training_record_path,
)

if TYPE_CHECKING:
    import keras

TOLERANCE = 1e-9  # between two ways to add up the same numbers


@dataclass(frozen=True)
class FinishedRow:
    """A row of a finished run that films can be asked of.

    files: of the models, by their place below a folder of model_files; combination: of an ensemble's members, which are
    names below data/models; record: of the training or of the ensemble stage.
    """

    about: About
    files: Mapping[str, Path]
    record: Path
    combination: Combination | None = None

    def load(self) -> "keras.Model | Ensemble":
        """Return the model or ensemble; raises BundleError where it takes or gives something else."""
        return model_files.load_files(self.files, self.combination, self.about)

    def write_files(self, folder: Path) -> None:
        """Copy the model files, and write the description and an ensemble's combination, as model_files reads them."""
        for name, source in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
        if self.combination is not None:
            (folder / model_files.COMBINATION).write_text(self.combination.to_json(), encoding="utf-8")
        (folder / model_files.ABOUT).write_text(self.about.model_dump_json(indent=1) + "\n", encoding="utf-8")


def list_ensembles() -> list[str]:
    """Return the ensembles of this workspace that take single films."""
    return [f"{ENSEMBLE}{method}" for method in _ensemble_parameter("methods")]


def list_two_views() -> list[str]:
    """Return the rows of this workspace that are means over a lesion's, or breast's, views."""
    return [two_views_name(name) for name in _ensemble_parameter("two_views")]


def list_rows() -> list[str]:
    """Return all rows of this workspace that films can be asked of."""
    return [*list_models(), *list_ensembles(), *list_two_views()]


def read_row(name: str) -> FinishedRow:
    """Return the row `name` of a finished run; raises BundleError where there is none, or its parts do not fit."""
    if name.startswith(TWO_VIEWS):
        return _read_two_views(name)
    if name.startswith(ENSEMBLE):
        return _read_ensemble(name)
    if name not in list_models():
        known = ", ".join(list_rows()) or "none: run `dvc repro`"
        raise BundleError(f"no finished model {name!r} in this workspace; there are {known}")
    return FinishedRow(describe_model(name), {model_files.MODEL: model_path(name)}, training_record_path(name))


def _ensemble_parameter(name: str) -> list[str]:
    path = record_path("ensemble")
    return list(require_record(path).parameters[name]) if path.is_file() else []


def _read_ensemble(name: str) -> FinishedRow:
    if name not in list_ensembles():
        known = ", ".join(list_ensembles()) or "none"
        raise BundleError(f"no ensemble {name!r} in this workspace; there are {known}")
    path = record_path("ensemble")
    data = require_record(path).tags["data"]
    combination = _read_combination(name)
    trainings = {member: check_training(member) for member in combination.members}
    _check_combination(name, combination)
    flips = _common_flips(name, data, {member: record for member, (record, _) in trainings.items()})
    digests = {member: digest for member, (_, digest) in trainings.items()}
    model_sha256 = model_files.hash_ensemble(digests, combination)
    trained = TrainedModel(path, ENSEMBLES / f"{name}.csv", data, flips, model_sha256)
    files = {model_files.member_file(member): model_path(member) for member in combination.members}
    return FinishedRow(describe_row(name, trained), files, path, combination)


def _read_two_views(name: str) -> FinishedRow:
    if name not in list_two_views():
        known = ", ".join(list_two_views()) or "none (ensemble.two_views of params.yaml names them)"
        raise BundleError(f"no row {name!r} of two views in this workspace; there are {known}")
    row = read_row(name.removeprefix(TWO_VIEWS))
    _check_means(name, row)
    path = record_path("ensemble")
    data = require_record(path).tags["data"]
    about = row.about
    trained = TrainedModel(path, ENSEMBLES / f"{name}.csv", data, about.flips, about.model_sha256)
    described = describe_row(name, trained).model_copy(update={"two_views": True})
    return FinishedRow(described, row.files, path, row.combination)


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


def _check_means(name: str, row: FinishedRow) -> None:
    """Raise BundleError where the means over views of a row's predictions are not those of the row `name`."""
    folder = PREDICTIONS if row.combination is None else ENSEMBLES
    predictions, expected = _test_rows(folder / f"{row.about.name}.csv"), _test_rows(ENSEMBLES / f"{name}.csv")
    if predictions["sample_id"].tolist() == expected["sample_id"].tolist():
        means = ensembling.average_views(predictions, read_table(CASES, schemas.CASES), row.about.unit)["prob"]
        if np.allclose(means, expected["prob"], rtol=0, atol=TOLERANCE):
            return
    raise BundleError(
        f"{name}: the means over views of {row.about.name}'s predictions are not its own; run `dvc repro ensemble`"
    )


def _test_rows(path: Path) -> pd.DataFrame:
    """Read the predictions of test rows; those of validation rows are combined out of fold."""
    table = read_table(path, schemas.PREDICTIONS)
    return table[table["split"] == "test"]


def _common_flips(name: str, data: str, records: Mapping[str, Record]) -> bool:
    """Return whether the members predict with mirrored images; raises BundleError where they do not fit together."""
    if others := [member for member, record in records.items() if record.tags["data"] != data]:
        raise BundleError(
            f"{name} and its members are of different pixels: {', '.join(others)} learned from images that were "
            "prepared in another way; run `dvc repro ensemble`"
        )
    flips = {record.parameters["predict.flips"] for record in records.values()}
    if len(flips) > 1:
        raise BundleError(f"the members of {name} were asked with and without mirroring; run `dvc repro ensemble`")
    return bool(flips.pop())
