"""The four description CSVs of CBIS-DDSM as published, dirty values included: rows, and why a row is unusable.

One row is one abnormality in one film. Dirty as published: newlines and blanks around cells, `breast density` beside
`breast_density`, density 0 and subtlety 0. A table whose structure is broken is refused by name; a row with bad values
is kept with its reason, so that the rows of a table are all accounted for.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from mammo.core.schemas import KEY
from mammo.data.datasets import DatasetError
from mammo.data.datasets._repeats import find_repeats
from mammo.data.datasets.cbis_ddsm.names import case_folder, film_case, series_uid

FILES = {
    ("mass", "train"): "mass_case_description_train_set.csv",
    ("mass", "test"): "mass_case_description_test_set.csv",
    ("calcification", "train"): "calc_case_description_train_set.csv",
    ("calcification", "test"): "calc_case_description_test_set.csv",
}
COLUMNS = {
    "patient_id": "patient_id",
    "breast_density": "breast_density",
    "left or right breast": "laterality",
    "image view": "view",
    "abnormality id": "abnormality_id",
    "abnormality type": "abnormality_type",
    "assessment": "birads",
    "pathology": "pathology",
    "subtlety": "subtlety",
    "image file path": "image",
    "cropped image file path": "crop",
    "ROI mask file path": "mask",
}
PATHOLOGIES = ["BENIGN_WITHOUT_CALLBACK", "BENIGN", "MALIGNANT"]  # from the surest negative to the positive
READINGS = ["breast_density", "assessment", "subtlety"]
NUMBER = "abnormality id"
NOT_READ = {"", "n/a", "na", "nan", "none", "null"}  # a reading that was not made, in any case of letters
PATHS = {"image": "film", "crop": "crop", "mask": "mask"}  # column: what its file shows
PUBLISHED_AT = "Take the file as published (doi 10.7937/K9/TCIA.2016.7O02S9CY)"
CONTRADICTION = "another row describes the same abnormality differently"
MAX_CHARACTERS = 60


def _choice(*values: str) -> pa.Column:
    return pa.Column(str, pa.Check.isin(values, error=", ".join(values)))


def _like(pattern: str, meaning: str) -> pa.Column:
    return pa.Column(str, pa.Check.str_matches(f"^{pattern}$", error=meaning))


def _reading(lowest: int, highest: int) -> pa.Column:
    return pa.Column("Int64", pa.Check.in_range(lowest, highest, error=f"{lowest} to {highest}"), nullable=True)


def schema(kind: str) -> pa.DataFrameSchema:
    """Return the columns of one kind's two CSVs under their published names, cells stripped and readings as numbers.

    Descriptors (mass shape, calc distribution ...) are left out, as they may not travel with the cases: a missing calc
    distribution identifies 98 % of BENIGN_WITHOUT_CALLBACK.
    """
    return pa.DataFrameSchema(
        {
            "patient_id": _like("P_[0-9]{5}", "P_ and five digits"),
            "breast_density": _reading(0, 4),
            "left or right breast": _choice("LEFT", "RIGHT"),
            "image view": _choice("CC", "MLO"),
            "abnormality id": _like("[1-9][0-9]*", "1, 2, 3 ..."),
            "abnormality type": _choice(kind),
            "assessment": _reading(0, 6),
            "pathology": _choice(*PATHOLOGIES),
            "subtlety": _reading(0, 5),
            "image file path": pa.Column(str),
            "cropped image file path": pa.Column(str),
            "ROI mask file path": pa.Column(str),
        },
        coerce=True,
    )


def read(root: Path, abnormality_types: list[str]) -> pd.DataFrame:
    """Read the rows of these types' CSVs: COLUMNS, `official_split`, and `reason`, empty for a usable row.

    The CSVs lie in csv/, in `root` itself or in another folder of it. Raises DatasetError where one is missing or is
    not as published.
    """
    names = {key: name for key, name in FILES.items() if key[0] in abnormality_types}
    paths = {key: _find(root, name) for key, name in names.items()}
    missing = [names[key] for key, path in paths.items() if path is None]
    if missing:
        raise DatasetError(
            f"{root} is no copy of CBIS-DDSM: {', '.join(missing)} missing. Set ingest.root to the folder that holds "
            "the description CSVs (in csv/) and the images, or leave types out of ingest.abnormality_types"
        )
    rows = pd.concat([_rows(path, *key) for key, path in paths.items() if path], ignore_index=True)
    if rows.empty:
        raise DatasetError(f"{root}: {', '.join(names.values())} hold no rows. {PUBLISHED_AT}")
    for find_reasons in (_repeated, _shared_series):
        rows["reason"] = rows["reason"].mask(rows["reason"] == "", find_reasons(rows))
    return rows


def _find(root: Path, name: str) -> Path | None:
    """Return the file of that name in `root` or in a folder of it; several must have the same content."""
    paths = [path for path in sorted([*root.glob(name), *root.glob(f"*/{name}")]) if path.is_file()]
    if len(paths) > 1 and len({_text(path) for path in paths}) > 1:
        raise DatasetError(f"{' and '.join(map(str, paths))} differ; keep the one as published")
    return paths[0] if paths else None


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not a CSV table: {error}. {PUBLISHED_AT}") from error
    if "\0" in text:
        raise DatasetError(f"{path} is not a CSV table: it holds zero bytes. {PUBLISHED_AT}")
    return text


def _rows(path: Path, kind: str, split: str) -> pd.DataFrame:
    header, records = _records(path)
    _check_header(path, header)
    whole = [record + [""] * (len(header) - len(record)) for record in records]
    cells = pd.DataFrame([record[: len(header)] for record in whole], columns=header, dtype=str)[list(COLUMNS)]
    cells[NUMBER] = cells[NUMBER].str.replace(r"^([0-9]+)\.0+$", r"\1", regex=True)  # as spreadsheets write it
    table = cells.assign(**{column: _whole_numbers(cells[column]) for column in READINGS})
    rows = table.rename(columns=COLUMNS).assign(official_split=split)
    reasons = pd.Series([_width_problem(record, len(header)) for record in records], index=table.index, dtype=object)
    for found in (
        _bad_values(table, schema(kind)),
        _no_readings(cells, table),
        _nameless_paths(rows),
        _contradicting_paths(rows, kind, split),
    ):
        reasons = reasons.mask(reasons == "", pd.Series(found, index=table.index, dtype=object))
    return rows.assign(reason=reasons)


def _records(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return header and rows as stripped cells; raises DatasetError where a lost quote may have swallowed rows."""
    try:
        lines = [line for line in csv.reader(io.StringIO(_text(path)), strict=True) if line]
    except csv.Error as error:
        raise DatasetError(f"{path} is not a CSV table: {error}. {PUBLISHED_AT}") from error
    if not lines:
        raise DatasetError(f"{path} is not a CSV table: it is empty. {PUBLISHED_AT}")
    header, *records = [[cell.strip() for cell in line] for line in lines]
    for number, record in enumerate(records, start=1):
        if any("\n" in cell for cell in record):
            raise DatasetError(
                f"{path} is not a CSV table: in row {number} a cell goes over several lines, as where a quote is "
                f"lost and the next rows are swallowed. {PUBLISHED_AT}"
            )
    return [_column_name(name) for name in header], records


