"""The tables that travel between stages: their columns, types and checks.

A table that breaks its contract is refused, on reading and on writing, with the file, the column and the values
that are wrong. Writing is atomic: a half-written table never has the final name.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pandera.dtypes import is_string

from mammo.errors import InputError

KEY = ["patient_id", "laterality", "view", "abnormality_id", "abnormality_type"]
PATH_SEPARATOR = ";"  # between the masks, or the abnormalities, of one film
VIEW_SEPARATOR = "|"  # between the films of one breast, CC first, in view, image_path and mask_path
BOX_PREFIX = "box:"  # in mask_path, a lesion that is known by its box: box:top,left,bottom,right in px of the film
TYPES = ["mass", "calcification", "architectural_distortion", "asymmetry", "none"]


class TableError(InputError):
    """A table breaks its contract; the message names file, column and values."""


def _text(*choices: str, nullable: bool = False) -> pa.Column:
    return pa.Column(str, pa.Check.isin(choices) if choices else None, nullable=nullable)


_label = pa.Column("int64", pa.Check.isin([0, 1]))
_prob = pa.Column("float64", pa.Check.in_range(0, 1))

# birads, breast_density and subtlety: 0 and empty occur in the official files.
# mask_path: empty where no lesion is marked.
CASES = pa.DataFrameSchema(
    {
        "sample_id": pa.Column(str, unique=True),
        "patient_id": pa.Column(str, pa.Check.str_matches(r"^\S+$")),
        "laterality": _text("LEFT", "RIGHT"),
        "view": _text("CC", "MLO", f"CC{VIEW_SEPARATOR}MLO"),
        "abnormality_id": _text(),
        "abnormality_type": pa.Column(str, pa.Check.str_matches(rf"^({'|'.join(TYPES)})(\+({'|'.join(TYPES)}))*$")),
        "pathology": _text("NORMAL", "BENIGN", "BENIGN_WITHOUT_CALLBACK", "MALIGNANT"),
        "label": _label,
        "breast_density": pa.Column("Int64", pa.Check.in_range(0, 4), nullable=True),
        "birads": pa.Column("Int64", pa.Check.in_range(0, 6), nullable=True),
        "subtlety": pa.Column("Int64", pa.Check.in_range(0, 5), nullable=True),
        "official_split": _text("train", "test"),
        "image_path": _text(),
        "mask_path": _text(nullable=True),
    },
    strict=True,
    coerce=True,
)
EXCLUDED = pa.DataFrameSchema(
    {**{column: _text(nullable=True) for column in KEY}, "official_split": _text("train", "test"), "reason": _text()},
    strict=True,
    coerce=True,
)
SPLITS = pa.DataFrameSchema(
    {
        "sample_id": pa.Column(str, unique=True),
        "patient_id": _text(),
        "split": _text("train", "val", "test"),
        "fold": pa.Column("Int64", pa.Check.ge(0), nullable=True),
    },
    strict=True,
    coerce=True,
)
INDEX = pa.DataFrameSchema(
    {
        "sample_id": pa.Column(str, unique=True),
        "patient_id": _text(),
        "split": _text("train", "val", "test"),
        "fold": pa.Column("Int64", nullable=True),
        "label": _label,
        "abnormality_type": _text(),
    },
    strict=True,
    coerce=True,
)
# lesion_share: of the film's pixels, those that are marked as lesion.
SIZES = pa.DataFrameSchema(
    {"sample_id": pa.Column(str, unique=True), "lesion_share": pa.Column("float64", pa.Check.in_range(0, 1))},
    strict=True,
    coerce=True,
)
PREDICTIONS = pa.DataFrameSchema(
    {
        "sample_id": _text(),
        "patient_id": _text(),
        "split": _text("val", "test"),
        "label": _label,
        "prob": _prob,
    },
    strict=True,
    coerce=True,
    unique=["sample_id", "split"],
)
# split "val" = the inner validation of a fold (its operating point); "oof" = the held-out fold itself.
# repeat: the folds are drawn anew for each; 0 has the folds of tables.SPLITS.
OUT_OF_FOLD = pa.DataFrameSchema(
    {
        "sample_id": _text(),
        "patient_id": _text(),
        "repeat": pa.Column("int64", pa.Check.ge(0)),
        "fold": pa.Column("int64", pa.Check.ge(0)),
        "split": _text("val", "oof"),
        "label": _label,
        "prob": _prob,
    },
    strict=True,
    coerce=True,
    unique=["sample_id", "repeat", "fold", "split"],
)
# perceptual_hash: of films (not of masks), hexadecimal; see mammo.leaks.
MANIFEST = pa.DataFrameSchema(
    {
        "path": pa.Column(str, unique=True),
        "bytes": pa.Column("int64", pa.Check.ge(0)),
        "height_px": pa.Column("int64", pa.Check.ge(1)),
        "width_px": pa.Column("int64", pa.Check.ge(1)),
        "sha256": pa.Column(str, pa.Check.str_length(64, 64)),
        "perceptual_hash": pa.Column(str, pa.Check.str_matches("^[0-9a-f]+$"), nullable=True),
    },
    strict=True,
    coerce=True,
)


def read(path: Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """The table in `path`, checked against `schema`; raises TableError."""
    if not path.is_file():
        raise TableError(f"{path} does not exist; `dvc repro` writes it")
    text = {name: str for name, column in schema.columns.items() if is_string(column.dtype)}
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TableError(f"{path} is not a CSV table: {error}") from error
    return check(table, schema, str(path))


def write(path: Path, table: pd.DataFrame, schema: pa.DataFrameSchema) -> None:
    """Check `table` against `schema` and write it as CSV, columns in the schema's order."""
    checked = check(table, schema, str(path))[list(schema.columns)]
    with atomic(path) as unfinished:
        checked.to_csv(unfinished, index=False, lineterminator="\n")


