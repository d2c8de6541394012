"""External data sets: the published layouts are read, and every published row is a case or has its reason."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.errors import InputError
from mammo.core.files import sha256
from mammo.data import datasets
from mammo.data.datasets import OUT_OF_SCOPE, Located, _annotations, _repeats
from mammo.data.datasets._annotations import Row
from mammo.data.images import io, preprocess
from mammo.evaluation import aggregation
from tests import external_fixtures as fixtures
from tests.dicoms import write_dicom
from tests.examples import examples

TYPES = ["mass", "calcification"]
PREPROCESS = load_config(Path(__file__).resolve().parents[2] / "params.yaml").preprocess
WRITERS = {
    "cmmd": fixtures.write_cmmd,
    "inbreast": fixtures.write_inbreast,
    "mini_mias": fixtures.write_mini_mias,
    "vindr": fixtures.write_vindr,
}
MARKING = ["inbreast", "mini_mias", "vindr"]
UNITS = [
    (name, unit) for name in WRITERS for unit in ("lesion", "image", "breast") if (name, unit) != ("cmmd", "lesion")
]
CELL = st.characters(codec="latin-1", min_codepoint=33, exclude_characters=";,'\"|")
TABLES = {"inbreast": "INbreast.csv", "mini_mias": "Info.txt", "vindr": "breast-level_annotations.csv"}
FIRST_FILM = {
    "cmmd": "*.dcm",
    "inbreast": "*20586908_*.dcm",
    "mini_mias": "mdb001.pgm",
    "vindr": "00cc.dicom",
}


@dataclass(frozen=True)
class Copy:
    """A synthetic copy of a data set and what was planted in it."""

    name: str
    root: Path
    planted: fixtures.Planted

    def locate(self, unit: str = "image", types: list[str] = TYPES, workers: int = 1) -> Located:
        return datasets.load_dataset(self.name).locate(self.root, unit, types, workers)

    def film(self) -> Path:
        return sorted(self.root.rglob(FIRST_FILM[self.name]))[0]

    def edit(self, table: str, change: Callable[[str], str]) -> None:
        text = (self.root / table).read_text(encoding="latin-1")
        changed = change(text)
        assert changed != text
        (self.root / table).write_text(changed, encoding="latin-1")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Copy]:
    roots = {name: tmp_path_factory.mktemp(name) for name in WRITERS}
    return {name: Copy(name, root, WRITERS[name](root)) for name, root in roots.items()}


@pytest.fixture
def copy_of(originals: dict[str, Copy], tmp_path: Path) -> Callable[[str], Copy]:
    """A data set to spoil."""

    def copied(name: str) -> Copy:
        return Copy(name, shutil.copytree(originals[name].root, tmp_path / name), originals[name].planted)

    return copied


def rows_of(located: Located) -> int:
    """Published rows behind the cases and the excluded rows."""
    findings = located.cases["abnormality_id"].str.count(schemas.PATH_SEPARATOR) + 1
    return int(findings.sum()) + len(located.excluded)


def unusable(excluded: pd.DataFrame) -> pd.DataFrame:
    return excluded[~excluded["reason"].str.startswith(OUT_OF_SCOPE)]


def by_film(located: Located) -> pd.DataFrame:
    """Cases by the number or name of their film."""
    stems = located.cases["image_path"].str.rsplit("/", n=1).str[-1].str.split(r"[_.]", regex=True).str[0]
    return located.cases.assign(film=stems).set_index("film")


def reasons(located: Located, patient: str) -> list[str]:
    return located.excluded.loc[located.excluded["patient_id"] == patient, "reason"].to_list()


# What every data set keeps


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_cases_and_excluded_rows_fulfil_the_contract_of_the_tables(originals, name, unit):
    located = originals[name].locate(unit)
    schemas.check_table(located.cases[list(schemas.CASES.columns)], schemas.CASES, name)
    schemas.check_table(located.excluded, schemas.EXCLUDED, name)
    assert set(located.cases.columns) == set(schemas.CASES.columns)
    assert (located.cases["label"] == (located.cases["pathology"] == "MALIGNANT")).all()


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_nothing_of_an_external_set_can_be_trained_on(originals, name, unit):
    assert set(originals[name].locate(unit).cases["official_split"]) == {"test"}


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_no_patient_has_the_name_of_another_data_sets_patient(originals, name, unit):
    located = originals[name].locate(unit)
    assert located.cases["patient_id"].str.startswith(f"{name}_").all()
    assert located.excluded["patient_id"].str.startswith(name).all()


@pytest.mark.parametrize("name", MARKING)
def test_every_unit_accounts_for_every_row(originals, name):
    result = {rows_of(originals[name].locate(unit)) for unit in ("lesion", "image", "breast")}
    assert len(result) == 1


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_workers_change_nothing(originals, name, unit):
    first, two = originals[name].locate(unit), originals[name].locate(unit, workers=2)
    pd.testing.assert_frame_equal(first.cases, two.cases)
    pd.testing.assert_frame_equal(first.excluded, two.excluded)
    assert first.files == two.files


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_files_are_the_films_of_the_cases_and_exist(originals, name, unit):
    located = originals[name].locate(unit)
    used = set(located.cases["image_path"].str.split(schemas.VIEW_SEPARATOR, regex=False).explode())
    assert set(located.files) == used
    assert all((originals[name].root / path).is_file() for path in located.files)


@pytest.mark.parametrize("name", MARKING)
def test_a_lesions_box_covers_what_was_planted_and_little_more(originals, name):
    copy = originals[name]
    cases = by_film(copy.locate("lesion", list(schemas.TYPES)))
    seen = set()
    for film, case in cases.iterrows():
        candidates = {key: mask for key, mask in copy.planted.items() if key[0] == film}
        top, left, bottom, right = map(int, case["mask_path"].removeprefix(schemas.BOX_PREFIX).split(","))
        inside = {key for key, mask in candidates.items() if mask[top:bottom, left:right].sum() == mask.sum()}
        assert inside, (film, case["mask_path"])
        seen |= inside
        smallest = min((candidates[key] for key in inside), key=lambda mask: mask.sum())
        height, width = np.ptp(np.nonzero(smallest), axis=1) + 1
        assert (bottom - top) * (right - left) <= 1.3 * max(height, width) ** 2 + 4 * max(height, width)
    assert seen == set(copy.planted)


@pytest.mark.parametrize(("name", "unit"), UNITS)
def test_a_box_lies_on_its_film(originals, name, unit):
    for case in originals[name].locate(unit).cases.itertuples():
        if not isinstance(case.mask_path, str):
            continue
        groups = case.mask_path.split(schemas.VIEW_SEPARATOR)
        films = case.image_path.split(schemas.VIEW_SEPARATOR)
        for film, boxes in zip(films, groups, strict=True):
            height, width = io.read_shape(originals[name].root / film)
            for box in filter(None, boxes.split(schemas.PATH_SEPARATOR)):
                top, left, bottom, right = map(int, box.removeprefix(schemas.BOX_PREFIX).split(","))
                assert 0 <= top < bottom <= height
                assert 0 <= left < right <= width


@pytest.mark.parametrize(("name", "unit"), UNITS)
@pytest.mark.parametrize("bits", [8, 16])
def test_every_case_becomes_what_a_model_sees(originals, name, unit, bits):
    settings = PREPROCESS.model_copy(update={"bits": bits, "size_px": 32})
    for case in originals[name].locate(unit).cases.to_dict(orient="records"):
        square = preprocess.prepare_case(case, originals[name].root, unit, settings)
        assert square.image.shape == ((64, 32) if unit == "breast" else (32, 32))
        assert square.image.any()
        assert square.mask.any() == (isinstance(case["mask_path"], str))


@pytest.mark.parametrize("name", ["cmmd", "inbreast", "vindr"])
def test_a_breast_pairs_the_two_views_of_one_side_of_one_patient(originals, name):
    images, breasts = originals[name].locate("image").cases, originals[name].locate("breast").cases
    owner = images.set_index("image_path")[["patient_id", "laterality", "view"]]
    for breast in breasts.itertuples():
        films = breast.image_path.split(schemas.VIEW_SEPARATOR)
        assert breast.view == "CC|MLO"
        assert [tuple(owner.loc[film]) for film in films] == [
            (breast.patient_id, breast.laterality, view) for view in ("CC", "MLO")
        ]


@pytest.mark.parametrize("name", WRITERS)
def test_the_samples_can_be_raised_to_patients(originals, name):
    cases = originals[name].locate("image").cases
    predictions = cases[["sample_id", "patient_id", "label"]].assign(split="test", prob=0.5)
    raised = aggregation.aggregate(predictions, cases, "patient")
    assert set(raised["patient_id"]) == set(cases["patient_id"])


@pytest.mark.parametrize("name", WRITERS)
def test_counts_have_the_published_names(originals, name):
    dataset = datasets.load_dataset(name)
    assert set(originals[name].locate("image").counts) == set(dataset.published(TYPES))
    with pytest.raises(datasets.DatasetError, match="not the full data set"):
        datasets.assert_full(originals[name].locate("image").counts, dataset.published(TYPES), name)


# Damage


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("content", [b"", b"no image"], ids=["empty", "text"])
def test_a_damaged_film_becomes_excluded_rows_and_harms_no_other(copy_of, name, content):
    copy = copy_of(name)
    before = copy.locate()
    copy.film().write_bytes(content)
    after = copy.locate()
    assert rows_of(after) == rows_of(before)
    assert len(after.cases) == len(before.cases) - 1
    (damaged,) = set(before.cases["image_path"]) - set(after.cases["image_path"])
    assert copy.film().relative_to(copy.root).as_posix() == damaged
    assert copy.film().name in " ".join(unusable(after.excluded)["reason"])


@pytest.mark.parametrize("name", ["inbreast", "mini_mias", "vindr"])
def test_a_missing_film_becomes_excluded_rows(copy_of, name):
    copy = copy_of(name)
    before = copy.locate()
    copy.film().unlink()
    after = copy.locate()
    assert rows_of(after) == rows_of(before)
    assert "is missing" in " ".join(unusable(after.excluded)["reason"])


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_table_is_an_error_that_names_the_cure(copy_of, name):
    copy = copy_of(name)
    (copy.root / TABLES[name]).unlink()
    with pytest.raises(datasets.DatasetError, match=rf"{TABLES[name]}.*[Ss]et `root`"):
        copy.locate()


@pytest.mark.parametrize("name", ["inbreast", "vindr"])
def test_a_renamed_column_is_an_error_that_lists_the_columns(copy_of, name):
    copy = copy_of(name)
    column = {"inbreast": "File Name", "vindr": "breast_birads"}[name]
    copy.edit(TABLES[name], lambda text: text.replace(column, "something"))
    with pytest.raises(datasets.DatasetError, match=rf"{column} missing; it has: .*something"):
        copy.locate()


@pytest.mark.parametrize("name", ["inbreast", "vindr"])
def test_line_ends_and_a_byte_order_mark_change_nothing(copy_of, name):
    copy = copy_of(name)
    before = copy.locate()
    path = copy.root / TABLES[name]
    text = path.read_text(encoding="utf-8-sig")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    pd.testing.assert_frame_equal(copy.locate().cases, before.cases)


@pytest.mark.parametrize("name", MARKING)
def test_a_repeated_row_is_excluded_as_a_duplicate(copy_of, name):
    copy = copy_of(name)
    before = copy.locate()
    copy.edit(TABLES[name], repeat_last_film)
    after = copy.locate()
    pd.testing.assert_frame_equal(after.cases, before.cases)
    assert set(after.excluded["reason"]) - set(before.excluded["reason"]) == {_repeats.DUPLICATE}


def repeat_last_film(text: str) -> str:
    lines = text.splitlines()
    last = next(line for line in reversed(lines) if line.strip(";"))
    return "\n".join([*lines, last]) + "\n"


@pytest.mark.parametrize("name", MARKING)
@examples(15, reuse_fixtures=True)
@given(data=st.data())
def test_a_changed_cell_ends_in_a_clear_error_or_an_accounted_row(originals, tmp_path, name, data):
    """No crash, and no row is lost, whatever a cell says; a line's first word names its film and stays."""
    original = originals[name]
    before = rows_of(original.locate("lesion"))
    root = shutil.copytree(original.root, tmp_path / name, dirs_exist_ok=True)
    table = data.draw(st.sampled_from({"vindr": [TABLES[name], "finding_annotations.csv"]}.get(name, [TABLES[name]])))
    separator = {"mini_mias": " ", "inbreast": ";", "vindr": ","}[name]
    lines = (original.root / table).read_text(encoding="latin-1").splitlines()
    rows = [number for number, line in enumerate(lines) if line.startswith("mdb") or name != "mini_mias"]
    row = data.draw(st.sampled_from(rows))
    cells = lines[row].split(separator)
    column = data.draw(st.integers(min(1, len(cells) - 1), len(cells) - 1))
    cells[column] = data.draw(
        st.text(st.characters(codec="latin-1", exclude_characters=" ;,\"'|\n\r", min_codepoint=33))
    )
    (root / table).write_text("\n".join([*lines[:row], separator.join(cells), *lines[row + 1 :]]), encoding="latin-1")
    for unit in ("lesion", "image", "breast"):
        try:
            located = Copy(name, root, {}).locate(unit)
        except InputError:
            continue
        schemas.check_table(located.cases, schemas.CASES, name)
        schemas.check_table(located.excluded, schemas.EXCLUDED, name)
        assert rows_of(located) >= before


