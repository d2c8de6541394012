"""Data sets, one file each: `locate(root, unit, abnormality_types, workers)` turns what lies on disk into cases.

Paths in the tables are relative to the root, so that the tables are the same on every machine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import pandas as pd

from mammo.core import plugins
from mammo.core.errors import InputError

OUT_OF_SCOPE = "out of scope: "  # starts the reason of a row that is whole, but no sample of what was asked for
REASONS_SHOWN = 5


class DatasetError(InputError):
    """A data set is not as published; the message says what, where and the cure."""


@dataclass(frozen=True)
class Located:
    """Every published row: in `cases` (tables.CASES) or in `excluded` (tables.EXCLUDED), and the files they rest on.

    counts: what was found, under the names that the data set's `published` uses.
    """

    cases: pd.DataFrame
    excluded: pd.DataFrame
    files: list[str]
    counts: dict[str, int]


class Dataset(Protocol):
    """What each file here offers."""

    def locate(self, root: Path, unit: str, abnormality_types: list[str], workers: int) -> Located:
        """Cases and excluded rows of the copy under `root`."""

    def published(self, abnormality_types: list[str]) -> dict[str, int]:
        """The counts of the full data set, as its authors published them or as they were counted in its tables."""


def get(name: str) -> Dataset:
    """The data set of that name; an unknown one lists the others."""
    return cast(Dataset, plugins.load_plugin(__name__, name, "ingest.dataset"))


def assert_full(found: dict[str, int], published: dict[str, int], where: str) -> None:
    """Raise DatasetError naming every count that is not the published one."""
    differing = [
        f"{name}: {found.get(name, 0):,} instead of {count:,}"
        for name, count in published.items()
        if found.get(name, 0) != count
    ]
    if differing:
        raise DatasetError(
            f"{where} is not the full data set: {'; '.join(differing)}. Complete the copy, or say "
            "`ingest.expect: subset` in params.yaml to work with what is there"
        )


def refuse_excluded(excluded: pd.DataFrame, where: str) -> None:
    """Raise DatasetError where rows are unusable, for `on_error: fail`; those out of scope are not meant.

    excluded: tables.EXCLUDED.
    """
    reasons = excluded.loc[~excluded["reason"].str.startswith(OUT_OF_SCOPE), "reason"]
    if reasons.empty:
        return
    counts = reasons.value_counts()
    shown = "; ".join(f"{count} x {reason}" for reason, count in counts.head(REASONS_SHOWN).items())
    raise DatasetError(
        f"{where}: {len(reasons)} unusable row(s) and ingest.on_error is `fail`: {shown}"
        f"{' ...' if len(counts) > REASONS_SHOWN else ''}. Mend the files, or say `ingest.on_error: exclude`"
    )
