"""CBIS-DDSM under random damage: a row is a case, an excluded row with its reason, or the whole copy is refused."""

import csv
import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.core import schemas
from mammo.core.errors import InputError
from mammo.core.files import read_table, write_table
from mammo.core.schemas import PATH_SEPARATOR
from mammo.data.datasets import Located, cbis_ddsm
from mammo.data.datasets.cbis_ddsm import tables
from tests import cbis_layouts
from tests.examples import examples

TYPES = ["mass", "calcification"]
UNITS = st.sampled_from(["lesion", "image", "breast"])
TABLES = st.sampled_from(list(tables.FILES.values()))
PATIENTS_PER_TABLE = 3
ROW = re.compile(r"^P_[0-9]{5},", re.MULTILINE)
NASTY = ["", " ", "N/A", "nan", "-1", "0", "6", "9", "1e400", "4.0", "²", "LEFT", "CC", "MALIGNANT", "P_00001", "a/b/c"]

Cells = list[list[str]]
Damage = Callable[[Cells], Cells]


def locate(root: Path, unit: str) -> Located:
    return cbis_ddsm.locate(root, unit, TYPES, 1)


@pytest.fixture(scope="module")
def small(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few patients of the cohort."""
    root = tmp_path_factory.mktemp("small")
    (root / "csv").mkdir()
    for name in tables.FILES.values():
        header, *rows = read(cohort / "csv" / name)
        patients = list(dict.fromkeys(row[0] for row in rows))[:PATIENTS_PER_TABLE]
        write(root / "csv" / name, [header, *(row for row in rows if row[0] in patients)])
    for uid in {cell.split("/")[-2] for path in table_paths(root) for row in read(path)[1:] for cell in row[-3:]}:
        shutil.copytree(cohort / "jpeg" / uid, root / "jpeg" / uid, dirs_exist_ok=True)
    return root


@pytest.fixture(scope="module")
def whole(small: Path) -> pd.DataFrame:
    """The cases of the undamaged copy."""
    return locate(small, "lesion").cases.set_index("sample_id")


@pytest.fixture(scope="module")
def dicom_tree(cohort: Path, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dicom")
    origins = cbis_layouts.nbia(cohort, root)
    for path, origin in origins.items():
        if not (small / origin).exists():
            (root / path).unlink()
    for path in table_paths(small):
        shutil.copy(path, root / "csv")
    return root


def table_paths(root: Path) -> list[Path]:
    return [root / "csv" / name for name in tables.FILES.values()]


def read(path: Path) -> Cells:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def serialised(cells: Cells, line_end: str = "\r\n") -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(cells)  # so that cells with either character are quoted
    return text.getvalue().replace("\r\n", line_end)


def write(path: Path, cells: Cells) -> None:
    path.write_bytes(serialised(cells).encode())


def listed_rows(root: Path) -> int:
    return sum(len(read(path)) - 1 for path in table_paths(root))


def accounted_rows(located: Located) -> int:
    in_cases = located.cases["abnormality_id"].str.count(PATH_SEPARATOR) + 1
    return int(in_cases.sum()) + len(located.excluded)


def keeps_its_contract(located: Located) -> None:
    """Both tables pass their schema, also after they have been written and read."""
    with TemporaryDirectory() as folder:
        for table, schema in ((located.cases, schemas.CASES), (located.excluded, schemas.EXCLUDED)):
            path = Path(folder) / "table.csv"
            write_table(path, table, schema)
            assert len(read_table(path, schema)) == len(table)
    assert (located.excluded["reason"] != "").all()


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """The file with other content, for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


# Tables


def set_cell(cells: Cells, row: int, column: int, value: str) -> None:
    line = cells[row % len(cells)]
    line[column % len(line)] = value


def drop_column(cells: Cells, row: int, column: int, value: str) -> None:
    for line in cells:
        if len(line) > 1:
            del line[column % len(line)]


def swap_columns(cells: Cells, row: int, column: int, value: str) -> None:
    for line in cells:
        line[column % len(line)], line[row % len(line)] = line[row % len(line)], line[column % len(line)]


def repeat_column(cells: Cells, row: int, column: int, value: str) -> None:
    for line in cells:
        line.append(line[column % len(line)])


def repeat_row(cells: Cells, row: int, column: int, value: str) -> None:
    cells.append(list(cells[row % len(cells)]))


def drop_row(cells: Cells, row: int, column: int, value: str) -> None:
    if len(cells) > 2:
        del cells[1 + row % (len(cells) - 1)]


def cut_row(cells: Cells, row: int, column: int, value: str) -> None:
    line = cells[row % len(cells)]
    del line[1 + column % len(line) :]


def lengthen_row(cells: Cells, row: int, column: int, value: str) -> None:
    cells[row % len(cells)].insert(column, value)


def copy_cell_from_another_row(cells: Cells, row: int, column: int, value: str) -> None:
    source = cells[(row + 1) % len(cells)]
    set_cell(cells, row, column, source[column % len(source)])


EDITS = [
    set_cell,
    drop_column,
    swap_columns,
    repeat_column,
    repeat_row,
    drop_row,
    cut_row,
    lengthen_row,
    copy_cell_from_another_row,
]
CELL = st.sampled_from(NASTY) | st.text(st.characters(codec="utf-8"), max_size=8)
PLACE = st.integers(0, 30)
EDIT = st.tuples(st.sampled_from(EDITS), PLACE, PLACE, CELL)


@examples(80)
@given(
    unit=UNITS,
    name=TABLES,
    edits=st.lists(EDIT, min_size=1, max_size=4),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_a_damaged_table_loses_no_row(
    small: Path, unit: str, name: str, edits: list[tuple], line_end: str, mark: bytes
) -> None:
    path = small / "csv" / name
    cells = read(path)
    others = listed_rows(small) - (len(cells) - 1)
    for edit, row, column, value in edits:
        edit(cells, row, column, value)
    with replaced(path, mark + serialised(cells, line_end).encode()):
        try:
            located = locate(small, unit)
        except InputError as error:
            assert str(small) in str(error)
            return
    assert accounted_rows(located) == others + len(cells) - 1
    keeps_its_contract(located)


@examples(70)
@given(
    unit=UNITS,
    name=TABLES,
    start=st.floats(0, 1),
    length=st.integers(0, 40),
    put=st.binary(max_size=6) | st.sampled_from([b'"', b"\n", b",", b'"\n', b'""', b"\r", b",,"]),
)
def test_damaged_bytes_of_a_table_swallow_no_row(
    small: Path, unit: str, name: str, start: float, length: int, put: bytes
) -> None:
    path = small / "csv" / name
    content = path.read_bytes()
    place = int(start * len(content))
    damaged = content[:place] + put + content[place + length :]
    with replaced(path, damaged):
        try:
            located = locate(small, unit)
        except InputError:
            return
        rows = sum(len(ROW.findall(table.read_text(encoding="utf-8-sig"))) for table in table_paths(small))
    assert accounted_rows(located) >= rows
    keeps_its_contract(located)


# Files


def delete(path: Path, share: float, junk: bytes) -> None:
    path.unlink()


def cut(path: Path, share: float, junk: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def overwrite(path: Path, share: float, junk: bytes) -> None:
    path.write_bytes(junk)


def insert(path: Path, share: float, junk: bytes) -> None:
    content = path.read_bytes()
    place = int(share * len(content))
    path.write_bytes(content[:place] + junk + content[place + len(junk) :])


def copy_beside(path: Path, share: float, junk: bytes) -> None:
    shutil.copy(path, path.with_name(f"9{path.name}"))


def move_out(path: Path, share: float, junk: bytes) -> None:
    path.rename(path.parents[1] / f"moved{path.suffix}")


def change_suffix(path: Path, share: float, junk: bytes) -> None:
    path.rename(path.with_suffix([".png", ".dcm", ".txt", ""][int(3 * share)]))


def hide(path: Path, share: float, junk: bytes) -> None:
    path.rename(path.with_name(f".{path.name}"))


def make_folder(path: Path, share: float, junk: bytes) -> None:
    path.unlink()
    path.mkdir()


def link_to_nothing(path: Path, share: float, junk: bytes) -> None:
    path.unlink()
    path.symlink_to("nothing")


def rename_folder(path: Path, share: float, junk: bytes) -> None:
    path.parent.rename(path.parent.with_name(f"{path.parent.name}_{junk.hex()}"))


def delete_folder(path: Path, share: float, junk: bytes) -> None:
    shutil.rmtree(path.parent)


DAMAGES = [
    delete,
    cut,
    overwrite,
    insert,
    copy_beside,
    move_out,
    change_suffix,
    hide,
    make_folder,
    link_to_nothing,
    rename_folder,
    delete_folder,
]
DAMAGE = st.tuples(st.sampled_from(DAMAGES), st.integers(0, 200), st.floats(0, 1), st.binary(max_size=64))


@examples(40)
@given(unit=UNITS, damages=st.lists(DAMAGE, min_size=1, max_size=5))
def test_damaged_files_lose_no_row_and_change_no_other(
    small: Path, whole: pd.DataFrame, unit: str, damages: list[tuple]
) -> None:
    with TemporaryDirectory() as folder:
        root = Path(shutil.copytree(small, Path(folder) / "copy"))
        for damage, which, share, junk in damages:
            files = sorted(path for path in root.glob("jpeg/*/*.*") if path.is_file())
            damage(files[which % len(files)], share, junk)
        try:
            located = locate(root, unit)
        except InputError as error:
            assert str(root) in str(error)
            return
    assert accounted_rows(located) == listed_rows(small)
    keeps_its_contract(located)
    if unit == "lesion":
        survivors = located.cases.set_index("sample_id")
        before = whole.loc[survivors.index]
        paths = ["image_path", "mask_path"]
        pd.testing.assert_frame_equal(survivors.drop(columns=paths), before.drop(columns=paths), check_like=True)
        for column in paths:
            assert survivors[column].map(series_of).tolist() == before[column].map(series_of).tolist()


def series_of(path: str) -> str:
    return Path(path).parent.name


@examples(25)
@given(which=st.integers(0, 200), share=st.floats(0, 1), junk=st.binary(min_size=1, max_size=64), cutting=st.booleans())
def test_a_damaged_dicom_file_loses_no_row(
    dicom_tree: Path, which: int, share: float, junk: bytes, cutting: bool
) -> None:
    files = sorted(dicom_tree.rglob("*.dcm"))
    path = files[which % len(files)]
    content = path.read_bytes()
    place = int(share**4 * len(content))  # mostly in the header
    rest = b"" if cutting else content[place + len(junk) :]
    with replaced(path, content[:place] + junk + rest):
        located = locate(dicom_tree, "lesion")
    assert accounted_rows(located) == listed_rows(dicom_tree)
    keeps_its_contract(located)
