"""CBIS-DDSM: every published row is a case or an excluded row with its reason; the pitfalls of docs and data."""

import csv
import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from mammo import pixels, tables
from mammo.datasets import BIRADS_ORDER, DatasetError, Located, cbis_ddsm

TYPES = ["mass", "calcification"]
FILM, CROP, MASK = "image file path", "cropped image file path", "ROI mask file path"
VIEW = ["patient_id", "laterality", "view"]
SET_NAMES = {"mass": "Mass", "calcification": "Calc"}
SPLIT_NAMES = {"train": "Training", "test": "Test"}
Row = dict[str, str]


def locate(root: Path, unit: str = "lesion", types: list[str] = TYPES, workers: int = 1) -> Located:
    return cbis_ddsm.locate(root, unit, types, workers)


def same_rows(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


def same(one: Located, other: Located) -> None:
    same_rows(one.cases, other.cases)
    same_rows(one.excluded, other.excluded)
    assert one.files == other.files


def csv_paths(root: Path) -> list[Path]:
    return [root / "csv" / name for name in cbis_ddsm.FILES.values()]


def read_rows(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def change_rows(root: Path, change: Callable[[Row], Row]) -> None:
    for path in csv_paths(root):
        write_rows(path, [change(row) for row in read_rows(path)])


def published(root: Path) -> pd.DataFrame:
    """All rows as the CSVs have them, with `kind` and `split` from the file's name."""
    parts = [
        pd.DataFrame(read_rows(root / "csv" / name)).assign(kind=kind, split=split)
        for (kind, split), name in cbis_ddsm.FILES.items()
    ]
    columns = {"left or right breast": "laterality", "image view": "view"}
    return pd.concat(parts, ignore_index=True).rename(columns=columns)


def series(root: Path, cell: str) -> Path:
    return root / "jpeg" / cell.strip().split("/")[-2]


def decode(path: Path) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)


def encode(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


@dataclass(frozen=True)
class Victim:
    """A row of the training masses, the only one of its view, and its files."""

    root: Path
    row: Row
    film: Path
    mask: Path
    crop: Path

    @property
    def table(self) -> Path:
        return self.root / "csv" / cbis_ddsm.FILES["mass", "train"]

    def rewrite(self, **cells: str) -> None:
        write_rows(self.table, [row | cells if row == self.row else row for row in read_rows(self.table)])

    def repeat(self) -> None:
        write_rows(self.table, [*read_rows(self.table), self.row])


@pytest.fixture(scope="module")
def lesions(cohort: Path) -> Located:
    return locate(cohort)


@pytest.fixture(scope="module")
def images(cohort: Path) -> Located:
    return locate(cohort, "image")


@pytest.fixture
def root(cohort: Path, tmp_path: Path) -> Path:
    """A copy of the cohort, to spoil."""
    return shutil.copytree(cohort, tmp_path / "copy")


@pytest.fixture
def victim(root: Path, lesions: Located) -> Victim:
    in_view = published(root).groupby(VIEW)[FILM].transform("size")
    mass_train = read_rows(root / "csv" / cbis_ddsm.FILES["mass", "train"])
    row = next(row for number, row in enumerate(mass_train) if in_view[number] == 1)
    case = lesions.cases.set_index("sample_id").loc[sample_id(row)]
    mask = root / case["mask_path"]
    (crop,) = {file for cell in (row[CROP], row[MASK]) for file in series(root, cell).iterdir()} - {mask}
    return Victim(root, row, root / case["image_path"], mask, crop)


def sample_id(row: Row) -> str:
    keys = ("patient_id", "left or right breast", "image view", "abnormality id", "abnormality type")
    return "_".join(row[key] for key in keys)


# Every row is accounted for


@pytest.mark.parametrize("unit", ["lesion", "image"])
def test_cases_and_excluded_rows_add_up_to_the_published_rows(cohort: Path, unit: str) -> None:
    located = locate(cohort, unit)
    abnormalities = located.cases["abnormality_id"].str.count(tables.PATH_SEPARATOR) + 1
    assert abnormalities.sum() + len(located.excluded) == len(published(cohort))
    assert located.excluded.empty


@pytest.mark.parametrize("unit", ["lesion", "image"])
def test_both_tables_keep_their_contract(victim: Victim, unit: str) -> None:
    victim.rewrite(pathology="UNPROVEN")
    located = locate(victim.root, unit)
    tables.check(located.cases, tables.CASES, "cases")
    tables.check(located.excluded, tables.EXCLUDED, "excluded")


def test_each_case_says_what_its_row_says(cohort: Path, lesions: Located) -> None:
    rows = published(cohort)
    ids = rows[[*VIEW, "abnormality id", "abnormality type"]].agg("_".join, axis=1)
    cases = lesions.cases.set_index("sample_id").loc[ids]
    assert cases["label"].tolist() == (rows["pathology"] == "MALIGNANT").astype(int).tolist()
    assert cases["pathology"].tolist() == rows["pathology"].tolist()
    assert cases["official_split"].tolist() == rows["split"].tolist()
    assert cases["birads"].tolist() == rows["assessment"].astype(int).tolist()
    assert cases["subtlety"].tolist() == rows["subtlety"].astype(int).tolist()
    density = rows["breast_density"].fillna(rows["breast density"])
    assert cases["breast_density"].tolist() == density.astype(int).tolist()


def test_patients_are_named_as_the_tables_name_them(lesions: Located) -> None:
    assert lesions.cases["patient_id"].str.fullmatch(r"P_\d{5}").all()


def test_each_case_has_the_film_and_the_mask_that_were_made_for_it(cohort: Path, lesions: Located) -> None:
    listed = pd.read_csv(cohort / "csv" / "dicom_info.csv")
    made_for = listed.set_index(listed["image_path"].str.removeprefix("CBIS-DDSM/"))
    for case in lesions.cases.itertuples():
        kind, split = SET_NAMES[case.abnormality_type], SPLIT_NAMES[case.official_split]
        film = f"{kind}-{split}_{case.patient_id}_{case.laterality}_{case.view}"
        assert made_for.loc[case.image_path, "PatientID"] == film
        assert made_for.loc[case.mask_path, "PatientID"] == f"{film}_{case.abnormality_id}"
        assert made_for.loc[case.mask_path, "BitsAllocated"] == 16  # in the cohort only crops have 8


def test_a_mask_is_black_and_white_and_a_film_is_not(cohort: Path, lesions: Located) -> None:
    for case in lesions.cases.itertuples():
        film, mask = decode(cohort / case.image_path), decode(cohort / case.mask_path)
        assert film.shape == mask.shape
        assert np.isin(mask, [*range(32), *range(224, 256)]).mean() > 0.98
        assert len(np.unique(film)) > 64


def test_files_are_all_that_the_cases_rest_on_and_exist(cohort: Path, images: Located, lesions: Located) -> None:
    masks = [path for cell in images.cases["mask_path"] for path in cell.split(tables.PATH_SEPARATOR)]
    assert {*images.cases["image_path"], *masks} <= set(images.files)
    assert lesions.files == sorted({*lesions.cases["image_path"], *lesions.cases["mask_path"]}) == images.files
    assert all((cohort / path).is_file() for path in lesions.files)


def test_descriptors_that_give_the_label_away_stay_out(lesions: Located, images: Located) -> None:
    assert set(lesions.cases.columns) == set(images.cases.columns) == set(tables.CASES.columns)
    assert not [name for name in tables.CASES.columns if re.search("calc|distribution|margin|shape", name)]


def test_the_number_of_workers_changes_nothing(cohort: Path, lesions: Located) -> None:
    same(locate(cohort, workers=4), lesions)


def test_locating_changes_no_file(root: Path, cohort: Path) -> None:
    locate(root)
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    assert len(files) == sum(path.is_file() for path in cohort.rglob("*"))
    assert all((root / path).read_bytes() == (cohort / path).read_bytes() for path in files)


# What must not matter


def swap_columns(root: Path) -> None:
    change_rows(root, lambda row: row | {CROP: row[MASK], MASK: row[CROP]})


def name_the_series_twice(root: Path) -> None:
    """Where crop and mask share a series, one cell names it and the other names nothing that exists."""
    change_rows(
        root, lambda row: row | ({CROP: "a/b/c/0.dcm"} if series(root, row[CROP]) == series(root, row[MASK]) else {})
    )


def lose_descriptions(root: Path) -> None:
    (root / "csv" / "dicom_info.csv").unlink()
    (root / "csv" / "meta.csv").unlink()


def end_lines_as_unix_does(root: Path) -> None:
    for path in csv_paths(root):
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))


