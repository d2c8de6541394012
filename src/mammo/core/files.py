"""Reading and writing the stages' files: tables checked against their schemas, atomic writes, hashes.

A table that breaks its schema is refused on reading and on writing. Writing is atomic: a half-written file never has
the final name.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from pandera.dtypes import is_string

from mammo.core.schemas import SPLITS, TableError, assert_patients_apart, check_table, select_columns

FULL = "free space there"
READ_ONLY = "make the folder writable, or work in another copy"
WRITE_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), READ_ONLY),
}


def describe_refused_write(error: OSError) -> str:
    """Return in words that a disk is full or a folder cannot be written, with the cure; empty for other errors."""
    codes = [error.errno] if error.errno else [code for code in WRITE_CURES if f"[Errno {code}]" in str(error)]
    cure = next((WRITE_CURES[code] for code in codes if code in WRITE_CURES), "")
    place = error.filename2 or error.filename
    where = f"{place}: " if place else ""
    return f"{where}{error.strerror or os.strerror(codes[0])}; {cure}, and run it again" if cure else ""


def read_table(path: Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Read the table in `path` and check it against `schema`; raises TableError."""
    if not path.is_file():
        raise TableError(f"{path} does not exist; `dvc repro` writes it")
    text = {name: str for name, column in schema.columns.items() if is_string(column.dtype)}
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise TableError(f"{path} is not a CSV table: {error}") from error
    return check_table(table, schema, str(path))


def write_table(path: Path, table: pd.DataFrame, schema: pa.DataFrameSchema) -> None:
    """Check `table` against `schema` and write it as CSV, columns in the schema's order."""
    checked = select_columns(check_table(table, schema, str(path)), schema)
    with atomic_write(path) as unfinished:
        checked.to_csv(unfinished, index=False, lineterminator="\n")


def write_rounded_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table of results, which has no schema, as CSV with numbers to six decimals."""
    write_text(path, table.round(6).to_csv(index=False, lineterminator="\n"))


def read_splits(path: Path) -> pd.DataFrame:
    """Read splits.csv; raises TableError for a patient in two splits or two folds."""
    splits = read_table(path, SPLITS)
    assert_patients_apart(splits, str(path))
    return splits


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` when the block succeeds, and deleted when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a small text file atomically."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` when the block succeeds, and is deleted when it fails."""
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
    """Return the hex digest of a file, or of a folder's files with their names."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if not path.is_dir():
        raise FileNotFoundError(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{file.relative_to(path).as_posix()} {sha256(file)}" for file in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