def _column_name(name: str) -> str:
    """Return `breast_density` for the `breast density` of the calcification files."""
    return "breast_density" if name == "breast density" else name


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DatasetError(
            f"{path}: column(s) {', '.join(missing)} missing; it has: "
            f"{', '.join(map(_shorten, header))}. {PUBLISHED_AT}"
        )
    repeated = [name for name, count in Counter(header).items() if count > 1 and name in COLUMNS]
    if repeated:
        raise DatasetError(f"{path}: column(s) {', '.join(repeated)} more than once. {PUBLISHED_AT}")


def _whole_numbers(cells: "pd.Series[str]") -> "pd.Series[int]":
    """Return readings as numbers, missing where a cell is no whole number; 4a, 4b and 4c are 4.

    A number out of its range makes its row unusable (`schema`), and so does text that is none of NOT_READ.
    """
    plain = cells.str.replace(r"^4[a-cA-C]$", "4", regex=True)
    digits = plain.str.extract(r"^(-?[0-9]{1,9})(?:\.0+)?$", expand=False)
    return pd.to_numeric(digits).astype("Int64")


def _width_problem(record: list[str], columns: int) -> str:
    return "" if len(record) == columns else f"the row has {len(record)} cells, the table {columns} columns"


def _bad_values(table: pd.DataFrame, description: pa.DataFrameSchema) -> "pd.Series[str]":
    """Return the reason why a row's values make it unusable, or an empty text."""
    reasons = pd.Series("", index=table.index, dtype=object)
    try:
        description.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        for failure in error.failure_cases.drop_duplicates("index").itertuples():
            value = table.loc[failure.index, failure.column]
            reasons[failure.index] = f"unknown {failure.column} {_shorten(value)} (valid: {failure.check})"
    return reasons


