"""Runs in one file, for a server that their site does not reach: a zip file whose list names every member.

runs.json lists each member with its size and SHA-256, and describes the runs; the members are the files of their
artifacts and models. A file is read as if a stranger had written it: nothing that is not listed is unpacked, nothing
outside of the folder, and no more bytes than listed.
"""

import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mammo.core.errors import InputError, list_issues
from mammo.core.files import atomic_write, sha256

LIST = "runs.json"
LARGEST_LIST = 500_000_000  # bytes
ISSUES_SHOWN = 3
BLOCK = 2**20
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]  # it becomes a folder


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PackedInput(_Part):
    """An input data set of a run, as MLflow has it."""

    name: str
    digest: str
    source_type: str
    source: str
    tags: dict[str, str]


class PackedModel(_Part):
    """A logged model of a run; its files are the members below models/<model_id>/."""

    model_id: Id
    name: str
    step: int
    model_type: str | None
    tags: dict[str, str]
    params: dict[str, str]


class PackedRun(_Part):
    """A finished run; its artifacts are the members below artifacts/<run_id>/.

    parts: ids of the runs below it that have no record of their own (folds, seeds). metrics: (key, value, timestamp in
    ms, step) of every logged value.
    """

    run_id: Id
    name: str
    start_time: int
    end_time: int
    tags: dict[str, str]
    params: dict[str, str]
    metrics: list[tuple[str, float, int, int]]
    inputs: list[PackedInput]
    models: list[PackedModel]
    parts: list[Id]


class Member(_Part):
    """A file of the archive."""

    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RunList(_Part):
    """What an archive holds."""

    format: Literal[1]
    files: dict[str, Member]
    runs: list[PackedRun]


def write_archive(path: Path, runs: Sequence[PackedRun], folder: Path) -> None:
    """Write the runs, and the files of `folder` (artifacts/, models/), to a zip file."""
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*")) if file.is_file()}
    members = {name: Member(size=file.stat().st_size, sha256=sha256(file)) for name, file in files.items()}
    listed = RunList(format=1, files=members, runs=list(runs))
    with (
        atomic_write(path) as unfinished,
        zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out,
    ):
        out.writestr(LIST, json.dumps(listed.model_dump()))
        for name, file in files.items():
            out.write(file, name)


def read_archive(path: Path, folder: Path) -> list[PackedRun]:
    """Unpack an archive into an empty folder after checking it, and return its runs.

    Raises InputError that says what is wrong, before anything is written beside the folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            listed = _read_list(archive, path)
            _check_names(archive, listed.files, path)
            size = sum(member.size for member in listed.files.values())
            if size > (free := shutil.disk_usage(folder).free):
                raise InputError(f"{path} holds {size / 1e6:,.0f} MB, and {folder} has {free / 1e6:,.0f} MB of space")
            for name, member in listed.files.items():
                _extract(archive, name, member, folder / name)
    # RuntimeError: a member that is encrypted or, as NotImplementedError, of an unknown compression.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read: {error}; copy or pack it again") from error
    return listed.runs


def _read_list(archive: zipfile.ZipFile, path: Path) -> RunList:
    names = archive.namelist()
    if names.count(LIST) != 1:
        raise InputError(f"{path} has no {LIST}: it is no file of `python -m mammo runs pack`")
    with archive.open(LIST) as file:
        text = file.read(LARGEST_LIST + 1)
    if len(text) > LARGEST_LIST:
        raise InputError(f"{path}: {LIST} is larger than {LARGEST_LIST / 1e6:.0f} MB")
    try:
        return RunList.model_validate(json.loads(text))
    except (ValueError, RecursionError) as error:
        reason = "; ".join(list_issues(error)[:ISSUES_SHOWN]) if isinstance(error, ValidationError) else str(error)
        raise InputError(f"{path}: {LIST} is not of this version of mammo ({reason}); pack it again") from None


def _check_names(archive: zipfile.ZipFile, files: Mapping[str, Member], path: Path) -> None:
    """Raise InputError for members that are not as listed, or whose names lead out of the folder."""
    names = [name for name in archive.namelist() if name != LIST]
    if sorted(names) != sorted(files):
        odd = sorted(set(names) ^ set(files)) or sorted(name for name in set(names) if names.count(name) > 1)
        raise InputError(f"{path}: {odd[0]!r} is not once in the file and once in its list; it was changed")
    for name in names:
        parts = PurePosixPath(name).parts
        inside = parts[:1] in (("artifacts",), ("models",)) and len(parts) > 2 and ".." not in parts
        if not inside or "\\" in name or re.match("[A-Za-z]:", name) or PurePosixPath(name).as_posix() != name:
            raise InputError(f"{path}: {name!r} is no place for a file of a run; the file was not made by mammo")
        if archive.getinfo(name).file_size != files[name].size:
            raise InputError(f"{path}: {name} is not of the size in its list; it is damaged or was changed")


def _extract(archive: zipfile.ZipFile, name: str, member: Member, target: Path) -> None:
    """Write a member as a plain file; raise InputError for more bytes than listed, or others."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, written = hashlib.sha256(), 0
    with archive.open(name) as source, target.open("xb") as file:
        while block := source.read(BLOCK):
            written += len(block)
            if written > member.size:
                break
            digest.update(block)
            file.write(block)
    if written != member.size or digest.hexdigest() != member.sha256:
        raise InputError(f"{archive.filename}: {name} has a wrong checksum: it is damaged or was changed")


def to_plain(values: Mapping[Any, Any]) -> dict[str, str]:
    """Return tags or parameters of MLflow as texts."""
    return {str(key): str(value) for key, value in values.items()}