def end_all_lines_as_windows_does(root: Path) -> None:
    end_lines_as_unix_does(root)
    for path in csv_paths(root):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def add_byte_order_mark(root: Path) -> None:
    for path in csv_paths(root):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def pad_cells_and_names(root: Path) -> None:
    change_rows(root, lambda row: {f" {name} ": f" {cell}\n " for name, cell in row.items()})


def add_a_column(root: Path) -> None:
    change_rows(root, lambda row: {"note": "x", **row})


def litter(root: Path) -> None:
    (root / "jpeg" / "Thumbs.db").write_bytes(b"x")
    for folder in (root / "jpeg").iterdir():
        if folder.is_dir():
            (folder / ".DS_Store").write_bytes(b"x")


@pytest.mark.parametrize("unit", ["lesion", "image"])
@pytest.mark.parametrize(
    "harmless",
    [
        swap_columns,
        name_the_series_twice,
        lose_descriptions,
        end_lines_as_unix_does,
        end_all_lines_as_windows_does,
        add_byte_order_mark,
        pad_cells_and_names,
        add_a_column,
        litter,
    ],
)
def test_it_does_not_matter(
    root: Path, harmless: Callable[[Path], None], unit: str, request: pytest.FixtureRequest
) -> None:
    harmless(root)
    same(locate(root, unit), request.getfixturevalue(f"{unit}s"))


