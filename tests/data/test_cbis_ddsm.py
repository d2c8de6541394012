"""CBIS-DDSM: every published row is a case or an excluded row with its reason; the pitfalls of docs and data."""

import csv
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from mammo.core import schemas
from mammo.core.schemas import BIRADS_ORDER, PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data.datasets import DatasetError, Located, assert_full, cbis_ddsm
from mammo.data.datasets.cbis_ddsm import tables
from mammo.data.images import io
from tests import cbis_layouts
from tests.cbis_layouts import Origins

TYPES = ["mass", "calcification"]
UNITS = ["lesion", "image", "breast"]
FILM, CROP, MASK = "image file path", "cropped image file path", "ROI mask file path"
VIEW = ["patient_id", "laterality", "view"]
BREAST = VIEW[:2]
SET_NAMES = {"mass": "Mass", "calcification": "Calc"}
SPLIT_NAMES = {"train": "Training", "test": "Test"}
Row = dict[str, str]


def locate(root: Path, unit: str = "lesion", types: list[str] = TYPES, workers: int = 1) -> Located:
    return cbis_ddsm.locate(root, unit, types, workers)


def same_rows(first: pd.DataFrame, second: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(first.reset_index(drop=True), second.reset_index(drop=True))


def same(first: Located, second: Located) -> None:
    same_rows(first.cases, second.cases)
    same_rows(first.excluded, second.excluded)
    assert first.files == second.files


def csv_paths(root: Path) -> list[Path]:
    return [root / "csv" / name for name in tables.FILES.values()]


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
        for (kind, split), name in tables.FILES.items()
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
        return self.root / "csv" / tables.FILES["mass", "train"]

    def rewrite(self, **cells: str) -> None:
        write_rows(self.table, [row | cells if row == self.row else row for row in read_rows(self.table)])

    def repeat(self) -> None:
        write_rows(self.table, [*read_rows(self.table), self.row])


@dataclass(frozen=True)
class Tree:
    """The cohort in another layout, and where its files come from."""

    root: Path
    origins: Origins

    def origins_of(self, cases: pd.DataFrame) -> dict[str, pd.Series]:
        """The path columns of `cases` as the JPEG tree would have them."""
        return {column: cases[column].map(self._original) for column in ("image_path", "mask_path")}

    def _original(self, cell: str) -> str:
        return re.sub(rf"[^{PATH_SEPARATOR}{VIEW_SEPARATOR}]+", lambda path: self.origins[path[0]], cell)


@pytest.fixture(scope="module")
def lesions(cohort: Path) -> Located:
    return locate(cohort)


@pytest.fixture(scope="module")
def images(cohort: Path) -> Located:
    return locate(cohort, "image")


@pytest.fixture(scope="module")
def breasts(cohort: Path) -> Located:
    return locate(cohort, "breast")


@pytest.fixture
def root(cohort: Path, tmp_path: Path) -> Path:
    """A copy of the cohort, to spoil."""
    return shutil.copytree(cohort, tmp_path / "copy")


@pytest.fixture
def victim(root: Path, lesions: Located) -> Victim:
    in_view = published(root).groupby(VIEW)[FILM].transform("size")
    mass_train = read_rows(root / "csv" / tables.FILES["mass", "train"])
    row = next(row for number, row in enumerate(mass_train) if in_view[number] == 1)
    case = lesions.cases.set_index("sample_id").loc[sample_id(row)]
    mask = root / case["mask_path"]
    (crop,) = {file for cell in (row[CROP], row[MASK]) for file in series(root, cell).iterdir()} - {mask}
    return Victim(root, row, root / case["image_path"], mask, crop)


def sample_id(row: Row) -> str:
    keys = ("patient_id", "left or right breast", "image view", "abnormality id", "abnormality type")
    return "_".join(row[key] for key in keys)


# Every row is accounted for


@pytest.mark.parametrize("unit", UNITS)
def test_cases_and_excluded_rows_add_up_to_the_published_rows(cohort: Path, unit: str) -> None:
    located = locate(cohort, unit)
    abnormalities = located.cases["abnormality_id"].str.count(PATH_SEPARATOR) + 1
    assert abnormalities.sum() + len(located.excluded) == len(published(cohort))
    assert located.excluded.empty


@pytest.mark.parametrize("unit", UNITS)
def test_both_tables_keep_their_contract(victim: Victim, unit: str) -> None:
    victim.rewrite(pathology="UNPROVEN")
    located = locate(victim.root, unit)
    schemas.check_table(located.cases, schemas.CASES, "cases")
    schemas.check_table(located.excluded, schemas.EXCLUDED, "excluded")


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


def test_the_patient_is_not_the_patient_id_of_a_dicom_header(lesions: Located) -> None:
    assert lesions.cases["patient_id"].str.fullmatch(r"P_\d{5}").all()


def made_for(cohort: Path) -> pd.DataFrame:
    """dicom_info.csv by the file's path; the reader never opens it."""
    listed = pd.read_csv(cohort / "csv" / "dicom_info.csv")
    return listed.set_index(listed["image_path"].str.removeprefix("CBIS-DDSM/"))


def test_each_case_has_the_film_and_the_mask_that_were_made_for_it(cohort: Path, lesions: Located) -> None:
    files = made_for(cohort)
    for case in lesions.cases.itertuples():
        kind, split = SET_NAMES[case.abnormality_type], SPLIT_NAMES[case.official_split]
        film = f"{kind}-{split}_{case.patient_id}_{case.laterality}_{case.view}"
        assert files.loc[case.image_path, "PatientID"] == film
        assert files.loc[case.mask_path, "PatientID"] == f"{film}_{case.abnormality_id}"
        assert files.loc[case.mask_path, "BitsAllocated"] == 16  # in the cohort only crops have 8


def test_a_mask_is_black_and_white_and_a_film_is_not(cohort: Path, lesions: Located) -> None:
    for case in lesions.cases.itertuples():
        film, mask = decode(cohort / case.image_path), decode(cohort / case.mask_path)
        assert film.shape == mask.shape
        assert np.isin(mask, [*range(32), *range(224, 256)]).mean() > 0.98
        assert len(np.unique(film)) > 64


def test_files_are_all_that_the_cases_rest_on_and_exist(cohort: Path, images: Located, lesions: Located) -> None:
    masks = [path for cell in images.cases["mask_path"] for path in cell.split(PATH_SEPARATOR)]
    assert {*images.cases["image_path"], *masks} <= set(images.files)
    assert lesions.files == sorted({*lesions.cases["image_path"], *lesions.cases["mask_path"]}) == images.files
    assert all((cohort / path).is_file() for path in lesions.files)


def test_descriptors_stay_out_because_a_missing_calc_distribution_gives_the_label_away(
    cohort: Path, lesions: Located, images: Located, breasts: Located
) -> None:
    for located in (lesions, images, breasts):
        assert set(located.cases.columns) == set(schemas.CASES.columns)
    assert not [name for name in schemas.CASES.columns if re.search("calc|distribution|margin|shape", name)]
    rows = published(cohort)
    words = {*rows["calc distribution"].dropna(), *rows["mass margins"].dropna(), *rows["mass shape"].dropna()}
    assert words.isdisjoint({str(cell) for column in lesions.cases for cell in lesions.cases[column]})


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
    """Where crop and mask share a series, one cell names it and the other one that is not there."""
    change_rows(
        root,
        lambda row: (
            row | ({CROP: f"1.{row[CROP].split('/')[-2]}/0.dcm"} if row[CROP].split("/")[-2] in row[MASK] else {})
        ),
    )


def lose_descriptions(root: Path) -> None:
    (root / "csv" / "dicom_info.csv").unlink()
    (root / "csv" / "meta.csv").unlink()


def move_tables_to_the_root(root: Path) -> None:
    for path in csv_paths(root):
        path.rename(root / path.name)


def name_folder_of_tables_otherwise(root: Path) -> None:
    (root / "csv").rename(root / "descriptions")


def keep_tables_twice(root: Path) -> None:
    for path in csv_paths(root):
        shutil.copy(path, root)


def link_to_the_root(root: Path) -> None:
    """A link that leads back up."""
    (root / "jpeg" / "again").symlink_to(root)


def link_the_images(root: Path) -> None:
    """The images lie elsewhere."""
    (root / "jpeg").rename(root.parent / "elsewhere")
    (root / "jpeg").symlink_to(root.parent / "elsewhere")


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
    shutil.copytree(root / "jpeg", root / "jpeg" / ".Trash-1000")
    (root / "jpeg" / "Thumbs.db").write_bytes(b"x")
    for folder in (root / "jpeg").iterdir():
        if folder.is_dir() and folder.name != ".Trash-1000":
            (folder / ".DS_Store").write_bytes(b"x")
            for file in [*folder.iterdir()]:
                file.with_name(f"._{file.name}").write_bytes(b"Mac OS X")


@pytest.mark.parametrize("unit", ["lesion", "breast"])
@pytest.mark.parametrize(
    "harmless",
    [
        swap_columns,
        name_the_series_twice,
        lose_descriptions,
        move_tables_to_the_root,
        name_folder_of_tables_otherwise,
        keep_tables_twice,
        link_to_the_root,
        link_the_images,
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
        first, second = folder.iterdir()
        name = first.name
        first.rename(folder / "moved.jpg")
        second.rename(folder / name)
        (folder / "moved.jpg").rename(folder / second.name)
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


@pytest.mark.parametrize("cell", ["", "N/A", "nan"])
@pytest.mark.parametrize("column", ["assessment", "subtlety", "breast_density"])
def test_a_reading_that_was_not_made_is_missing_and_its_row_stays(victim: Victim, column: str, cell: str) -> None:
    victim.rewrite(**{column: cell})
    located = locate(victim.root)
    case = located.cases.set_index("sample_id").loc[sample_id(victim.row)]
    assert located.excluded.empty
    assert pd.isna(case[{"assessment": "birads"}.get(column, column)])


def test_a_number_as_spreadsheets_write_it_is_the_number(victim: Victim, lesions: Located) -> None:
    victim.rewrite(**{"abnormality id": "1.0", "assessment": f"{victim.row['assessment']}.0"})
    same(locate(victim.root), lesions)


def test_a_reading_of_zero_stays_zero(victim: Victim) -> None:
    victim.rewrite(breast_density="0", subtlety="0")
    case = locate(victim.root).cases.set_index("sample_id").loc[sample_id(victim.row)]
    assert (case["breast_density"], case["subtlety"]) == (0, 0)


# Rows that cannot be used

FILE = r"^jpeg/[\d.]+/[\d-]+\.jpg: "
SPOILED: dict[str, tuple[Callable[[Victim], object], str]] = {
    "film's folder missing": (
        lambda v: shutil.rmtree(v.film.parent),
        r"^0 files for the film in series [\d.]+ / Mass-Training_P_\d{5}_[A-Z]+_[A-Z]+, expected 1$",
    ),
    "film's folder empty": (lambda v: v.film.unlink(), "^0 files for the film"),
    "film's name taken by a folder": (lambda v: [v.film.unlink(), v.film.mkdir()], "^0 files for the film"),
    "two films": (lambda v: shutil.copy(v.film, v.film.with_name("2.jpg")), "^2 files for the film"),
    "film's cell empty": (
        lambda v: v.rewrite(**{FILM: ""}),
        "^the path of its film names neither a series nor a case folder: ''$",
    ),
    "crop's cell nonsense": (
        lambda v: v.rewrite(**{CROP: "NONSENSE"}),
        "^the path of its crop names neither a series nor a case folder: 'NONSENSE'$",
    ),
    "mask's cell empty": (lambda v: v.rewrite(**{MASK: ""}), "^the path of its mask names neither"),
    "film truncated": (lambda v: truncate(v.film), FILE + "truncated"),
    "film not an image": (lambda v: v.film.write_text("not found"), FILE + "not an image"),
    "film without content": (lambda v: v.film.write_bytes(b""), FILE + "not an image"),
    "film a link to nothing": (lambda v: [v.film.unlink(), v.film.symlink_to("gone.jpg")], FILE + "cannot be read"),
    "film a pipe": (lambda v: [v.film.unlink(), os.mkfifo(v.film)], "^0 files for the film"),  # would be read forever
    "film in colour": (lambda v: encode(v.film, coloured(v.film)), FILE + "a colour image"),
    "film tiny": (lambda v: encode(v.film, decode(v.film)[:20, :20]), FILE + "20x20 px; a film has at least 32"),
    "film blank": (lambda v: encode(v.film, 0 * decode(v.film)), FILE + "a blank film"),
    "mask missing": (
        lambda v: v.mask.unlink(),
        r"^0 masks of the film's proportions 128x\d+, expected 1: 0 of 1 files are black and white$",
    ),
    "mask and crop missing": (
        lambda v: [v.mask.unlink(), v.crop.unlink()],
        r"^no files for crop and mask in series [\d.]+ / Mass-Training_P_\d{5}_[A-Z]+_[A-Z]+_\d",
    ),
    "mask empty": (lambda v: encode(v.mask, 0 * decode(v.mask)), FILE + "a mask without foreground$"),
    "mask of other proportions": (
        lambda v: encode(v.mask, cv2.resize(decode(v.mask), (128, 128), interpolation=cv2.INTER_NEAREST)),
        r"^0 masks of .* 1 of 2 files are black and white, [\d-]+\.jpg 128x128$",
    ),
    "mask truncated": (lambda v: truncate(v.mask), FILE + "truncated"),
    "mask not an image": (lambda v: v.mask.write_text("not found"), FILE + "not an image"),
    "mask in colour": (lambda v: encode(v.mask, coloured(v.mask)), FILE + "a colour image"),
    "two masks": (
        lambda v: shutil.copy(v.mask, v.mask.with_name("3-000.jpg")),
        "^2 masks of .* 2 of 3 files are black and white",
    ),
    "crop truncated": (lambda v: truncate(v.crop), FILE + ".*[Tt]runcated"),
    "unknown pathology": (
        lambda v: v.rewrite(pathology="malign"),
        r"^unknown pathology 'malign' \(valid: BENIGN_WITHOUT_CALLBACK, BENIGN, MALIGNANT\)$",
    ),
    "no pathology": (lambda v: v.rewrite(pathology=""), "^unknown pathology ''"),
    "unknown laterality": (
        lambda v: v.rewrite(**{"left or right breast": "L"}),
        r"^unknown left or right breast 'L' \(valid: LEFT, RIGHT\)$",
    ),
    "unknown view": (lambda v: v.rewrite(**{"image view": "LAT"}), r"^unknown image view 'LAT' \(valid: CC, MLO\)$"),
    "unknown type": (lambda v: v.rewrite(**{"abnormality type": "cyst"}), r"^unknown abnormality type 'cyst'"),
    "type of the other table": (
        lambda v: v.rewrite(**{"abnormality type": "calcification"}),
        r"^unknown abnormality type 'calcification' \(valid: mass\)$",
    ),
    "abnormality without a number": (lambda v: v.rewrite(**{"abnormality id": "a;b"}), "^unknown abnormality id 'a;b'"),
    "assessment out of range": (lambda v: v.rewrite(assessment="7"), r"^unknown assessment 7 \(valid: 0 to 6\)$"),
    "density out of range": (lambda v: v.rewrite(breast_density="5"), r"^unknown breast_density 5 \(valid: 0 to 4\)$"),
    "subtlety out of range": (lambda v: v.rewrite(subtlety="-1"), r"^unknown subtlety -1 \(valid: 0 to 5\)$"),
    "assessment no number": (
        lambda v: v.rewrite(assessment="many"),
        r"^unknown assessment 'many' \(valid: a whole number, or empty or N/A where there is none\)$",
    ),
    "density a formula": (lambda v: v.rewrite(breast_density="=1"), "^unknown breast_density '=1'"),
    "subtlety a half": (lambda v: v.rewrite(subtlety="2.5"), "^unknown subtlety '2.5'"),
    "assessment in powers": (lambda v: v.rewrite(assessment="1e9"), "^unknown assessment '1e9'"),
    "film's path of another patient": (
        lambda v: v.rewrite(**{FILM: re.sub(r"P_\d{5}", "P_99999", v.row[FILM])}),
        r"^the row is of Mass-Training_P_\d{5}_[A-Z]+_[A-Z]+, its path of Mass-Training_P_99999_[A-Z]+_[A-Z]+$",
    ),
    "mask's path of another abnormality": (
        lambda v: v.rewrite(**{MASK: re.sub(r"_\d/", "_9/", v.row[MASK], count=1)}),
        r"^the row is of \S+_1, its path of \S+_9$",
    ),
}


def coloured(path: Path) -> np.ndarray:
    grey = decode(path)
    return np.dstack([grey, np.full_like(grey, 128), 255 - grey])


def breast_of(row: Row) -> list[str]:
    return [row["patient_id"], row["left or right breast"]]


@pytest.mark.parametrize("name", SPOILED)
def test_a_row_that_cannot_be_used_is_excluded_with_its_reason_and_nothing_else_changes(
    victim: Victim, name: str, lesions: Located
) -> None:
    spoil, reason = SPOILED[name]
    spoil(victim)
    located = locate(victim.root)
    (excluded,) = located.excluded.to_dict("records")
    assert re.search(reason, excluded["reason"])
    assert str(victim.root) not in excluded["reason"]
    assert excluded["patient_id"] == victim.row["patient_id"]
    film = lesions.cases["image_path"] == victim.film.relative_to(victim.root).as_posix()
    assert film.sum() == 1
    same_rows(located.cases, lesions.cases[~film])
    assert set(lesions.files) - set(located.files) == {
        str(path.relative_to(victim.root)) for path in (victim.film, victim.mask)
    }


@pytest.mark.parametrize(("unit", "key"), [("image", VIEW), ("breast", BREAST)])
@pytest.mark.parametrize("name", ["film truncated", "mask missing", "no pathology", "film's folder missing"])
def test_an_image_or_a_breast_with_an_unusable_row_is_excluded_whole(
    victim: Victim, name: str, unit: str, key: list[str], request: pytest.FixtureRequest
) -> None:
    before: Located = request.getfixturevalue(f"{unit}s")
    SPOILED[name][0](victim)
    located = locate(victim.root, unit)
    own_key = [*breast_of(victim.row), victim.row["image view"]][: len(key)]
    hit = (before.cases[key] == own_key).all(axis=1)
    assert hit.sum() == 1
    same_rows(located.cases, before.cases[~hit])
    assert (located.excluded[key] == own_key).all(axis=None)
    assert len(located.excluded) == before.cases.loc[hit, "abnormality_id"].item().count(PATH_SEPARATOR) + 1
    own = located.excluded["reason"].str.contains(SPOILED[name][1])
    assert own.sum() == 1
    because = located.excluded.loc[~own, "reason"].str.removeprefix(f"another abnormality of this {unit}: ")
    assert (because == located.excluded.loc[own, "reason"].item()).all()


@pytest.mark.parametrize("unit", UNITS)
def test_a_patient_without_a_proper_name_is_excluded(victim: Victim, unit: str) -> None:
    victim.rewrite(patient_id="P 1")
    reasons = locate(victim.root, unit).excluded.set_index("patient_id")["reason"]
    assert reasons["P 1"] == "unknown patient_id 'P 1' (valid: P_ and five digits)"


@pytest.mark.parametrize("cells", [13, 15])
def test_a_row_with_missing_or_surplus_cells_is_excluded(victim: Victim, lesions: Located, cells: int) -> None:
    rows = read_rows(victim.table)
    with victim.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        for row in rows:
            values = list(row.values())
            writer.writerow([*values, "surplus"][:cells] if row == victim.row else values)
    located = locate(victim.root)
    assert located.excluded["reason"].tolist() == [f"the row has {cells} cells, the table 14 columns"]
    same_rows(located.cases, lesions.cases[lesions.cases["sample_id"] != sample_id(victim.row)])


def test_the_reason_names_a_folder_that_cannot_be_listed(
    victim: Victim, lesions: Located, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_listing(monkeypatch, victim.film.parent)
    (excluded,) = locate(victim.root).excluded.to_dict("records")
    folder = victim.film.parent.relative_to(victim.root).as_posix()
    assert excluded["reason"].endswith(f"; 1 folder(s) cannot be read: {folder} (Permission denied)")


def test_a_copy_whose_images_cannot_be_listed_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_listing(monkeypatch, root / "jpeg")
    with pytest.raises(DatasetError, match=r"no images.*cannot be read: jpeg \(Permission denied\)"):
        locate(root)


def refuse_listing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As for a folder without the right to read it, also where the tests run with all rights."""
    scandir = os.scandir

    def refusing(path: str | os.PathLike[str] = ".") -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


def test_a_film_that_two_views_claim_is_of_neither(victim: Victim, lesions: Located) -> None:
    others = [row for row in read_rows(victim.table) if row[FILM] != victim.row[FILM]]
    series_only = "/".join(others[0][FILM].split("/")[1:])
    victim.rewrite(**{FILM: series_only})
    height, width = decode(next(series(victim.root, others[0][FILM]).iterdir())).shape
    encode(victim.mask, cv2.resize(decode(victim.mask), (width, height), interpolation=cv2.INTER_NEAREST))
    located = locate(victim.root)
    claimed = [row for row in read_rows(victim.table) if series_only in row[FILM]]
    assert set(located.excluded["reason"]) == {"the series of its film is also that of another view"}
    assert len(located.excluded) == len(claimed)
    lost = {sample_id(row) for row in claimed}
    same_rows(located.cases, lesions.cases[~lesions.cases["sample_id"].isin(lost)])


def test_a_mask_that_two_abnormalities_claim_is_of_neither(victim: Victim) -> None:
    second = next(row for row in read_rows(victim.table) if row != victim.row)
    cells = {name: "/".join(second[name].split("/")[1:]) for name in (CROP, MASK)}
    victim.rewrite(**cells)
    encode(victim.film, decode(next(series(victim.root, second[FILM]).iterdir())))
    located = locate(victim.root)
    assert (
        located.excluded["reason"].tolist()
        == ["the series of its crop or mask is also that of another abnormality"] * 2
    )


@pytest.mark.parametrize("column", [CROP, MASK])
def test_a_series_of_another_abnormality_in_one_cell_is_of_neither(
    victim: Victim, lesions: Located, column: str
) -> None:
    """Also where the films differ in shape, so that the files alone would leave one mask to choose."""
    second = next(row for row in read_rows(victim.table) if row[FILM] != victim.row[FILM])
    victim.rewrite(**{column: "/".join(second[column].split("/")[1:])})
    located = locate(victim.root)
    assert set(located.excluded["reason"]) == {"the series of its crop or mask is also that of another abnormality"}
    assert {sample_id(victim.row), sample_id(second)} == set(lesions.cases["sample_id"]) - set(
        located.cases["sample_id"]
    )


def test_rows_that_exchanged_all_their_files_are_told_by_the_files(victim: Victim, lesions: Located) -> None:
    """Film, mask and crop fit each other: only what the files say of themselves tells that the label is another's."""
    rows = read_rows(victim.table)
    alone = [row for row in rows if sum(row[FILM] == other[FILM] for other in rows) == 1]
    second = next(row for row in alone if row["patient_id"] != victim.row["patient_id"])

    def of(row: Row, files: Row) -> Row:
        return row | {name: f"{row[name].split('/')[0]}/{files[name].split('/', 1)[1]}" for name in (FILM, CROP, MASK)}

    exchanged = {sample_id(victim.row): of(victim.row, second), sample_id(second): of(second, victim.row)}
    write_rows(victim.table, [exchanged.get(sample_id(row), row) for row in read_rows(victim.table)])
    located = locate(victim.root)
    assert set(lesions.cases["sample_id"]) - set(located.cases["sample_id"]) == set(exchanged)
    assert located.excluded["reason"].str.contains(r"^the row is of \S+, the files of series \S+ say \S+$").all()
    (victim.root / "csv" / "dicom_info.csv").unlink()
    assert locate(victim.root).excluded.empty  # nothing is left to tell by


@pytest.mark.parametrize("what", ["film", "mask", "crop"])
def test_a_file_that_two_rows_share_is_of_neither(what: str) -> None:
    """Where the rows name no series, the files tell."""
    rows = pd.DataFrame(
        {
            "patient_id": ["P_1", "P_2"],
            "laterality": "LEFT",
            "view": "CC",
            "image_path": ["a", "a" if what == "film" else "b"],
            "mask_path": ["c", "c" if what == "mask" else "d"],
            "crop_path": ["e", "e" if what == "crop" else "f"],
            "reason": "",
        }
    )
    (reason,) = set(cbis_ddsm._shared_files(rows))
    assert reason == f"its {what} is also that of another {'view' if what == 'film' else 'abnormality'}"


@pytest.mark.parametrize("name", ["a;b", "a|b", "a\tb"])
def test_a_path_that_the_tables_cannot_hold_is_told(victim: Victim, name: str) -> None:
    place = victim.root / name
    place.mkdir()
    victim.film.parent.rename(place / victim.film.parent.name)
    (excluded,) = locate(victim.root).excluded.to_dict("records")
    assert re.search(r"^'a.*: the tables cannot hold this path; rename it", excluded["reason"])


def test_of_rows_that_contradict_each_other_none_is_used(victim: Victim, lesions: Located) -> None:
    second = "BENIGN" if victim.row["pathology"] == "MALIGNANT" else "MALIGNANT"
    write_rows(victim.table, [*read_rows(victim.table), victim.row | {"pathology": second}])
    located = locate(victim.root)
    assert located.excluded["reason"].tolist() == ["another row describes the same abnormality differently"] * 2
    same_rows(located.cases, lesions.cases[lesions.cases["sample_id"] != sample_id(victim.row)])


def test_a_duplicate_row_is_excluded_and_the_first_one_stays(victim: Victim, lesions: Located) -> None:
    victim.repeat()
    located = locate(victim.root)
    assert located.excluded["reason"].tolist() == ["duplicate of an earlier row"]
    same_rows(located.cases, lesions.cases)


def test_an_image_takes_the_most_suspicious_assessment_of_its_abnormalities(cohort: Path) -> None:
    lesions, images = (locate(cohort, unit=unit).cases for unit in ("lesion", "image"))
    rank = {birads: position for position, birads in enumerate(BIRADS_ORDER)}
    worst = lesions.assign(rank=lesions["birads"].map(rank)).groupby(["patient_id", "laterality", "view"])["rank"].max()
    result = images.set_index(["patient_id", "laterality", "view"])["birads"].map(rank)
    assert (result.sort_index() == worst.sort_index()).all()


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
    result = images.cases.set_index(VIEW)["label"].astype(bool)
    assert result.sort_index().to_dict() == expected.to_dict()
    assert len(result) == len(expected)


def test_the_cohort_has_images_with_mixed_labels(cohort: Path) -> None:
    rows = published(cohort)
    assert ((rows["pathology"] == "MALIGNANT").groupby([rows[column] for column in VIEW]).nunique() == 2).any()


def test_an_image_with_an_excluded_abnormality_is_excluded_whole(root: Path, lesions: Located, images: Located) -> None:
    of_several = images.cases[images.cases["abnormality_id"].str.contains(PATH_SEPARATOR)].iloc[0]
    masks = of_several["mask_path"].split(PATH_SEPARATOR)
    (root / masks[-1]).unlink()
    located = locate(root, "image")
    own = located.excluded["reason"].str.startswith("0 masks")
    assert own.sum() == 1
    assert located.excluded.loc[~own, "reason"].str.startswith("another abnormality of this image: 0 masks").all()
    assert len(located.excluded) == len(masks)
    remaining = images.cases[images.cases["sample_id"] != of_several["sample_id"]]
    same_rows(located.cases, remaining)
    assert len(locate(root).cases) == len(lesions.cases) - 1


def test_a_view_in_the_mass_and_the_calc_set_is_one_image_with_all_masks(cohort: Path, images: Located) -> None:
    rows = published(cohort)
    kinds = rows.groupby(VIEW)["kind"].nunique()
    shared = images.cases.set_index(VIEW).loc[kinds.index[kinds == 2]]
    assert len(shared) >= 1
    assert (shared["abnormality_type"] == "mass+calcification").all()
    for view, image in shared.iterrows():
        own = rows[(rows[VIEW] == list(view)).all(axis=1)]
        masks = image["mask_path"].split(PATH_SEPARATOR)
        assert len(set(masks)) == len(own)
        assert image["abnormality_id"].count(PATH_SEPARATOR) + 1 == len(own)
    assert images.cases.set_index(VIEW).index.is_unique


@pytest.mark.parametrize("column", ["left or right breast", "image view"])
def test_a_row_that_does_not_say_its_view_counts_against_the_film_it_is_of(
    root: Path, images: Located, column: str
) -> None:
    film = images.cases[images.cases["abnormality_id"] == "1;2"].iloc[0]
    series_uid = Path(film["image_path"]).parent.name
    change_rows(
        root, lambda row: row | ({column: "?"} if series_uid in row[FILM] and row["abnormality id"] == "2" else {})
    )
    located = locate(root, "image")
    assert len(located.excluded) == 2
    assert located.excluded["reason"].str.contains(f"unknown {column}").all()
    same_rows(located.cases, images.cases[images.cases["sample_id"] != film["sample_id"]])


def test_all_rows_of_a_breast_tell_the_one_reason(root: Path, breasts: Located) -> None:
    breast = breasts.cases[breasts.cases["abnormality_id"] == "1;2;1;2"].iloc[0]
    series_uid = Path(breast["image_path"].split(VIEW_SEPARATOR)[0]).parent.name
    change_rows(
        root, lambda row: row | ({"pathology": "?"} if series_uid in row[FILM] and row["abnormality id"] == "2" else {})
    )
    reasons = locate(root, "breast").excluded["reason"].tolist()
    (own,) = [reason for reason in reasons if reason.startswith("unknown pathology '?'")]
    assert sorted(reasons) == [f"another abnormality of this breast: {own}"] * 3 + [own]


@pytest.mark.parametrize("unit", ["image", "breast"])
def test_what_is_partly_in_the_official_test_is_test(root: Path, images: Located, unit: str) -> None:
    """As published: 29 views are in train with their masses and in test with their calcifications."""
    of_both = images.cases[images.cases["abnormality_type"] == "mass+calcification"].iloc[0]
    paths = [root / "csv" / tables.FILES["calcification", split] for split in ("train", "test")]
    train, test = (read_rows(path) for path in paths)
    moved = [row for row in train if breast_of(row) == of_both[BREAST].tolist()]
    write_rows(paths[0], [row for row in train if row not in moved])
    test += [{name: cell.replace("Calc-Training", "Calc-Test") for name, cell in row.items()} for row in moved]
    write_rows(paths[1], test)
    breast, headers = "_".join(of_both[BREAST]), root / "csv" / "dicom_info.csv"
    if headers.is_file():  # the files name their case as well
        headers.write_text(headers.read_text().replace(f"Calc-Training_{breast}_", f"Calc-Test_{breast}_"))
    located = locate(root, unit)
    hit = (located.cases[BREAST] == of_both[BREAST].tolist()).all(axis=1)
    assert moved
    assert located.excluded.empty
    assert set(located.cases.loc[hit, "official_split"]) == {"test"}


# The breast as unit


def test_a_breast_is_malignant_exactly_if_any_of_its_abnormalities_is(cohort: Path, breasts: Located) -> None:
    rows = published(cohort)
    expected = (rows["pathology"] == "MALIGNANT").groupby([rows[column] for column in BREAST]).any()
    result = breasts.cases.set_index(BREAST)["label"].astype(bool)
    assert result.sort_index().to_dict() == expected.to_dict()
    assert result.index.is_unique


def test_a_breast_is_named_by_patient_and_side(breasts: Located) -> None:
    assert breasts.cases["sample_id"].tolist() == breasts.cases[BREAST].agg("_".join, axis=1).tolist()


def test_a_breast_has_one_film_per_view_cc_first_and_may_lack_one(cohort: Path, breasts: Located) -> None:
    views = published(cohort).groupby(BREAST)["view"].agg(lambda column: VIEW_SEPARATOR.join(sorted(set(column))))
    assert breasts.cases.set_index(BREAST)["view"].to_dict() == views.to_dict()
    assert set(breasts.cases["view"]) == {"CC", "MLO", "CC|MLO"}
    files = made_for(cohort)
    for breast in breasts.cases.itertuples():
        films = [files.loc[path, "PatientID"] for path in breast.image_path.split(VIEW_SEPARATOR)]
        assert [film.split("_", 1)[1] for film in films] == [
            f"{breast.sample_id}_{view}" for view in breast.view.split(VIEW_SEPARATOR)
        ]


def test_the_masks_of_a_breast_stay_with_their_film(cohort: Path, breasts: Located) -> None:
    rows = published(cohort)
    files = made_for(cohort)
    for breast in breasts.cases.itertuples():
        groups = breast.mask_path.split(VIEW_SEPARATOR)
        for view, group in zip(breast.view.split(VIEW_SEPARATOR), groups, strict=True):
            own = rows[(rows[VIEW] == [breast.patient_id, breast.laterality, view]).all(axis=1)]
            cases = [files.loc[mask, "PatientID"] for mask in group.split(PATH_SEPARATOR)]
            assert sorted(cases) == sorted(own[MASK].str.split("/").str[0])


def test_a_breast_takes_the_worst_of_its_images(images: Located, breasts: Located) -> None:
    rank = {birads: position for position, birads in enumerate(BIRADS_ORDER)}
    of_breast = images.cases.assign(birads=images.cases["birads"].map(rank)).groupby(BREAST)
    result = breasts.cases.assign(birads=breasts.cases["birads"].map(rank)).set_index(BREAST)
    for column in ("birads", "subtlety", "breast_density", "label"):
        assert result[column].to_dict() == of_breast[column].max().to_dict()


# Other layouts


@pytest.fixture(scope="module", params=cbis_layouts.LAYOUTS, ids=lambda layout: layout.__name__)
def layout(request: pytest.FixtureRequest, cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("layout")
    return Tree(root, request.param(cohort, root))


@pytest.mark.parametrize("unit", ["lesion", "breast"])
def test_every_layout_gives_the_cases_of_the_jpeg_tree(layout: Tree, unit: str, request: pytest.FixtureRequest) -> None:
    expected: Located = request.getfixturevalue(f"{unit}s")
    located = locate(layout.root, unit, workers=2)
    same_rows(located.cases.assign(**layout.origins_of(located.cases)), expected.cases)
    assert located.excluded.empty
    assert located.counts == expected.counts


def test_every_layout_tells_a_damaged_file_and_loses_no_other_row(layout: Tree, lesions: Located) -> None:
    origin = lesions.cases["image_path"].iloc[0]
    film = next(path for path, known in layout.origins.items() if known == origin)
    content = (layout.root / film).read_bytes()
    affected = lesions.cases["image_path"] == origin
    (layout.root / film).write_bytes(content[: len(content) // 2])
    try:
        located = locate(layout.root)
    finally:
        (layout.root / film).write_bytes(content)
    assert located.excluded["reason"].str.contains(f"{film}: .*truncated").tolist() == [True] * affected.sum()
    assert len(located.cases) == (~affected).sum()


def test_two_formats_of_one_film_are_ambiguous_and_told(cohort: Path, tmp_path: Path) -> None:
    origins = cbis_layouts.idc(cohort, tmp_path)
    shutil.copytree(cohort / "jpeg", tmp_path / "jpeg")
    assert origins
    with pytest.raises(DatasetError, match="none of the 78 rows is usable; first reason: 2 files for the film"):
        locate(tmp_path)


def test_a_mask_beside_its_film_is_not_taken_for_a_second_film(cohort: Path, tmp_path: Path, lesions: Located) -> None:
    origins = cbis_layouts.case_folders(cohort, tmp_path)
    case = lesions.cases.iloc[0]
    new = {old: path for path, old in origins.items()}
    film, mask = tmp_path / new[case["image_path"]], tmp_path / new[case["mask_path"]]
    shutil.copy(mask, film.with_name("mask.png"))
    located = locate(tmp_path)
    assert located.excluded.empty
    assert located.cases["image_path"].iloc[0] == new[case["image_path"]]


def test_without_a_header_or_a_known_name_there_is_no_layout(cohort: Path, tmp_path: Path) -> None:
    cbis_layouts.copy_tables(cohort, tmp_path)
    for number, path in enumerate(sorted(cohort.glob("jpeg/*/*.jpg"))):
        shutil.copy(path, tmp_path / f"{number}.jpg")
    with pytest.raises(DatasetError, match="no images of CBIS-DDSM"):
        locate(tmp_path)


# Counts


def counted(rows: pd.DataFrame) -> dict[str, int]:
    """The counts of complete CSVs, whose films are all on disk."""
    malignant = rows["pathology"] == "MALIGNANT"
    train = rows["split"] == "train"
    return {
        "train rows": int(train.sum()),
        "test rows": int((~train).sum()),
        "malignant train rows": int((malignant & train).sum()),
        "malignant test rows": int((malignant & ~train).sum()),
        "patients": rows["patient_id"].nunique(),
        "train patients": rows.loc[train, "patient_id"].nunique(),
        "test patients": rows.loc[~train, "patient_id"].nunique(),
        "films": rows[FILM].nunique(),
        "views": len(rows.drop_duplicates(VIEW)),
    }


@pytest.mark.parametrize("unit", UNITS)
def test_counts_are_those_of_the_tables_and_files_whatever_the_unit(cohort: Path, unit: str) -> None:
    assert locate(cohort, unit).counts == counted(published(cohort))


def test_a_missing_film_shows_in_the_counts(victim: Victim, lesions: Located) -> None:
    victim.film.unlink()
    expected = lesions.counts | {"films": lesions.counts["films"] - 1, "views": lesions.counts["views"] - 1}
    assert locate(victim.root).counts == expected


def test_a_repeated_row_shows_in_the_counts(victim: Victim, lesions: Located) -> None:
    victim.repeat()
    assert locate(victim.root).counts["train rows"] == lesions.counts["train rows"] + 1


@pytest.mark.parametrize("types", [["mass"], ["calcification"], TYPES, TYPES[::-1]])
def test_the_published_counts_are_those_of_the_official_tables(real_root: Path, types: list[str]) -> None:
    rows = published(real_root)
    assert cbis_ddsm.published(types) == counted(rows[rows["kind"].isin(types)])


def test_the_published_counts_are_those_of_the_literature() -> None:
    """2,864 and 704 rows, 1,248 and 349 patients, 1,566 in all, 3,103 films, 276 malignant test rows."""
    counts = cbis_ddsm.published(TYPES)
    assert (counts["train rows"], counts["test rows"]) == (2864, 704)
    assert (counts["train patients"], counts["test patients"], counts["patients"]) == (1248, 349, 1566)
    assert (counts["films"], counts["views"], counts["malignant test rows"]) == (3103, 3032, 276)


# A copy that is not as published


def mistype_pathology(root: Path) -> None:
    path = root / "csv" / tables.FILES["calcification", "test"]
    path.write_bytes(path.read_bytes().replace(b"pathology", b"patology", 1))


def repeat_a_column(root: Path) -> None:
    path = root / "csv" / tables.FILES["calcification", "test"]
    path.write_bytes(path.read_bytes().replace(b"calc type", b"pathology", 1))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda root: shutil.rmtree(root / "jpeg"), ["no images of CBIS-DDSM", "jpeg/<", "ingest.root"]),
        (lambda root: shutil.rmtree(root / "csv"), ["no copy of CBIS-DDSM", *tables.FILES.values(), "ingest.root"]),
        (shutil.rmtree, ["no copy of CBIS-DDSM", *tables.FILES.values()]),
        (
            lambda root: (root / "csv" / "calc_case_description_test_set.csv").unlink(),
            ["calc_case_description_test_set.csv missing", "ingest.abnormality_types"],
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
            lambda root: csv_paths(root)[1].write_bytes(b"patient_id\0\n1\n"),
            ["mass_case_description_test_set.csv", "zero bytes"],
        ),
        (
            lambda root: csv_paths(root)[0].write_bytes(csv_paths(root)[0].read_bytes().replace(b'\n"', b"\n", 1)),
            ["mass_case_description_train_set.csv", "is not a CSV table"],
        ),
        (
            lambda root: csv_paths(root)[0].write_bytes(csv_paths(root)[0].read_bytes()[:-5]),
            ["mass_case_description_train_set.csv", "unexpected end of data"],
        ),
        (
            lambda root: change_rows(root, lambda row: row | {"pathology": row["pathology"] + "\nP_00001"}),
            ["in row 1 a cell goes over several lines", "rows are swallowed"],
        ),
        (repeat_a_column, ["calc_case_description_test_set.csv", "column(s) pathology more than once"]),
        (
            lambda root: (root / "mass_case_description_test_set.csv").write_text("patient_id\n"),
            ["csv/mass_case_description_test_set.csv and ", "differ"],
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
        (root / "csv" / tables.FILES["calcification", split]).unlink()
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


@pytest.fixture(scope="module")
def real_images(real_root: Path) -> Located:
    return locate(real_root, "image", ["mass"], workers=2)


def test_the_real_mass_set_is_the_full_one(real_images: Located) -> None:
    assert_full(real_images.counts, cbis_ddsm.published(["mass"]), "here")
    assert real_images.excluded.empty


def test_without_its_calcifications_the_real_set_is_not_full_and_the_numbers_are_named(real: Located) -> None:
    with pytest.raises(DatasetError, match=r"films: 1,592 instead of 3,103; views: 1,592 instead of 3,032\. "):
        assert_full(real.counts, cbis_ddsm.published(TYPES), "here")


def test_real_breasts_may_lack_a_view(real_root: Path) -> None:
    cases = locate(real_root, "breast", ["mass"], workers=2).cases
    rows = published(real_root)
    masses = rows[rows["kind"] == "mass"]
    both = masses.groupby(BREAST)["view"].nunique() == 2
    assert (cases["view"] == "CC|MLO").sum() == both.sum()
    assert len(cases) == len(both)


def test_real_masks_have_their_films_shape_and_mark_a_lesion(real: Located, real_root: Path) -> None:
    for case in real.cases.iloc[::100].itertuples():
        film = io.read_shape(real_root / case.image_path)
        assert 0 < io.read_mask(real_root / case.mask_path, film).mean() < 0.5


def test_the_real_mass_set_has_1592_images(real_images: Located, real_root: Path) -> None:
    assert real_images.cases["official_split"].value_counts().to_dict() == {"train": 1231, "test": 361}
    rows = published(real_root)
    expected = malignant_by_view(rows[rows["kind"] == "mass"])
    assert real_images.cases.set_index(VIEW)["label"].astype(bool).to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("4", 4),
        ("4.0", 4),
        ("4a", 4),
        ("4C", 4),
        ("99", 99),
        ("5a", None),
        ("4d", None),
        ("", None),
        ("N/A", None),
        ("a", None),
    ],
)
def test_a_reading_is_a_number_or_missing(cell: str, number: int | None) -> None:
    (reading,) = tables._whole_numbers(pd.Series([cell]))
    assert (None if pd.isna(reading) else int(reading)) == number