def _no_readings(cells: pd.DataFrame, numbers: pd.DataFrame) -> "pd.Series[str]":
    """Return per row the first reading that is neither a number nor said to be missing, or an empty text."""
    reasons = pd.Series("", index=cells.index, dtype=object)
    for column in READINGS:
        unread = (reasons == "") & numbers[column].isna() & ~cells[column].str.lower().isin(NOT_READ)
        shown = cells.loc[unread, column].map(_shorten)
        reasons[unread] = f"unknown {column} " + shown + " (valid: a whole number, or empty or N/A where there is none)"
    return reasons


def _nameless_paths(rows: pd.DataFrame) -> list[str]:
    """Return per row which of its paths names neither a series nor a case folder, or an empty text."""
    return [
        next(
            (
                f"the path of its {word} names neither a series nor a case folder: {_shorten(path)}"
                for word, path in zip(PATHS.values(), paths, strict=True)
                if not (series_uid(path) or case_folder(path))
            ),
            "",
        )
        for paths in rows[list(PATHS)].itertuples(index=False, name=None)
    ]


def _shorten(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."


def _contradicting_paths(rows: pd.DataFrame, kind: str, split: str) -> list[str]:
    """Return per row which of its paths names another patient, side, view or abnormality, or an empty text."""
    return [
        _contradicting_path(film_case(kind, split, patient, side, view), abnormality, image, [crop, mask])
        for patient, side, view, abnormality, image, crop, mask in rows[
            ["patient_id", "laterality", "view", "abnormality_id", "image", "crop", "mask"]
        ].itertuples(index=False, name=None)
    ]


def _contradicting_path(film: str, abnormality_id: str, image: str, lesion: Iterable[str]) -> str:
    expected = [(image, film), *((path, f"{film}_{abnormality_id}") for path in lesion)]
    for path, case in expected:
        if case_folder(path) not in ("", case):
            return f"the row is of {case}, its path of {case_folder(path)}"
    return ""


def _repeated(rows: pd.DataFrame) -> "pd.Series[str]":
    return find_repeats(rows.drop(columns="reason"), KEY, CONTRADICTION)


def _shared_series(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return the reason of rows that name a series which a row of another view or abnormality names too.

    As published, a film's series is of one view, and the series of crop and mask are of one abnormality.
    """
    usable = rows[rows["reason"] == ""]
    reasons = pd.Series("", index=rows.index, dtype=object)
    for columns, key, word in ((["image"], KEY[:3], "view"), (["crop", "mask"], KEY, "abnormality")):
        named = pd.concat([usable[key].assign(series=usable[column].map(series_uid)) for column in columns])
        owners = named[named["series"] != ""].drop_duplicates()
        shared = owners.loc[owners["series"].duplicated(), "series"]
        rows_of_shared = named.index[named["series"].isin(shared)].unique()
        what = " or ".join(PATHS[column] for column in columns)
        reasons[rows_of_shared] = f"the series of its {what} is also that of another {word}"
    return reasons
