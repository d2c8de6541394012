"""Data sets, one file each: `locate(root, unit, abnormality_types, workers)` turns what lies on disk into cases.

Paths in the tables are relative to the root, so that the tables are the same on every machine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import pandas as pd

from mammo import datasets, registry
from mammo.errors import InputError

# From the least to the most suspicious: 0 (incomplete, needs further imaging) ranks between 3 (probably benign) and 4.
BIRADS_ORDER = [1, 2, 3, 0, 4, 5, 6]


class DatasetError(InputError):
    """A data set is not as published; the message says what, where and the cure."""


@dataclass(frozen=True)
class Located:
    """Every published row: in `cases` (tables.CASES) or in `excluded` (tables.EXCLUDED), and the files they rest on."""

    cases: pd.DataFrame
    excluded: pd.DataFrame
    files: list[str]


class Dataset(Protocol):
    """What each file here offers."""

    def locate(self, root: Path, unit: str, abnormality_types: list[str], workers: int) -> Located:
        """Cases and excluded rows of the copy under `root`."""


def get(name: str) -> Dataset:
    """The data set of that name; an unknown one lists the others."""
    return cast(Dataset, registry.module(datasets, name, "ingest.dataset"))
