"""The tables behind a row: what its trainings have in common while the test set is closed, and where it is open."""

from pathlib import Path

import pandas as pd
import pytest

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.files import write_table
from mammo.core.paths import OUT_OF_FOLD
from mammo.evaluation import comparison_rows, prediction_tables
from tests import arrays, workspaces

ROW = "members_light_cnn"


def read_members(folder: Path, monkeypatch: pytest.MonkeyPatch, test: str, repeats: int) -> list[pd.DataFrame]:
    """Return the trainings of a cross-validated row whose folds were drawn `repeats` times."""
    workspaces.enter(folder, monkeypatch)
    workspaces.change(folder, evaluate={"test": test})
    tested = arrays.predictions().query("split == 'test'")
    draws = [
        pd.concat([arrays.out_of_fold(skill=2 + repeat), *(tested.assign(fold=fold) for fold in range(3))])
        for repeat in range(repeats)
    ]
    folds = pd.concat([draw.assign(repeat=repeat) for repeat, draw in enumerate(draws)])
    write_table(folder / OUT_OF_FOLD / "light_cnn.csv", folds, schemas.OUT_OF_FOLD)
    return prediction_tables.read_members(ROW, load_config())


def test_closed_draws_of_the_folds_are_the_trainings_of_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = read_members(tmp_path, monkeypatch, "closed", repeats=2)
    held_out = set(arrays.index(60).query("split != 'test'")["sample_id"])
    assert [set(table["sample_id"]) for table in trainings] == [held_out, held_out]
    rows = {name: comparison_rows.EvaluatedRow(trainings[0], [0.5], {}) for name in (ROW, "members_other")}
    members = {ROW: trainings, "members_other": trainings[::-1]}
    tests = comparison_rows.compare_aucs(rows, arrays.EVALUATE, 0, members)
    assert tests["variance"].tolist() == ["patients and trainings"]


def test_closed_one_draw_says_nothing_about_another_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_members(tmp_path, monkeypatch, "closed", repeats=1) == []


def test_open_each_member_scores_all_test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = read_members(tmp_path, monkeypatch, "open", repeats=2)
    assert [set(table["split"]) for table in trainings] == 6 * [{"test"}]
