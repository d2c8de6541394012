"""The synthetic cohort: deterministic, laid out as the Kaggle copy, every pitfall of the original in it."""

import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from mammo.data.sources import _phantoms, demo

COHORT = {"patients": 40, "height_px": 128, "signal": 1.8, "seed": 7}
BI_RADS_RANK = {1: 1.0, 2: 2.0, 3: 3.0, 0: 3.5, 4: 4.0, 5: 5.0}
PATHS = ["image file path", "cropped image file path", "ROI mask file path"]
VIEW = ["patient_id", "left or right breast", "image view"]
DICOM_COLUMNS = [
    "file_path",
    "image_path",
    "BitsAllocated",
    "BodyPartExamined",
    "Columns",
    "InstanceNumber",
    "Laterality",
    "Modality",
    "PatientID",
    "PatientOrientation",
    "PhotometricInterpretation",
    "Rows",
    "SeriesDescription",
    "SeriesInstanceUID",
    "StudyInstanceUID",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort")
    demo.write_cohort(root, **COHORT)
    return root


@pytest.fixture(scope="module")
def rows(root: Path) -> pd.DataFrame:
    """All rows of the four official CSVs, with `set` and `split`; a cell's own newline is kept."""
    tables = []
    for name in ("mass", "calc"):
        for split in ("train", "test"):
            table = pd.read_csv(root / f"csv/{name}_case_description_{split}_set.csv")
            tables.append(table.assign(set=name, split=split))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def dicom(root: Path) -> pd.DataFrame:
    return pd.read_csv(root / "csv/dicom_info.csv")


def varies(rows: pd.DataFrame, within: str | list[str], column: str) -> pd.Series:
    """Per group, whether `column` takes more than one value."""
    return rows.groupby(within)[column].agg(lambda values: len(set(values)) > 1)


def series_uid(cell: str) -> str:
    return cell.strip().split("/")[-2]


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def auc(label: pd.Series, score: pd.Series) -> float:
    """Share of malignant-benign pairs in the right order, ties half."""
    positive, negative = score[label].to_numpy()[:, None], score[~label].to_numpy()
    return float(np.mean((positive > negative) + 0.5 * (positive == negative)))


def decode(path: Path) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)


def is_mask(pixels: np.ndarray) -> bool:
    return bool(np.mean((pixels < 32) | (pixels > 223)) > 0.98)


# Same arguments, same bytes


def test_same_arguments_write_the_same_bytes(root: Path, tmp_path: Path) -> None:
    demo.write_cohort(tmp_path / "again", **COHORT)
    assert contents(tmp_path / "again") == contents(root)


def test_another_seed_writes_another_cohort(root: Path, tmp_path: Path) -> None:
    demo.write_cohort(tmp_path / "other", **{**COHORT, "seed": 8})
    jpegs = [{name for name in contents(folder) if name.endswith("jpg")} for folder in (root, tmp_path / "other")]
    assert not jpegs[0] & jpegs[1]


def test_global_generators_stay_untouched(tmp_path: Path) -> None:
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002 - it is this state that must not change
    demo.write_cohort(tmp_path, **{**COHORT, "patients": demo.MIN_PATIENTS})
    assert np.array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
    assert before[1] == random.getstate()


# Layout


def test_column_names_differ_between_the_sets_as_in_the_original(root: Path) -> None:
    mass = list(pd.read_csv(root / "csv/mass_case_description_test_set.csv").columns)
    calc = list(pd.read_csv(root / "csv/calc_case_description_test_set.csv").columns)
    assert set(mass) - set(calc) == {"breast_density", "mass shape", "mass margins"}
    assert set(calc) - set(mass) == {"breast density", "calc type", "calc distribution"}
    assert mass[-3:] == calc[-3:] == PATHS


def test_dicom_info_lists_every_file_and_no_other(root: Path, dicom: pd.DataFrame) -> None:
    assert list(dicom.columns) == DICOM_COLUMNS
    listed = dicom["image_path"].str.replace("CBIS-DDSM/", "", n=1)
    assert sorted(listed) == [str(path.relative_to(root)) for path in sorted(root.rglob("*.jpg"))]
    assert listed.str.fullmatch(r"jpeg/2\.25\.\d{1,39}/[12]-\d{3}\.jpg").all()