def write_rounded(path: Path, table: pd.DataFrame) -> None:
    """Write a table of results as CSV, numbers to six decimals; it has no schema."""
    write_text(path, table.round(6).to_csv(index=False, lineterminator="\n"))


def check(table: pd.DataFrame, schema: pa.DataFrameSchema, where: str) -> pd.DataFrame:
    """`table` with the schema's types; raises TableError naming column and values."""
    try:
        return schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise TableError(f"{where}: " + "; ".join(_explain(error.failure_cases, schema))) from None


def _explain(failures: pd.DataFrame, schema: pa.DataFrameSchema) -> Iterator[str]:
    for (column, rule), cases in failures.groupby(["column", "check"], dropna=False):
        values = sorted({str(value) for value in cases["failure_case"]})
        if rule == "column_in_dataframe":
            yield f"columns missing: {', '.join(values)} (needed: {', '.join(schema.columns)})"
        elif rule == "column_in_schema":
            yield f"unknown columns: {', '.join(values)} (valid: {', '.join(schema.columns)})"
        else:
            yield f"column {column}: {rule} broken by {len(cases)} value(s), e.g. {', '.join(values[:5])}"


def read_splits(path: Path) -> pd.DataFrame:
    """splits.csv; refuses a patient in two splits or two folds."""
    splits = read(path, SPLITS)
    assert_patients_apart(splits, str(path))
    return splits


def assert_patients_apart(table: pd.DataFrame, where: str) -> None:
    """Raise TableError where a patient is in more than one split or fold."""
    training = table[table["fold"].notna()]
    for rows, column in ((table, "split"), (training, "fold")):
        places = rows.groupby("patient_id")[column].nunique()
        leaking = places.index[places > 1]
        if len(leaking):
            raise TableError(
                f"{where}: {len(leaking)} patient(s) in more than one {column}, e.g. {', '.join(leaking[:5])}; "
                "a patient's images must stay together: rerun the split stage (dvc repro -f split)"
            )


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and vanishes when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    with atomic(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that takes the name `path` when the block ends well; whatever had the name is then replaced."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        shutil.rmtree(path, ignore_errors=True)
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def sha256(path: Path) -> str:
    """Hex digest of a file, or of a folder's files with their names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        raise FileNotFoundError(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