def test_swapped_file_names_still_give_the_mask(root: Path, lesions: Located) -> None:
    def contents(located: Located) -> list[str]:
        return [hashlib.sha256((root / path).read_bytes()).hexdigest() for path in located.cases["mask_path"]]

    before = contents(lesions)
    shared = [folder for folder in (root / "jpeg").iterdir() if len(list(folder.iterdir())) == 2]
    for folder in shared:
        one, other = folder.iterdir()
        name = one.name
        one.rename(folder / "moved.jpg")
        other.rename(folder / name)
        (folder / "moved.jpg").rename(folder / other.name)
    after = locate(root)
    assert len(shared) > 50
    assert contents(after) == before
    assert after.cases["mask_path"].tolist() != lesions.cases["mask_path"].tolist()


def test_a_mask_of_other_size_and_the_films_proportions_is_used(victim: Victim, lesions: Located) -> None:
    encode(victim.mask, cv2.resize(decode(victim.mask), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST))
    same(locate(victim.root), lesions)


def test_of_two_masks_the_one_in_the_films_size_is_used(victim: Victim, lesions: Located) -> None:
    larger = cv2.resize(decode(victim.mask), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    encode(victim.mask.with_name("3-000.jpg"), larger)
    same(locate(victim.root), lesions)


@pytest.mark.parametrize("cell", ["", "N/A", "2.5", "inf", "many"])
@pytest.mark.parametrize("column", ["assessment", "subtlety", "breast_density"])
def test_an_unreadable_reading_is_missing_and_its_row_stays(victim: Victim, column: str, cell: str) -> None:
    victim.rewrite(**{column: cell})
    located = locate(victim.root)
    case = located.cases.set_index("sample_id").loc[sample_id(victim.row)]
    assert located.excluded.empty
    assert pd.isna(case[{"assessment": "birads"}.get(column, column)])


def test_a_reading_of_zero_stays_zero(victim: Victim) -> None:
    victim.rewrite(breast_density="0", subtlety="0")
    case = locate(victim.root).cases.set_index("sample_id").loc[sample_id(victim.row)]
    assert (case["breast_density"], case["subtlety"]) == (0, 0)


# Rows that cannot be used

SPOILED: dict[str, tuple[Callable[[Victim], object], str]] = {
    "film's folder missing": (
        lambda v: shutil.rmtree(v.film.parent),
        r"^0 files for the film in jpeg/[\d.]+, expected 1",
    ),
    "film's folder empty": (lambda v: v.film.unlink(), "^0 files for the film"),
    "two films": (lambda v: shutil.copy(v.film, v.film.with_name("2.jpg")), "^2 files for the film"),
    "film's cell empty": (lambda v: v.rewrite(**{FILM: ""}), "^0 files for the film"),
    "film truncated": (lambda v: truncate(v.film), r"^jpeg/[\d.]+/[\d-]+\.jpg: truncated"),
    "film not an image": (lambda v: v.film.write_text("not found"), r"^jpeg/[\d.]+/[\d-]+\.jpg: not an image"),
    "film without content": (lambda v: v.film.write_bytes(b""), "not an image"),
    "mask missing": (lambda v: v.mask.unlink(), r"^0 masks \(1 files, 0 of them binary, film 128x\d+\) in jpeg/"),
    "mask and crop missing": (lambda v: [v.mask.unlink(), v.crop.unlink()], r"^0 masks \(0 files"),
    "mask empty": (lambda v: encode(v.mask, 0 * decode(v.mask)), "^mask .*jpg without foreground in jpeg/"),
    "mask of other proportions": (
        lambda v: encode(v.mask, cv2.resize(decode(v.mask), (128, 128), interpolation=cv2.INTER_NEAREST)),
        r"^0 masks \(2 files, 1 of them binary",
    ),
    "mask truncated": (lambda v: truncate(v.mask), "truncated"),
    "mask not an image": (lambda v: v.mask.write_text("not found"), "not an image"),
    "two masks": (lambda v: shutil.copy(v.mask, v.mask.with_name("3-000.jpg")), r"^2 masks \(3 files, 2 of them"),
    "crop truncated": (lambda v: truncate(v.crop), "truncated"),
    "unknown pathology": (
        lambda v: v.rewrite(pathology="malign"),
        r"^unknown pathology 'malign' \(valid: BENIGN_WITHOUT_CALLBACK, BENIGN, MALIGNANT\)$",
    ),
    "no pathology": (lambda v: v.rewrite(pathology=""), "^unknown pathology ''"),
    "unknown laterality": (
        lambda v: v.rewrite(**{"left or right breast": "L"}),
        r"^unknown laterality 'L' \(valid: LEFT, RIGHT\)$",
    ),
    "unknown view": (lambda v: v.rewrite(**{"image view": "LAT"}), r"^unknown view 'LAT' \(valid: CC, MLO\)$"),
}


@pytest.mark.parametrize("unit", ["lesion", "image"])
@pytest.mark.parametrize("name", SPOILED)
def test_a_row_that_cannot_be_used_is_excluded_with_its_reason_and_nothing_else_changes(
    victim: Victim, name: str, unit: str, request: pytest.FixtureRequest
) -> None:
    spoil, reason = SPOILED[name]
    spoil(victim)
    before: Located = request.getfixturevalue(f"{unit}s")
    located = locate(victim.root, unit)
    (excluded,) = located.excluded.to_dict("records")
    assert re.search(reason, excluded["reason"])
    assert str(victim.root) not in excluded["reason"]
    assert excluded["patient_id"] == victim.row["patient_id"]
    film = before.cases["image_path"] == victim.film.relative_to(victim.root).as_posix()
    assert film.sum() == 1
    same_rows(located.cases, before.cases[~film])
    assert set(before.files) - set(located.files) == {
        str(path.relative_to(victim.root)) for path in (victim.film, victim.mask)
    }


def test_a_duplicate_row_is_excluded_and_the_first_one_stays(victim: Victim, lesions: Located) -> None:
    victim.repeat()
    located = locate(victim.root)
    assert located.excluded["reason"].tolist() == ["duplicate of an earlier row"]
    same_rows(located.cases, lesions.cases)


def test_an_image_takes_the_most_suspicious_assessment_of_its_abnormalities(cohort: Path) -> None:
    lesions, images = (locate(cohort, unit=unit).cases for unit in ("lesion", "image"))
    rank = {birads: position for position, birads in enumerate(BIRADS_ORDER)}
    worst = lesions.assign(rank=lesions["birads"].map(rank)).groupby(["patient_id", "laterality", "view"])["rank"].max()
    found = images.set_index(["patient_id", "laterality", "view"])["birads"].map(rank)
    assert (found.sort_index() == worst.sort_index()).all()


def test_a_duplicate_row_does_not_cost_its_image(victim: Victim) -> None:
    before = locate(victim.root, unit="image")
    victim.repeat()
    same_rows(locate(victim.root, unit="image").cases, before.cases)


def test_a_cut_off_last_line_is_an_excluded_row(victim: Victim, lesions: Located) -> None:
    with victim.table.open("a", encoding="utf-8") as file:
        file.write("P_09999,3,LEFT\r\n")
    located = locate(victim.root)
    assert located.excluded["patient_id"].tolist() == ["P_09999"]
    same_rows(located.cases, lesions.cases)


# The image as unit


def malignant_by_view(rows: pd.DataFrame) -> pd.Series:
    return (rows["pathology"] == "MALIGNANT").groupby([rows[column] for column in VIEW]).any()


def test_an_image_is_malignant_exactly_if_any_of_its_abnormalities_is(cohort: Path, images: Located) -> None:
    expected = malignant_by_view(published(cohort))
    found = images.cases.set_index(VIEW)["label"].astype(bool)
    assert found.sort_index().to_dict() == expected.to_dict()
    assert len(found) == len(expected)


def test_the_cohort_has_images_with_mixed_labels(cohort: Path) -> None:
    rows = published(cohort)
    assert ((rows["pathology"] == "MALIGNANT").groupby([rows[column] for column in VIEW]).nunique() == 2).any()


def test_an_image_with_an_excluded_abnormality_is_excluded_whole(root: Path, lesions: Located, images: Located) -> None:
    of_several = images.cases[images.cases["abnormality_id"].str.contains(tables.PATH_SEPARATOR)].iloc[0]
    masks = of_several["mask_path"].split(tables.PATH_SEPARATOR)
    (root / masks[-1]).unlink()
    located = locate(root, "image")
    own = located.excluded["reason"].str.startswith("0 masks")
    assert own.sum() == 1
    assert located.excluded.loc[~own, "reason"].str.startswith("another abnormality of this image: 0 masks").all()
    assert len(located.excluded) == len(masks)
    kept = images.cases[images.cases["sample_id"] != of_several["sample_id"]]
    same_rows(located.cases, kept)
    assert len(locate(root).cases) == len(lesions.cases) - 1


def test_a_view_in_the_mass_and_the_calc_set_is_one_image_with_all_masks(cohort: Path, images: Located) -> None:
    rows = published(cohort)
    kinds = rows.groupby(VIEW)["kind"].nunique()
    shared = images.cases.set_index(VIEW).loc[kinds.index[kinds == 2]]
    assert len(shared) >= 1
    assert (shared["abnormality_type"] == "mass+calcification").all()
    for view, image in shared.iterrows():
        own = rows[(rows[VIEW] == list(view)).all(axis=1)]
        masks = image["mask_path"].split(tables.PATH_SEPARATOR)
        assert len(set(masks)) == len(own)
        assert image["abnormality_id"].count(tables.PATH_SEPARATOR) + 1 == len(own)
    assert images.cases.set_index(VIEW).index.is_unique


# A copy that is not as published


def mistype_pathology(root: Path) -> None:
    path = root / "csv" / cbis_ddsm.FILES["calcification", "test"]
    path.write_bytes(path.read_bytes().replace(b"pathology", b"patology", 1))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: shutil.rmtree(root / "jpeg"), ["not the Kaggle copy", "jpeg/ missing", "ingest.root"]),
        (lambda root: shutil.rmtree(root / "csv"), [f"csv/{name}" for name in cbis_ddsm.FILES.values()]),
        (shutil.rmtree, ["not the Kaggle copy", "jpeg/"]),
        (
            lambda root: (root / "csv" / "calc_case_description_test_set.csv").unlink(),
            ["csv/calc_case_description_test_set.csv missing", "ingest.abnormality_types"],
        ),
        (mistype_pathology, ["calc_case_description_test_set.csv", "column(s) pathology missing", "patology"]),
        (
            lambda root: csv_paths(root)[0].write_bytes(b""),
            ["mass_case_description_train_set.csv", "is not a CSV table"],
        ),
        (
            lambda root: csv_paths(root)[1].write_bytes(b"patient_id\xff\n1\n"),
            ["mass_case_description_test_set.csv", "is not a CSV table"],
        ),
        (
            lambda root: [path.write_bytes(path.read_bytes().splitlines()[0]) for path in csv_paths(root)],
            ["mass_case_description_train_set.csv", "no rows"],
        ),
        (
            lambda root: change_rows(root, lambda row: row | {"pathology": "?"}),
            ["none of the 78 rows is usable", "unknown pathology '?'"],
        ),
    ],
)
def test_a_copy_that_is_not_as_published_is_refused_by_name(
    root: Path, spoil: Callable[[Path], object], told: list[str]
) -> None:
    spoil(root)
    with pytest.raises(DatasetError) as error:
        locate(root)
    assert str(root) in str(error.value)
    assert [part for part in told if part not in str(error.value)] == []


