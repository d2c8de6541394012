"""Data sets, one file each: `locate(root, unit, abnormality_types, workers)` turns a copy on disk into cases.

Paths in the tables are relative to the root, so that the tables are the same on every machine.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import pandas as pd

from mammo.core import plugins
from mammo.core.errors import InputError

OUT_OF_SCOPE = "out of scope: "  # starts the reason of a usable row that the parameters leave out
MAX_REASONS = 5


class DatasetError(InputError):
    """A data set is not as published; the message says what is wrong, where, and how to correct it."""


@dataclass(frozen=True)
class Located:
    """Every published row, in `cases` (schemas.CASES) or in `excluded` (schemas.EXCLUDED), and the cases' files.

    counts: the copy's counts, under the names that the data set's `published` uses. crops: the published crop of a
    lesion by the path of its mask, where the data set has it.
    """

    cases: pd.DataFrame
    excluded: pd.DataFrame
    files: list[str]
    counts: dict[str, int]
    crops: dict[str, str] = field(default_factory=dict)


class Dataset(Protocol):
    """The functions of each file here."""

    def locate(self, root: Path, unit: str, abnormality_types: list[str], workers: int) -> Located:
        """Return cases and excluded rows of the copy under `root`."""

    def published(self, abnormality_types: list[str]) -> dict[str, int]:
        """Return the counts of the full data set, by its authors or counted in its tables."""


def load_dataset(name: str) -> Dataset:
    """Return the data set of that name; an unknown name lists the others."""
    return cast(Dataset, plugins.load_plugin(__name__, name, "ingest.dataset"))


def assert_full(counts: dict[str, int], published: dict[str, int], where: str) -> None:
    """Raise DatasetError naming every count that differs from the published one."""
    differing = [
        f"{name}: {counts.get(name, 0):,} instead of {count:,}"
        for name, count in published.items()
        if counts.get(name, 0) != count
    ]
    if differing:
        raise DatasetError(
            f"{where} is not the full data set: {'; '.join(differing)}. Complete the copy, or set "
            "`ingest.expect: subset` in params.yaml to work with this part"
        )


def refuse_excluded(excluded: pd.DataFrame, where: str) -> None:
    """Raise DatasetError where rows other than those out of scope are excluded, for `on_error: fail`.

    excluded: schemas.EXCLUDED.
    """
    reasons = excluded.loc[~excluded["reason"].str.startswith(OUT_OF_SCOPE), "reason"]
    if reasons.empty:
        return
    counts = reasons.value_counts()
    summary = "; ".join(f"{count} x {reason}" for reason, count in counts.head(MAX_REASONS).items())
    raise DatasetError(
        f"{where}: {len(reasons)} unusable row(s) and ingest.on_error is `fail`: {summary}"
        f"{' ...' if len(counts) > MAX_REASONS else ''}. Repair the files, or set `ingest.on_error: exclude`"
    )
