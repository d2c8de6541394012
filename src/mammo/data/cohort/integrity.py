"""Problems of a copy of a data set, in words: missing or changed files, unusable rows, leaks; tables in, words out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mammo.core import schemas
from mammo.core.errors import InputError
from mammo.core.schemas import KEY
from mammo.data.cohort import leakage
from mammo.data.datasets import OUT_OF_SCOPE


def describe_unusable(excluded: pd.DataFrame, accepted: pd.DataFrame | None) -> list[str]:
    """Count the rows that are no case because of their files or values, by reason; without those accepted before.

    excluded: schemas.EXCLUDED. accepted: schemas.EXCLUDED of the last ingest, None before the first.
    """
    unusable = excluded[~excluded["reason"].str.startswith(OUT_OF_SCOPE)]
    if accepted is not None:
        accepted_rows = set(accepted[[*KEY, "reason"]].fillna("").itertuples(index=False, name=None))
        rows = unusable[[*KEY, "reason"]].fillna("").itertuples(index=False, name=None)
        unusable = unusable[np.array([row not in accepted_rows for row in rows], bool)]
    counts = unusable["reason"].value_counts(sort=False)
    return [f"{reason} ({count} row{'s' if count > 1 else ''})" for reason, count in counts.items()]


def describe_changes(recorded: pd.DataFrame, digests: Mapping[str, str]) -> list[str]:
    """List files that are missing, changed or new since ingest.

    recorded: schemas.MANIFEST of ingest; digests: SHA-256 by path of the files now on disk.
    """
    before = dict(zip(recorded["path"], recorded["sha256"], strict=True))
    return [
        *(f"{path}: missing, and ingest used it" for path in before if path not in digests),
        *(f"{path}: changed since ingest" for path in before if digests.get(path, before[path]) != before[path]),
        *(f"{path}: new since ingest; `dvc repro -f ingest` includes it" for path in digests if path not in before),
    ]


def describe_leaks(cases: pd.DataFrame, splits: pd.DataFrame, manifest: pd.DataFrame) -> list[str]:
    """List patients in two splits or folds, and the leaks of leakage.audit; schemas.CASES, SPLITS, MANIFEST."""
    try:
        schemas.assert_patients_apart(splits, "the split")
        audited = leakage.audit(cases, splits, manifest)
    except InputError as error:
        return [str(error)]
    return [f"leak: {example}" for example in audited["examples"]]
