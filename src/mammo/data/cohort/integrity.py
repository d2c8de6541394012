"""Whether a copy of a data set is whole, and still what was taken in: each problem in words. Tables in, words out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mammo.core import schemas
from mammo.core.errors import InputError
from mammo.core.schemas import KEY
from mammo.data.cohort import leakage
from mammo.data.datasets import OUT_OF_SCOPE


def unusable(excluded: pd.DataFrame, accepted: pd.DataFrame | None) -> list[str]:
    """Published rows that are no case because of their files or values; those that ingest excluded before are accepted.

    excluded, accepted: tables.EXCLUDED; accepted: None before ingest.
    """
    lost = excluded[~excluded["reason"].str.startswith(OUT_OF_SCOPE)]
    if accepted is not None:
        known = set(accepted[[*KEY, "reason"]].fillna("").itertuples(index=False, name=None))
        rows = lost[[*KEY, "reason"]].fillna("").itertuples(index=False, name=None)
        lost = lost[np.array([row not in known for row in rows], bool)]
    counted = lost["reason"].value_counts(sort=False)
    return [f"{reason} ({count} row{'s' if count > 1 else ''})" for reason, count in counted.items()]


def changed(recorded: pd.DataFrame, digests: Mapping[str, str]) -> list[str]:
    """Files that are gone, other ones or new since ingest hashed them.

    recorded: tables.MANIFEST; digests: SHA-256 by path of the files that are there now.
    """
    before = dict(zip(recorded["path"], recorded["sha256"], strict=True))
    return [
        *(f"{path}: missing, and ingest used it" for path in before if path not in digests),
        *(
            f"{path}: not the file that ingest saw"
            for path in before
            if digests.get(path, before[path]) != before[path]
        ),
        *(f"{path}: new since ingest; `dvc repro -f ingest` takes it in" for path in digests if path not in before),
    ]


def leaking(cases: pd.DataFrame, splits: pd.DataFrame, manifest: pd.DataFrame) -> list[str]:
    """Patients in two splits or folds, and what the leak audit (leaks.audit) finds; tables.CASES, SPLITS, MANIFEST."""
    try:
        schemas.assert_patients_apart(splits, "the split")
        audited = leakage.audit(cases, splits, manifest)
    except InputError as error:
        return [str(error)]
    return [f"leak: {example}" for example in audited["examples"]]