# Missing, unreadable, ambiguous


@pytest.mark.parametrize("name", MARKING)
def test_a_film_is_missing_only_where_nothing_bears_its_name(copy_of, name):
    copy = copy_of(name)
    film = copy.film()
    content = film.read_bytes()
    film.unlink()
    assert any("is missing" in reason for reason in unusable(copy.locate().excluded)["reason"])
    film.symlink_to("gone")
    (reason,) = set(unusable(copy.locate().excluded)["reason"])
    assert "cannot be read" in reason and "is missing" not in reason
    film.unlink()
    film.write_bytes(content)
    assert unusable(copy.locate().excluded).empty


def refuse_listing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As for a folder without the right to read it, also where the tests run with all rights."""
    scandir = os.scandir

    def refusing(path="."):
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


@pytest.mark.parametrize(("name", "folder"), [("inbreast", "AllDICOMs"), ("mini_mias", "")])
def test_a_folder_that_cannot_be_listed_is_told_with_what_is_missing(copy_of, name, folder, monkeypatch):
    copy = copy_of(name)
    place = copy.root / folder / "more"
    place.mkdir()
    copy.film().rename(place / copy.film().name)
    assert unusable(copy.locate().excluded).empty
    refuse_listing(monkeypatch, place)
    (reason,) = set(unusable(copy.locate().excluded)["reason"])
    assert reason.endswith("is missing; 1 folder(s) cannot be read: more (Permission denied)")


def test_cmmd_films_in_a_folder_that_cannot_be_listed_are_not_out_of_scope(copy_of, monkeypatch):
    copy = copy_of("cmmd")
    study = copy.film().parent
    assert unusable(copy.locate().excluded).empty
    refuse_listing(monkeypatch, study)
    (reason,) = set(unusable(copy.locate().excluded)["reason"])
    assert reason.startswith("no film of this breast among the DICOM files; 1 folder(s) cannot be read: manifest/")


def test_marks_that_cannot_be_read_are_not_taken_for_none(copy_of):
    copy = copy_of("inbreast")
    marks = copy.root / "AllXML" / "20586908.xml"
    marks.unlink()
    marks.symlink_to("gone")
    located = copy.locate()
    assert "20586908" not in by_film(located).index
    assert any(
        "20586908.xml is no OsiriX property list (FileNotFoundError" in one for one in located.excluded["reason"]
    )


def add_a_line(path: Path) -> None:
    if path.suffix == ".txt":
        path.write_text(path.read_text(encoding="latin-1") + "mdb009 G NORM\n", encoding="latin-1")
        return
    book = openpyxl.load_workbook(path)
    book.active.append(["D9-0001", "L", 50, 2, "mass", "Benign", None])
    book.save(path)


@pytest.mark.parametrize(("name", "table"), [("mini_mias", "Info.txt"), ("cmmd", "CMMD_clinicaldata_revision.xlsx")])
def test_of_two_tables_that_differ_none_is_used(copy_of, name, table):
    copy = copy_of(name)
    before = copy.locate()
    (copy.root / "again").mkdir()
    shutil.copy(copy.root / table, copy.root / "again" / table)
    pd.testing.assert_frame_equal(copy.locate().cases, before.cases)
    add_a_line(copy.root / "again" / table)
    with pytest.raises(InputError, match=f"{table} and again/{table} differ; keep the one as published"):
        copy.locate()


def test_rows_that_contradict_each_other_are_none_of_them_used(copy_of):
    copy = copy_of("vindr")
    path = copy.root / "breast-level_annotations.csv"
    table = pd.read_csv(path, dtype=str)
    second = table.iloc[[0]].assign(breast_birads="BI-RADS 1")
    pd.concat([table, second, table.iloc[[1]]]).to_csv(path, index=False)
    located = copy.locate()
    assert unusable(located.excluded)["reason"].value_counts().to_dict() == {
        _annotations.CONTRADICTION: 2,
        _repeats.DUPLICATE: 1,
    }


def test_cmmd_two_files_that_say_they_are_one_image_are_both_excluded(copy_of):
    copy = copy_of("cmmd")
    film, other = copy.film(), copy.root / "zz.dcm"
    content = film.read_bytes()
    other.write_bytes(content[:-9] + bytes(byte ^ 1 for byte in content[-9:]))
    before = set(copy.locate().files)
    excluded = unusable(copy.locate().excluded)["reason"].to_list()
    name = film.relative_to(copy.root).as_posix()
    assert set(excluded) == {f"2 different files are of one image: {name}, zz.dcm; keep one"}
    assert before.isdisjoint({name, "zz.dcm"})


@pytest.mark.parametrize("suffix", [".IMA", ".DCM", ""])
@pytest.mark.parametrize("name", ["cmmd", "inbreast"])
def test_dicom_is_told_by_its_content(copy_of, name, suffix):
    copy = copy_of(name)
    before = copy.locate()
    film = copy.film()
    film.rename(film.with_name(film.stem + suffix))
    after = copy.locate()
    assert after.cases["sample_id"].to_list() == before.cases["sample_id"].to_list()
    assert unusable(after.excluded).empty


# Scope


def test_distortions_and_asymmetries_are_asked_for_with_the_masses(originals):
    """CBIS-DDSM has them among its masses: no parameter names them, and no film of theirs is lost or called normal."""
    copy = originals["mini_mias"]
    for unit, film in (("image", "mdb007"), ("lesion", "mdb007")):
        case = by_film(copy.locate(unit, ["mass"])).loc[film]
        assert (case["abnormality_type"], case["label"]) == ("architectural_distortion", 1)
    left_out = copy.locate("image", ["calcification"])
    assert reasons(left_out, "mini_mias_004") == [
        f"{OUT_OF_SCOPE}type architectural_distortion, asked for: calcification"
    ]


@pytest.mark.parametrize("name", MARKING)
def test_types_that_were_not_asked_for_are_out_of_scope_not_damaged(originals, name):
    located = originals[name].locate("image", ["calcification"])
    assert {kind for kind in located.cases["abnormality_type"] if "calcification" not in kind} == {"none"}
    left_out = located.excluded["abnormality_type"].isin(["mass"])
    assert left_out.any()
    assert located.excluded.loc[left_out, "reason"].str.startswith(OUT_OF_SCOPE).all()
    assert unusable(located.excluded).empty


@pytest.mark.parametrize("name", MARKING)
def test_normal_films_are_negatives_of_images_and_no_lesions(originals, name):
    located = originals[name].locate("image")
    normal = located.cases[located.cases["pathology"] == "NORMAL"]
    assert len(normal) > 0
    assert set(normal["label"]) == {0}
    assert "none" not in set(originals[name].locate("lesion").cases["abnormality_type"])


def test_nothing_usable_is_an_error_with_a_reason(copy_of):
    copy = copy_of("mini_mias")
    for film in copy.root.glob("*.pgm"):
        film.write_bytes(b"")
    with pytest.raises(datasets.DatasetError, match=r"none of the 9 rows is a usable image; first reason: .*mdb001"):
        copy.locate()


# Rows to cases


def row(film: str, **values: object) -> Row:
    parameters = {"laterality": "LEFT", "view": "CC", "pathology": "BENIGN", "image_path": f"{film}.dcm"} | values
    return Row("x_1", film, **parameters)


def case(rows: list[Row], unit: str) -> pd.Series:
    located = _annotations.locate(rows, unit, ["mass"], {}, Path("somewhere"))
    assert len(located.cases) == 1
    return located.cases.iloc[0]


def test_an_image_is_as_malignant_as_its_worst_finding_even_one_of_another_type():
    rows = [
        row("a", abnormality_id="1", abnormality_type="mass", birads=2),
        row("a", abnormality_id="2", abnormality_type="asymmetry", pathology="MALIGNANT", birads=5),
    ]
    result = case(rows, "image")
    assert (result["label"], result["pathology"], result["birads"]) == (1, "MALIGNANT", 5)
    assert (result["abnormality_type"], result["abnormality_id"]) == ("mass+asymmetry", "1;2")


def test_an_image_with_an_unusable_finding_is_left_out_whole():
    rows = [
        row("a", abnormality_id="1", abnormality_type="mass"),
        row("a", abnormality_id="2", abnormality_type="mass", reason="torn"),
        row("b"),
    ]
    located = _annotations.locate(rows, "image", ["mass"], {}, Path("somewhere"))
    assert located.cases["image_path"].to_list() == ["b.dcm"]
    assert located.excluded["reason"].to_list() == ["another finding of this film: torn", "torn"]


def test_a_breast_keeps_its_label_when_only_the_other_view_is_usable():
    rows = [
        row("a", abnormality_id="1", abnormality_type="mass", pathology="MALIGNANT", reason="a.dcm is damaged"),
        row("b", view="MLO"),
    ]
    result = case(rows, "breast")
    assert (result["view"], result["image_path"], result["label"]) == ("MLO", "b.dcm", 1)


def test_a_breast_is_excluded_where_one_films_label_is_unknown():
    rows = [row("a", pathology=""), row("b", view="MLO"), row("c", laterality="RIGHT")]
    located = _annotations.locate(rows, "breast", ["mass"], {}, Path("somewhere"))
    assert located.cases["laterality"].to_list() == ["RIGHT"]
    assert located.excluded["reason"].to_list() == [
        "unknown pathology ''",
        "the label of this breast's other film is unknown",
    ]


def test_the_masks_of_a_breast_stand_in_the_order_of_its_films():
    rows = [
        row("b", view="MLO", abnormality_id="1", abnormality_type="mass", box="box:1,2,3,4"),
        row("b", view="MLO", abnormality_id="2", abnormality_type="mass", box="box:5,6,7,8"),
        row("a"),
    ]
    result = case(rows, "breast")
    assert (result["image_path"], result["mask_path"]) == ("a.dcm|b.dcm", "|box:1,2,3,4;box:5,6,7,8")


def test_two_visits_of_a_patient_are_two_samples_of_a_breast():
    rows = [row("a", exam="201001"), row("b", view="MLO", exam="201001"), row("c", exam="201106")]
    cases = _annotations.locate(rows, "breast", ["mass"], {}, Path("somewhere")).cases
    assert cases["image_path"].to_list() == ["a.dcm|b.dcm", "c.dcm"]
    assert set(cases["patient_id"]) == {"x_1"}


def test_a_second_film_of_a_view_is_no_part_of_the_breast():
    located = _annotations.locate([row("a"), row("b")], "breast", ["mass"], {}, Path("somewhere"))
    assert located.cases["image_path"].to_list() == ["a.dcm"]
    assert located.excluded["reason"].str.contains("another film of this view").all()


def test_a_path_that_holds_a_separator_is_excluded_with_the_cure():
    located = _annotations.locate(
        [row("a"), row("b", image_path="x;y/b.dcm")], "image", ["mass"], {}, Path("somewhere")
    )
    assert located.excluded["reason"].str.contains("rename the folder").all()


@pytest.mark.parametrize(
    ("birads", "pathology"),
    [(0, ""), (1, "NORMAL"), (2, "BENIGN"), (3, "BENIGN"), (4, "MALIGNANT"), (5, "MALIGNANT"), (6, "MALIGNANT")],
)
def test_a_biopsy_is_called_for_from_category_4(birads, pathology):
    assert _annotations.pathology_from_birads(birads) == pathology


# mini-MIAS


def test_mias_films_are_pairs_of_one_woman_left_then_right(originals):
    cases = by_film(originals["mini_mias"].locate())
    assert cases.loc["mdb001", "patient_id"] == cases.loc["mdb002", "patient_id"] == "mini_mias_001"
    assert cases.loc["mdb003", "patient_id"] == "mini_mias_002"
    assert cases.loc[["mdb001", "mdb002"], "laterality"].to_list() == ["LEFT", "RIGHT"]
    assert set(cases["view"]) == {"MLO"}


def test_mias_severity_and_class_are_read(originals):
    cases = by_film(originals["mini_mias"].locate())
    assert cases["label"].to_dict() == {
        "mdb001": 0,
        "mdb002": 1,
        "mdb003": 0,
        "mdb004": 0,
        "mdb005": 0,
        "mdb006": 1,
        "mdb007": 1,
        "mdb008": 0,
    }
    assert cases.loc["mdb005", ["abnormality_type", "abnormality_id"]].to_list() == ["calcification", "1;2"]
    assert cases["breast_density"].isna().all()


def test_mias_scattered_calcifications_are_an_image_but_no_lesion(originals):
    copy = originals["mini_mias"]
    assert "mdb006" in by_film(copy.locate("image")).index
    assert reasons(copy.locate("lesion"), "mini_mias_003") == [f"{OUT_OF_SCOPE}no lesion: its place is not marked"]


def test_mias_a_further_line_may_leave_the_tissue_out(copy_of):
    copy = copy_of("mini_mias")
    before = copy.locate("lesion")
    copy.edit("Info.txt", lambda text: text.replace("mdb005 D CALC", "mdb005 CALC"))
    pd.testing.assert_frame_equal(copy.locate("lesion").cases, before.cases)


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        ("CIRC B", "BLOB B", "unknown class 'BLOB'"),
        ("CIRC B", "CIRC X", "unknown severity 'X'"),
        ("CIRC B", "CIRC", "unknown severity"),
    ],
)
def test_mias_an_unknown_word_excludes_its_film(copy_of, good, bad, reason):
    copy = copy_of("mini_mias")
    copy.edit("Info.txt", lambda text: text.replace(good, bad))
    located = copy.locate()
    assert "mdb001" not in by_film(located).index
    assert reason in reasons(located, "mini_mias_001")[0]


def test_mias_a_circle_off_the_film_excludes_the_lesion(copy_of):
    copy = copy_of("mini_mias")
    text = (copy.root / "Info.txt").read_text()
    line = next(line for line in text.splitlines() if line.startswith("mdb002"))
    copy.edit("Info.txt", lambda text: text.replace(line, "mdb002 D SPIC M 9999 9999 5"))
    assert "lies outside the film" in reasons(copy.locate("lesion"), "mini_mias_001")[-1]


def test_mias_a_film_without_a_line_is_accounted_for(copy_of):
    copy = copy_of("mini_mias")
    fixtures.write_pgm(copy.root / "mdb322.pgm", np.zeros((20, 20), np.uint8))
    assert reasons(copy.locate(), "mini_mias_161") == ["mdb322.pgm has no line in Info.txt"]


# INbreast


def test_inbreast_patients_come_from_the_file_names(originals):
    cases = originals["inbreast"].locate().cases
    assert set(cases["patient_id"]) == {f"inbreast_{patient}" for patient in fixtures.INBREAST}


def test_inbreast_labels_are_the_category_of_the_film(originals):
    cases = originals["inbreast"].locate().cases
    by_breast = cases.groupby(["patient_id", "laterality"])[["birads", "label"]].first()
    for patient, sides in fixtures.INBREAST.items():
        for side, (birads, _) in sides.items():
            result = by_breast.loc[(f"inbreast_{patient}", fixtures.SIDES[side])]
            assert result["birads"] == int(birads[0])
            assert result["label"] == int(birads[0] >= "4")


def test_inbreast_a_padded_density_is_missing(originals):
    cases = by_film(originals["inbreast"].locate())
    assert pd.isna(cases.loc["20586908", "breast_density"])
    assert cases.loc["20586909", "breast_density"] == 2


def test_inbreast_single_calcifications_make_no_lesion_but_a_type(originals):
    copy = originals["inbreast"]
    cases = by_film(copy.locate())
    assert cases.loc["20586908", "abnormality_type"] == "mass+calcification"
    assert (cases[cases["birads"] == 4]["abnormality_type"] == "calcification").all()
    assert set(copy.locate("lesion").cases["birads"]) == {2, 3, 5, 6}


def test_inbreast_a_file_named_otherwise_than_the_table_says_is_excluded(copy_of):
    copy = copy_of("inbreast")
    film = copy.film()
    film.rename(film.with_name(film.name.replace("_L_", "_R_")))
    located = copy.locate()
    assert "20586908" not in by_film(located).index
    assert any("says L CC, the file is named" in reason for reason in located.excluded["reason"])


@pytest.mark.parametrize("content", [b"", b"<plist", b"<plist><dict/></plist>", b"<plist><string>x</string></plist>"])
def test_inbreast_broken_marks_exclude_the_film(copy_of, content):
    copy = copy_of("inbreast")
    (copy.root / "AllXML" / "20586908.xml").write_bytes(content)
    located = copy.locate()
    assert "20586908" not in by_film(located).index
    assert any("20586908.xml is no OsiriX property list" in reason for reason in located.excluded["reason"])


def test_inbreast_category_0_is_out_of_scope(copy_of):
    copy = copy_of("inbreast")
    copy.edit("INbreast.csv", lambda text: text.replace(";5;;", ";0;;"))
    assert any(
        reason == f"{OUT_OF_SCOPE}BI-RADS 0 is no final assessment" for reason in copy.locate().excluded["reason"]
    )


# VinDr-Mammo


def test_vindr_an_image_has_the_category_of_its_breast_and_a_lesion_its_own(copy_of):
    copy = copy_of("vindr")
    copy.edit("finding_annotations.csv", lambda text: text.replace("['Mass'],BI-RADS 5", "['Mass'],BI-RADS 3"))
    study = "vindr_48575a27b7c992427041a82fa750d3fa"
    images, lesions = copy.locate("image").cases, copy.locate("lesion").cases
    of_breast = (images["patient_id"] == study) & (images["laterality"] == "LEFT")
    assert set(images.loc[of_breast, "label"]) == {1}
    assert set(lesions.loc[lesions["patient_id"] == study, "label"]) == {0}


def test_vindr_categories_and_densities_are_mapped(originals):
    cases = by_film(originals["vindr"].locate())
    assert cases.loc["02cc", "abnormality_type"] == "mass+calcification"
    assert cases["breast_density"].to_list() == [1, 1, 2, 2, 3, 3, 4, 4, 2, 2]


def test_vindr_findings_without_a_type_are_out_of_scope(originals):
    located = originals["vindr"].locate()
    skin = located.excluded[located.excluded["abnormality_type"] == "other"]
    assert len(skin) == 2
    assert skin["reason"].str.startswith(OUT_OF_SCOPE).all()


@pytest.mark.parametrize("value", ["-5.25", "nan", "inf", "left"])
def test_vindr_a_box_is_cut_at_the_edge_or_its_image_excluded(copy_of, value):
    copy = copy_of("vindr")
    path = copy.root / "finding_annotations.csv"
    table = pd.read_csv(path).astype({"xmin": object})
    table.loc[0, "xmin"] = value
    table.to_csv(path, index=False, na_rep="")
    located = copy.locate("lesion")
    if value == "-5.25":
        assert by_film(located).loc["00cc", "mask_path"].split(",")[1] == "0"
    else:
        assert any("box is empty, no number" in reason for reason in located.excluded["reason"])


def test_vindr_a_finding_of_an_unknown_image_is_accounted_for(copy_of):
    copy = copy_of("vindr")
    copy.edit("finding_annotations.csv", lambda text: text.replace(",00cc,", ",gone,"))
    assert reasons(copy.locate(), "vindr_unknown") == [
        "finding_annotations.csv: image gone is not in breast-level_annotations.csv"
    ]


# CMMD


def test_cmmd_labels_are_the_biopsy_of_the_breast(originals):
    cases = originals["cmmd"].locate("breast").cases.set_index("sample_id")
    assert cases["label"].to_dict() == {
        "cmmd_D1-0001_RIGHT": 0,
        "cmmd_D1-0002_LEFT": 1,
        "cmmd_D1-0003_LEFT": 1,
        "cmmd_D1-0003_RIGHT": 0,
        "cmmd_D2-0001_RIGHT": 1,
    }
    assert cases.loc["cmmd_D1-0003_LEFT", "abnormality_type"] == "mass+calcification"


def test_cmmd_a_breast_without_biopsy_is_excluded_not_normal(originals):
    located = originals["cmmd"].locate()
    assert not ((located.cases["patient_id"] == "cmmd_D2-0001") & (located.cases["laterality"] == "LEFT")).any()
    assert len([reason for reason in reasons(located, "cmmd_D2-0001") if "no biopsy" in reason]) == 2
    assert unusable(located.excluded).empty


def test_cmmd_reads_the_view_as_a_word_and_as_a_code(originals):
    views = originals["cmmd"].locate().cases.groupby(["patient_id", "laterality"])["view"]
    assert {tuple(sorted(result)) for _, result in views} == {("CC", "MLO")}


def test_cmmd_names_do_not_depend_on_the_tree(copy_of):
    copy = copy_of("cmmd")
    header = {"PatientID": "D1-0002", "ImageLaterality": "L", "ViewPosition": "CC"}
    for shade in range(5):  # of one view
        write_dicom(copy.root / f"{shade}.dcm", np.full((40, 30), shade, np.uint8), **header)

    def content() -> dict[str, str]:
        cases = copy.locate().cases
        return {case.sample_id: sha256(copy.root / case.image_path) for case in cases.itertuples()}

    before = content()
    for number, film in enumerate(sorted(copy.root.rglob("*.dcm"), key=sha256)):
        film.rename(copy.root / f"moved{number}.dcm")
    assert len(before) == 15
    assert content() == before


def test_cmmd_lesions_are_refused_with_the_possible_units(originals):
    with pytest.raises(datasets.DatasetError, match=r"marks no lesions.*image or breast"):
        originals["cmmd"].locate("lesion")


@pytest.mark.parametrize("content", [None, b"", b"no workbook"])
def test_cmmd_without_its_table_names_the_cure(copy_of, content):
    copy = copy_of("cmmd")
    table = copy.root / "CMMD_clinicaldata_revision.xlsx"
    table.unlink()
    if content is not None:
        table.write_bytes(content)
    with pytest.raises(datasets.DatasetError, match=r"CMMD_clinicaldata_revision.xlsx.*Download"):
        copy.locate()


def test_cmmd_reads_its_table_as_csv_too(copy_of):
    copy = copy_of("cmmd")
    before = copy.locate()
    table = copy.root / "CMMD_clinicaldata_revision.xlsx"
    lines = list(openpyxl.load_workbook(table).active.iter_rows(values_only=True))
    pd.DataFrame(lines[1:], columns=lines[0]).to_csv(table.with_suffix(".csv"), index=False)
    table.unlink()
    pd.testing.assert_frame_equal(copy.locate().cases, before.cases)


def test_cmmd_a_second_copy_of_a_film_is_excluded(copy_of):
    copy = copy_of("cmmd")
    before = copy.locate()
    shutil.copy(copy.film(), copy.root / "zz.dcm")
    after = copy.locate()
    assert after.cases["sample_id"].to_list() == before.cases["sample_id"].to_list()
    assert any("second copy" in reason for reason in after.excluded["reason"])


def test_cmmd_a_breast_without_films_is_damage_and_a_patient_without_films_is_not(copy_of):
    copy = copy_of("cmmd")
    book = openpyxl.load_workbook(copy.root / "CMMD_clinicaldata_revision.xlsx")
    book.active.append(["D1-0001", "L", 50, 2, "mass", "Benign", None])
    book.active.append(["D1-0999", "L", 50, 2, "mass", "Benign", None])
    book.save(copy.root / "CMMD_clinicaldata_revision.xlsx")
    located = copy.locate()
    assert reasons(located, "cmmd_D1-0999") == [f"{OUT_OF_SCOPE}no film of this breast among the DICOM files"]
    assert unusable(located.excluded)["patient_id"].to_list() == ["cmmd_D1-0001"]


def test_cmmd_a_film_without_a_side_is_excluded(copy_of):
    copy = copy_of("cmmd")
    write_dicom(copy.root / "new.dcm", np.full((40, 30), 9, np.uint8), PatientID="D1-0001", ViewPosition="CC")
    located = copy.locate()
    assert "new.dcm" not in set(located.files)
    assert any("unknown laterality" in reason or "no biopsy" in reason for reason in reasons(located, "cmmd_D1-0001"))


def test_whole_numbers_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    table = pd.DataFrame({"File Name": ["58.0", "58.5", "a.0", " 7.00 "], "x": ["1", "", "1.10", "-2.0"]})
    read = _annotations.select_columns(table, ["File Name", "x"], tmp_path / "a.csv", "")
    assert read["File Name"].to_list() == ["58", "58.5", "a.0", "7"]
    assert read["x"].to_list() == ["1", "", "1.10", "-2.0"]
