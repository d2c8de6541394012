"""Lesions over their views: exchanged ids are put right, contradictions are reported, and nothing is left out."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import workspaces

import stages.ingest
from mammo.data import lesions
from mammo.data.datasets.cbis_ddsm import tables

COLUMNS = ["patient_id", "laterality", "view", "abnormality_id", "pathology", "birads"]
BENIGN, MALIGNANT = "BENIGN", "MALIGNANT"
OFFICIAL = {  # the two of the mass set, as published
    "exchanged": [
        ("P_00419", "LEFT", "CC", "1", BENIGN, 3),
        ("P_00419", "LEFT", "CC", "2", MALIGNANT, 5),
        ("P_00419", "LEFT", "MLO", "1", MALIGNANT, 5),
        ("P_00419", "LEFT", "MLO", "2", BENIGN, 3),
    ],
    "contradicting": [("P_01623", "RIGHT", "CC", "1", MALIGNANT, 5), ("P_01623", "RIGHT", "MLO", "1", BENIGN, 5)],
    "sound": [("P_1", "LEFT", "CC", "1", BENIGN, 2), ("P_1", "LEFT", "MLO", "1", BENIGN, 3)],
    "in one view": [("P_2", "LEFT", "CC", "1", MALIGNANT, 2)],
}


def cases_of(*names: str) -> pd.DataFrame:
    rows = [row for name in names for row in OFFICIAL[name]]
    return pd.DataFrame(rows, columns=COLUMNS).assign(abnormality_type="mass", official_split="train")


def test_exchanged_ids_are_named_and_pair_crosswise() -> None:
    cases = cases_of("exchanged", "sound")
    contradictions = lesions.find_contradictions(cases)
    assert contradictions["swapped_with"].to_list() == ["2", "1"]
    names = lesions.name_lesions(cases)
    assert cases.groupby(names)["pathology"].nunique().eq(1).all()
    assert names.str.removeprefix("P_00419_LEFT_mass_").to_list()[:4] == ["1", "2", "2", "1"]
    assert lesions.describe_contradictions(contradictions)[0] == (
        "P_00419 LEFT mass 1: CC BENIGN, MLO MALIGNANT (ids exchanged with 2)"
    )


def test_a_contradiction_of_one_lesion_stays_one_lesion() -> None:
    cases = cases_of("contradicting", "in one view")
    assert lesions.find_contradictions(cases)["swapped_with"].to_list() == [""]
    assert lesions.count_views(cases) == {"lesions": 2, "lesions_in_one_view": 1, "contradicting_lesions": 1}


def test_ids_are_not_exchanged_where_the_reader_disagrees() -> None:
    cases = cases_of("exchanged").assign(birads=[3, 5, 3, 5])
    assert lesions.find_contradictions(cases)["swapped_with"].to_list() == ["", ""]


def test_the_order_and_the_index_of_the_rows_change_nothing() -> None:
    cases = cases_of(*OFFICIAL)
    shuffled = cases.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(lesions.name_lesions(shuffled).sort_index(), lesions.name_lesions(cases))


def test_a_planted_exchange_in_a_cohort_is_reported_by_ingest(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(cohort, tmp_path / "cohort")
    patient = plant_exchange(root)
    workspaces.enter(tmp_path / "workspace", monkeypatch, source="folder", root=str(root))
    stages.ingest.main()
    record = json.loads(Path("metrics/records/ingest.json").read_text(encoding="utf-8"))
    assert record["metrics"]["contradicting_lesions"] == 2
    assert f"{patient} " in record["tags"]["contradicting_views"]
    assert "ids exchanged with 2" in record["tags"]["contradicting_views"]
    assert sum(patient in message for message in caplog.messages) == 2
    assert 0 < record["metrics"]["lesions_in_one_view"] < record["metrics"]["lesions"]


def plant_exchange(root: Path) -> str:
    """Exchange the ids of two lesions in one view of a breast, in the description CSV; return the patient."""
    for name in tables.FILES.values():
        path = root / "csv" / name
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        side = table["patient_id"] + table["left or right breast"]
        second = table[(table["abnormality id"] == "2") & (side.map(side.value_counts()) == 4)]
        if len(second):
            place = side == side[second.index[0]]
            exchanged = place & ((table["abnormality id"] == "1") == (table["image view"] == "CC"))
            table.loc[place, ["pathology", "assessment"]] = [BENIGN, "3"]
            table.loc[exchanged, ["pathology", "assessment"]] = [MALIGNANT, "5"]
            table.to_csv(path, index=False)
            return str(second["patient_id"].iloc[0])
    raise AssertionError("no breast of the cohort has two lesions in two views")


def test_the_real_mass_sets_contradictions_are_the_two_known_breasts(real_root: Path) -> None:
    rows = tables.read(real_root, ["mass"])
    found = lesions.find_contradictions(rows)
    assert found[["patient_id", "laterality", "abnormality_id", "swapped_with"]].to_numpy().tolist() == [
        ["P_00419", "LEFT", "1", "2"],
        ["P_00419", "LEFT", "2", "1"],
        ["P_01623", "RIGHT", "1", ""],
    ]
    test = rows[rows["official_split"] == "test"]
    assert (len(test), lesions.count_views(test)) == (
        378,
        {"lesions": 223, "lesions_in_one_view": 68, "contradicting_lesions": 1},
    )
