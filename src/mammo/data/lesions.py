"""Lesions over their views: which samples show one lesion in CC and in MLO, and where its official rows contradict.

A lesion is one patient, side, type and abnormality_id, and its two views have one pathology. Where they have two, the
ids of two lesions may be exchanged between the views of a breast (pathology and BI-RADS category agree crosswise): then
MLO takes the other's id. Else one row is wrong: the lesion is malignant if any of its views is, as every coarser unit
is. No row is changed or left out.
"""

import numpy as np
import pandas as pd

from mammo.core.schemas import KEY, PATH_SEPARATOR, VIEW_SEPARATOR

LESION = [column for column in KEY if column != "view"]
READING = ["pathology", "birads"]
CONTRADICTION = [*LESION, "official_split", "cc", "mlo", "swapped_with"]


def are_single_lesions(cases: pd.DataFrame) -> bool:
    """Return whether each sample of `cases` (schemas.CASES) is one lesion in one view."""
    marks = {"abnormality_id": PATH_SEPARATOR, "abnormality_type": "+", "view": VIEW_SEPARATOR}
    return not any(cases[column].str.contains(mark, regex=False).any() for column, mark in marks.items())


def find_contradictions(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the lesions whose views differ in pathology: LESION, official_split, cc, mlo, swapped_with.

    cases: schemas.CASES, a lesion a sample. cc, mlo: the pathologies; swapped_with: the abnormality_id with which this
    one is exchanged in one of the views, empty where there is no such id.
    """
    cc, mlo = (cases.loc[cases["view"] == view, [*LESION, *READING, "official_split"]] for view in ("CC", "MLO"))
    both = cc.merge(mlo.drop(columns="official_split"), on=LESION, suffixes=("_cc", "_mlo"))
    differing = both[both["pathology_cc"] != both["pathology_mlo"]]
    crossed = _cross(differing)
    result = differing.merge(crossed, on=LESION, how="left")
    result["swapped_with"] = result["swapped_with"].fillna("")
    result = result.rename(columns={"pathology_cc": "cc", "pathology_mlo": "mlo"})
    return result[CONTRADICTION].sort_values(LESION, ignore_index=True)


def name_lesions(cases: pd.DataFrame) -> "pd.Series[str]":
    """Return the lesion that each sample of `cases` (schemas.CASES) shows, by a name unique in the cohort."""
    swapped = find_contradictions(cases)[[*LESION, "swapped_with"]]
    partner = cases[KEY].merge(swapped, on=LESION, how="left")["swapped_with"].fillna("").to_numpy(str)
    exchanged = (cases["view"] == "MLO").to_numpy() & (partner != "")
    numbers = np.where(exchanged, partner, cases["abnormality_id"].to_numpy(str))
    place = cases["patient_id"] + "_" + cases["laterality"] + "_" + cases["abnormality_type"]
    return (place + "_" + numbers).rename("lesion")


def count_views(cases: pd.DataFrame) -> dict[str, int]:
    """Count lesions, those seen in one view alone, and those whose views contradict each other."""
    views = cases.groupby(name_lesions(cases))["view"].nunique()
    return {
        "lesions": len(views),
        "lesions_in_one_view": int((views == 1).sum()),
        "contradicting_lesions": len(find_contradictions(cases)),
    }


def describe_contradictions(contradictions: pd.DataFrame) -> list[str]:
    """Return each row of `find_contradictions` in words."""
    return [
        f"{row['patient_id']} {row['laterality']} {row['abnormality_type']} {row['abnormality_id']}: "
        f"CC {row['cc']}, MLO {row['mlo']}"
        + (f" (ids exchanged with {row['swapped_with']})" if row["swapped_with"] else "")
        for row in contradictions.to_dict(orient="records")
    ]


def _cross(differing: pd.DataFrame) -> pd.DataFrame:
    """Return the exchanged lesions with their partners: LESION, swapped_with."""
    breast = [column for column in LESION if column != "abnormality_id"]
    pairs = differing.merge(differing, on=breast, suffixes=("", "_other"))
    agree = pairs["abnormality_id"] != pairs["abnormality_id_other"]
    for name in READING:
        for own, other in ((f"{name}_cc", f"{name}_mlo_other"), (f"{name}_mlo", f"{name}_cc_other")):
            agree &= pairs[own].astype("string").fillna("") == pairs[other].astype("string").fillna("")
    crossed = pairs[agree].rename(columns={"abnormality_id_other": "swapped_with"})
    return crossed[[*LESION, "swapped_with"]].drop_duplicates(LESION)