def test_meta_counts_the_files_of_each_series(root: Path, dicom: pd.DataFrame) -> None:
    meta = pd.read_csv(root / "csv/meta.csv").set_index("SeriesInstanceUID")
    pd.testing.assert_series_equal(
        meta["ImageCount"].sort_index(), dicom.groupby("SeriesInstanceUID").size(), check_names=False
    )


def test_every_path_leads_to_files_by_its_uid_only(root: Path, rows: pd.DataFrame) -> None:
    for column in PATHS:
        assert all((root / "jpeg" / series_uid(cell)).is_dir() for cell in rows[column])
        assert not any((root / cell.strip()).exists() for cell in rows[column])


def test_each_row_has_its_film_crop_and_mask_of_the_films_size(root: Path, rows: pd.DataFrame) -> None:
    for row in rows.to_dict("records"):
        film, crop_folder, mask_folder = (root / "jpeg" / series_uid(row[column]) for column in PATHS)
        (film_file,) = film.iterdir()
        shape = decode(film_file).shape
        others = [decode(path) for folder in {crop_folder, mask_folder} for path in folder.iterdir()]
        full_size = [pixels for pixels in others if pixels.shape == shape]
        assert shape[0] == COHORT["height_px"]
        assert len(others) == 2
        assert len(full_size) == 1
        assert is_mask(full_size[0])
        assert 0.001 < np.mean(full_size[0] > 127) < 0.1


