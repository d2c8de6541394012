"""Files as a commit, branch, tag or experiment holds them: from git, or from DVC's cache."""

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import yaml
from dvc.exceptions import DvcException
from dvc.logger import set_loggers_level
from dvc.repo import Repo
from pandera.dtypes import is_string

from mammo.core.config import PARAMS_FILE, flatten
from mammo.core.errors import InputError
from mammo.core.schemas import check_table
from mammo.pipeline.dvc_project import find_root


class Revision:
    """A commit of this DVC project; name: as the user names it, commit: its SHA."""

    def __init__(self, name: str, repo: Any) -> None:
        self.name, self.commit = name, str(repo.get_rev())
        self._files = repo.dvcfs

    def read_text(self, path: Path) -> str:
        """Return the text of a file; raise InputError where the commit has none, or DVC's cache lacks it."""
        try:
            with self._files.open(path.as_posix(), encoding="utf-8") as file:
                return str(file.read())
        except FileNotFoundError as error:
            if self._files.exists(path.as_posix()):
                cure = f"`dvc fetch --all-commits {path}` fetches it from a remote"
                raise InputError(f"{path} of {self.name} is not in DVC's cache; {cure}") from error
            raise InputError(f"{self.name} has no {path}") from error

    def has(self, path: Path) -> bool:
        """Return whether the commit has that file, in git or named by dvc.lock."""
        return bool(self._files.exists(path.as_posix()))

    def read_csv(self, path: Path) -> pd.DataFrame:
        """Read a table that has no schema; raise InputError as `read_text`."""
        return pd.read_csv(io.StringIO(self.read_text(path)))

    def read_table(self, path: Path, schema: pa.DataFrameSchema) -> pd.DataFrame:
        """Read a table and check it against `schema`; raise InputError as `read_text`, TableError for a wrong one."""
        text = {name: str for name, column in schema.columns.items() if is_string(column.dtype)}
        table = pd.read_csv(io.StringIO(self.read_text(path)), dtype=text, keep_default_na=False, na_values=[""])
        return check_table(table, schema, f"{path} of {self.name}")

    def read_parameters(self) -> dict[str, Any]:
        """Return params.yaml as nested values."""
        return dict(yaml.safe_load(self.read_text(PARAMS_FILE)) or {})


def changed_parameters(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return (before, now) by dotted key where two contents of params.yaml differ; None stands for an unset one."""
    old, new = flatten(before), flatten(now)
    keys = dict.fromkeys([*new, *old])
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


@contextmanager
def open_revision(name: str) -> Iterator[Revision]:
    """Open a commit, branch, tag or experiment of this DVC project; raise InputError where there is none."""
    root = find_root()
    try:
        with set_loggers_level(logging.ERROR), Repo(root, rev=name) as repo:
            yield Revision(name, repo)
    except DvcException as error:
        raise InputError(f"{name}: {error}; name a commit, branch, tag or experiment (`dvc exp list`)") from error