def test_only_the_tables_of_the_wanted_types_are_needed(root: Path, lesions: Located) -> None:
    for split in SPLIT_NAMES:
        (root / "csv" / cbis_ddsm.FILES["calcification", split]).unlink()
    masses = lesions.cases[lesions.cases["abnormality_type"] == "mass"]
    same_rows(locate(root, types=["mass"]).cases, masses)


# Real mammograms


@pytest.fixture(scope="module")
def real(real_root: Path) -> Located:
    """All four tables; the copy holds no image of the calcification set."""
    return locate(real_root, workers=2)


def test_every_real_mass_row_is_a_case(real: Located) -> None:
    assert set(real.cases["abnormality_type"]) == {"mass"}
    assert set(real.excluded["abnormality_type"]) == {"calcification"}
    assert real.cases["official_split"].value_counts().to_dict() == {"train": 1318, "test": 378}


def test_every_real_row_without_a_film_is_told(real: Located) -> None:
    assert real.excluded["official_split"].value_counts().to_dict() == {"train": 1546, "test": 326}
    assert real.excluded["reason"].str.startswith("0 files for the film").all()


def test_real_counts_are_the_published_ones(real: Located) -> None:
    test = real.cases[real.cases["official_split"] == "test"]
    train = real.cases[real.cases["official_split"] == "train"]
    assert (len(test), test["label"].sum()) == (378, 147)
    assert (train["patient_id"].nunique(), test["patient_id"].nunique()) == (691, 201)


def test_real_masks_have_their_films_shape_and_mark_a_lesion(real: Located, real_root: Path) -> None:
    for case in real.cases.iloc[::100].itertuples():
        film = pixels.shape(real_root / case.image_path)
        assert 0 < pixels.read_mask(real_root / case.mask_path, film).mean() < 0.5


def test_the_real_mass_set_has_1592_images(real_root: Path) -> None:
    located = locate(real_root, "image", ["mass"], workers=2)
    assert located.excluded.empty
    assert located.cases["official_split"].value_counts().to_dict() == {"train": 1231, "test": 361}
    rows = published(real_root)
    expected = malignant_by_view(rows[rows["kind"] == "mass"])
    assert located.cases.set_index(VIEW)["label"].astype(bool).to_dict() == expected.to_dict()