def test_breasts_point_away_from_their_chest_wall(root: Path, rows: pd.DataFrame) -> None:
    for row in rows.drop_duplicates("image file path").to_dict("records"):
        (path,) = (root / "jpeg" / series_uid(row["image file path"])).iterdir()
        # Borders, tape and letters are at the film's rim; the breast is what its middle rows show.
        middle = decode(path)[50:80, 6:-6].astype(float)
        left, right = middle[:, : middle.shape[1] // 3].mean(), middle[:, -middle.shape[1] // 3 :].mean()
        assert (left > right) == (row["left or right breast"] == "LEFT")


# Pitfalls of the original


def patients_in(rows: pd.DataFrame, name: str, split: str) -> set[str]:
    return set(rows.loc[(rows["set"] == name) & (rows["split"] == split), "patient_id"])


PITFALLS: dict[str, Callable[[pd.DataFrame], bool]] = {
    "the official split leaks": lambda r: len(patients_in(r, "mass", "train") & patients_in(r, "calc", "test")) >= 2,
    "a view in both sets": lambda r: varies(r, VIEW, "set").any(),
    "a newline in a mass mask cell": lambda r: r.loc[r["set"] == "mass", PATHS[2]].str.endswith("\n").all(),
    "a newline in a calc crop cell": lambda r: r.loc[r["set"] == "calc", PATHS[1]].str.endswith("\n").all(),
    "several lesions in a film": lambda r: bool((r.groupby(PATHS[0]).size() > 1).any()),
    "mixed labels in a film": lambda r: varies(
        r.assign(malignant=r["pathology"] == "MALIGNANT"), PATHS[0], "malignant"
    ).any(),
    "both breasts": lambda r: varies(r, "patient_id", "left or right breast").any(),
    "both views": lambda r: varies(r, VIEW[:2], "image view").any(),
    "a single view": lambda r: not varies(r, VIEW[:2], "image view").all(),
    "benign without callback": lambda r: "BENIGN_WITHOUT_CALLBACK" in set(r["pathology"]),
    "density 0": lambda r: bool(((r["breast density"] == 0) | (r["breast_density"] == 0)).any()),
    "subtlety 0": lambda r: bool((r["subtlety"] == 0).any()),
    "crop and mask apart": lambda r: bool((r[PATHS[1]].map(series_uid) != r[PATHS[2]].map(series_uid)).any()),
    "crop and mask together": lambda r: bool((r[PATHS[1]].map(series_uid) == r[PATHS[2]].map(series_uid)).any()),
    "a missing distribution gives the label away": lambda r: bool(
        (r.loc[(r["set"] == "calc") & r["calc distribution"].isna(), "pathology"] == "BENIGN_WITHOUT_CALLBACK").all()
    ),
}


@pytest.mark.parametrize("pitfall", PITFALLS)
def test_pitfall_is_there(rows: pd.DataFrame, pitfall: str) -> None:
    assert PITFALLS[pitfall](rows)


def test_some_descriptions_are_missing(dicom: pd.DataFrame) -> None:
    assert dicom["SeriesDescription"].isna().mean() == pytest.approx(0.05, abs=0.01)


def test_neither_file_number_nor_column_tells_crop_from_mask(rows: pd.DataFrame, dicom: pd.DataFrame) -> None:
    lesions = dicom[dicom["PatientID"].str.count("_") == 5]
    assert lesions.groupby("BitsAllocated")["InstanceNumber"].nunique().eq(2).all()
    crop_uid, mask_uid = rows[PATHS[1]].map(series_uid), rows[PATHS[2]].map(series_uid)
    bits = dicom.drop_duplicates("SeriesInstanceUID").set_index("SeriesInstanceUID")["BitsAllocated"]
    assert set(crop_uid[crop_uid != mask_uid].map(bits)) == {8, 16}
    together = rows[crop_uid == mask_uid]
    numbers = together[PATHS[1]].str.strip().str[-len("000000.dcm") :]
    assert numbers.groupby(together["set"]).agg(set).eq({"000000.dcm", "000001.dcm"}).all()


# What the cohort says


def test_a_lesion_reads_alike_in_both_views(rows: pd.DataFrame) -> None:
    lesion = rows.groupby(["patient_id", "left or right breast", "abnormality type", "abnormality id"])
    assert lesion[["pathology", "assessment"]].nunique().eq(1).all(axis=None)


def test_labels_and_split_are_plausible(rows: pd.DataFrame) -> None:
    malignant = rows["pathology"] == "MALIGNANT"
    assert 0.33 < malignant.mean() < 0.55
    assert 0.2 < (rows["split"] == "test").mean() < 0.4
    assert malignant.groupby([rows["set"], rows["split"]]).nunique().eq(2).all()
    assert rows["assessment"].between(0, 5).all()
    assert rows["subtlety"].between(0, 5).all()


def test_readers_see_the_label_and_the_signal_is_what_they_see() -> None:
    def reading(signal: float) -> tuple[float, float]:
        breasts = demo._plan(np.random.default_rng(0), 600, signal)
        lesions = [lesion for breast in breasts for finding in breast.findings for lesion in finding.lesions]
        malignant = pd.Series([lesion.pathology == "MALIGNANT" for lesion in lesions])
        ideal = auc(malignant, pd.Series([lesion.appearance.suspicion for lesion in lesions]))
        return ideal, auc(malignant, pd.Series([BI_RADS_RANK[lesion.assessment] for lesion in lesions]))

    assert reading(0.0) == pytest.approx((0.5, 0.5), abs=0.06)
    assert reading(1.8) == pytest.approx((0.9, 0.8), abs=0.04)


@pytest.mark.parametrize("kind", ["mass", "calcification"])
def test_suspicion_changes_the_look_and_not_the_size(kind: _phantoms.Kind) -> None:
    def film(suspicion: float, seed: int) -> _phantoms.Film:
        rng = np.random.default_rng(seed)
        lesion = _phantoms.Lesion(kind, suspicion, extent=0.12, conspicuity=0.5)
        return _phantoms.draw_film(
            rng, _phantoms.draw_anatomy(rng, 2), _phantoms.Projection("RIGHT", "MLO", 160), [lesion]
        )

    for seed in range(8):
        pair = [film(suspicion, seed) for suspicion in (-2.0, 2.0)]
        sides = [max(cv2.boundingRect(view.masks[0])[2:]) for view in pair]
        assert all(side == pytest.approx(0.12 * 160, abs=2) for side in sides)
        assert not np.array_equal(pair[0].pixels, pair[1].pixels)


# Bad input


@pytest.mark.parametrize("wrong", [{"patients": 3}, {"height_px": 10}, {"signal": -1.0}, {"signal": float("nan")}])
def test_impossible_cohort_is_refused_by_name(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        demo.write_cohort(tmp_path, **{**COHORT, **wrong})
    assert not any(tmp_path.iterdir())


def test_a_folder_in_use_is_refused(root: Path) -> None:
    with pytest.raises(FileExistsError, match="not an empty folder"):
        demo.write_cohort(root, **COHORT)


def test_a_cohort_cut_short_has_no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(demo, "_write", fail)
    with pytest.raises(OSError, match="disk full"):
        demo.write_cohort(tmp_path, **COHORT)
    assert not list(tmp_path.rglob("*.csv"))
