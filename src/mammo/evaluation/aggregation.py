"""Predictions of samples raised to abnormalities, images, breasts and patients.

An abnormality has the mean score of its views; an image, a breast and a patient are as suspicious as their most
suspicious sample. The maximum is no calibrated probability: it grows with the number of samples. So each level chooses
its own operating point, from validation rows that were raised in the same way.
"""

import pandas as pd

from mammo.core.errors import InputError
from mammo.core.schemas import SCORES, VIEW_SEPARATOR
from mammo.data import lesions

# From fine to coarse: the columns of schemas.CASES, and `lesion` of lesions.name_lesions, that name one unit.
LEVELS = {
    "lesion": ["sample_id"],
    "abnormality": ["patient_id", "lesion"],
    "image": ["patient_id", "laterality", "view"],
    "breast": ["patient_id", "laterality"],
    "patient": ["patient_id"],
}


def possible_levels(cases: pd.DataFrame) -> list[str]:
    """Return the levels that the samples of `cases` (schemas.CASES) can be raised to, from fine to coarse."""
    too_fine = set() if lesions.are_single_lesions(cases) else {"lesion", "abnormality"}
    if cases["view"].str.contains(VIEW_SEPARATOR, regex=False).any():
        too_fine = too_fine | {"image"}
    return [level for level in LEVELS if level not in too_fine]


def aggregate(predictions: pd.DataFrame, cases: pd.DataFrame, level: str) -> pd.DataFrame:
    """Aggregate predictions to one row per lesion, abnormality, image, breast or patient, within split and fold.

    predictions: schemas.PREDICTIONS or schemas.OUT_OF_FOLD; cases: schemas.CASES; level: one of LEVELS, an image being
    a patient's side and view, a breast a patient's side. Returns the same columns, in which sample_id names the unit,
    label is the maximum over its samples, and n_samples counts them. Scores are their maximum as well (a noisy-or would
    claim independence and calibration that a lesion's two views do not have), of an abnormality their mean. "lesion"
    is one abnormality in one view, as in the official description files, so that it returns the samples themselves;
    "abnormality" is one in all its views, by data.lesions where the official ids contradict each other.
    Raises InputError for an unknown level, one finer than the samples, or a sample that is not in `cases`.
    """
    _check_level(cases, level)
    columns = LEVELS[level]
    lacking = [column for column in columns if column not in predictions]
    named = cases.assign(lesion=lesions.name_lesions(cases)) if "lesion" in lacking else cases
    with_units = predictions.merge(named[["sample_id", *lacking]], on="sample_id", how="left", validate="many_to_one")
    check_located(predictions, cases)
    keys = [column for column in ("fold", "part", "split") if column in with_units] + columns
    combine = "mean" if level == "abnormality" else "max"
    units = with_units.groupby(keys, sort=False).agg(
        patient_id=("patient_id", "first"),
        label=("label", "max"),
        **{score: (score, combine) for score in SCORES if score in with_units},
        n_samples=("sample_id", "size"),
    )
    units = units.drop(columns=["patient_id"] if "patient_id" in keys else []).reset_index()
    return units.assign(sample_id=units["lesion"] if level == "abnormality" else _join_names(units[columns]))[
        [*predictions.columns, "n_samples"]
    ]


def _join_names(parts: pd.DataFrame) -> "pd.Series[str]":
    """Return the text of each row's cells, joined by an underscore."""
    first, others = parts.iloc[:, 0].astype(str), parts.iloc[:, 1:].astype(str)
    return first if others.empty else first.str.cat(others, sep="_")


def _check_level(cases: pd.DataFrame, level: str) -> None:
    if level not in LEVELS:
        raise InputError(f"unknown level {level!r}; there are {', '.join(LEVELS)}")
    if level not in possible_levels(cases):
        raise InputError(
            f"level {level!r} is finer than the samples, which have one score for all their lesions; "
            f"possible: {', '.join(possible_levels(cases))} (or predict a finer ingest.unit)"
        )


def check_located(predictions: pd.DataFrame, cases: pd.DataFrame) -> None:
    """Raise InputError for predictions of samples that are not in `cases` (schemas.CASES)."""
    unknown = sorted(set(predictions["sample_id"]) - set(cases["sample_id"]))
    if unknown:
        raise InputError(
            f"{len(unknown)} predicted sample(s) are not among the cases, e.g. {', '.join(unknown[:3])}; the "
            "predictions are of another cohort: dvc repro"
        )
