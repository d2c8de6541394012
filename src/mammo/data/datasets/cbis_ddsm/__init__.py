"""CBIS-DDSM: 3,103 scanned films of 1,566 patients, every lesion outlined and its pathology proven; CC BY 3.0.

Lee et al., Scientific Data 2017, doi 10.1038/sdata.2017.177. One row of the four description CSVs is one abnormality
in one film. Layouts, told apart by what is there: the Kaggle copy (csv/, jpeg/<SeriesInstanceUID>/), DICOM in any tree
(TCIA, Imaging Data Commons), and images in the official case folders. Rows and files are joined by SeriesInstanceUID.
"""

from collections.abc import Hashable
from pathlib import Path

import pandas as pd

from mammo.core.parallel import parallel_map
from mammo.core.schemas import BIRADS_ORDER, KEY, PATH_SEPARATOR, TYPES, VIEW_SEPARATOR
from mammo.data.datasets import DatasetError, Located
from mammo.data.datasets._repeats import DUPLICATE
from mammo.data.datasets.cbis_ddsm import files, tables
from mammo.data.datasets.cbis_ddsm.names import film_case
from mammo.data.datasets.cbis_ddsm.tables import PATHOLOGIES

IMAGE_KEY = ["patient_id", "laterality", "view"]
UNIT_KEYS = {"image": IMAGE_KEY, "breast": ["patient_id", "laterality"]}
READINGS = {"breast_density": "Int64", "birads": "Int64", "subtlety": "Int64"}

# Counted in the four description CSVs (Lee et al. give the same rows and patients): rows by the file they are in,
# patients by `patient_id`, films by distinct image folder, views by distinct patient, side and view. 71 views are in
# the mass and in the calcification set, so that the whole has more films than views.
PUBLISHED = {
    frozenset({"mass", "calcification"}): {
        "train rows": 2_864,
        "test rows": 704,
        "malignant train rows": 1_181,
        "malignant test rows": 276,
        "patients": 1_566,
        "train patients": 1_248,
        "test patients": 349,
        "films": 3_103,
        "views": 3_032,
    },
    frozenset({"mass"}): {
        "train rows": 1_318,
        "test rows": 378,
        "malignant train rows": 637,
        "malignant test rows": 147,
        "patients": 892,
        "train patients": 691,
        "test patients": 201,
        "films": 1_592,
        "views": 1_592,
    },
    frozenset({"calcification"}): {
        "train rows": 1_546,
        "test rows": 326,
        "malignant train rows": 544,
        "malignant test rows": 129,
        "patients": 753,
        "train patients": 602,
        "test patients": 151,
        "films": 1_511,
        "views": 1_511,
    },
}


def locate(root: Path, unit: str, abnormality_types: list[str], workers: int) -> Located:
    """Return the cases of the copy under `root`; raises DatasetError where its layout or its CSVs are not as published.

    An image or a breast is used whole or not at all, because its label needs all of its abnormalities. A breast may
    lack one view. Of two films of one view (mass and calcification set) the first is used, with the masks of both.
    """
    rows = tables.read(root, abnormality_types)
    index = files.index_files(root, workers)
    rows = _join_files(rows, index, workers)
    rows["reason"] = rows["reason"].mask(rows["reason"] == "", _contradicting_files(rows, index))
    rows["reason"] = rows["reason"].mask(rows["reason"] == "", _shared_files(rows))
    if unit != "lesion":
        _spread_reasons(rows, unit)
    good = rows[rows["reason"] == ""]
    if good.empty:
        raise DatasetError(f"{root}: none of the {len(rows)} rows is usable; first reason: {rows['reason'].iloc[0]}")
    cases = _lesions(good) if unit == "lesion" else _groups(good, UNIT_KEYS[unit])
    excluded = rows.loc[rows["reason"] != "", [*KEY, "official_split", "reason", "image_path"]]
    excluded = excluded.assign(image_path=excluded["image_path"].replace("", None))
    crops = {mask: crop for mask, crop in zip(good["mask_path"], good["crop_path"], strict=True) if crop}
    return Located(cases, excluded, sorted({*good["image_path"], *good["mask_path"]}), _counts(rows), crops)


def published(abnormality_types: list[str]) -> dict[str, int]:
    """Return the counts of the full data set with these types, under the names of Located.counts."""
    return PUBLISHED[frozenset(abnormality_types)]


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    """Count the rows and patients of the CSVs, and the films and views on disk."""
    on_disk = rows[rows["image_path"] != ""]
    train, test = (rows[rows["official_split"] == split] for split in ("train", "test"))
    return {
        "train rows": len(train),
        "test rows": len(test),
        "malignant train rows": int((train["pathology"] == "MALIGNANT").sum()),
        "malignant test rows": int((test["pathology"] == "MALIGNANT").sum()),
        "patients": rows["patient_id"].nunique(),
        "train patients": train["patient_id"].nunique(),
        "test patients": test["patient_id"].nunique(),
        "films": on_disk["image_path"].nunique(),
        "views": len(on_disk.drop_duplicates(IMAGE_KEY)),
    }


def _join_files(rows: pd.DataFrame, index: files.Index, workers: int) -> pd.DataFrame:
    """Return `rows` with image_path and mask_path, and the reason where a file is missing."""
    cells = zip(rows["image"], rows["crop"], rows["mask"], strict=True)
    matches = list(parallel_map(lambda row: index.find(*row), cells, workers, "joining rows and files"))
    reasons = pd.Series([match.reason for match in matches], index=rows.index, dtype=object)
    return rows.assign(
        image_path=[match.film for match in matches],
        mask_path=[match.mask for match in matches],
        crop_path=[match.crop for match in matches],
        reason=rows["reason"].mask(rows["reason"] == "", reasons),
    )


def _contradicting_files(rows: pd.DataFrame, index: files.Index) -> "pd.Series[str]":
    """Return per row whose files say themselves that they are of another case, or an empty text."""
    usable = rows[rows["reason"] == ""]  # the names of others may be no names
    reasons = pd.Series("", index=rows.index, dtype=object)
    for place, row in zip(usable.index, usable.to_dict(orient="records"), strict=True):
        film = film_case(*(row[name] for name in ("abnormality_type", "official_split", *IMAGE_KEY)))
        lesion = f"{film}_{row['abnormality_id']}"
        pairs = ((row["image"], film), (row["crop"], lesion), (row["mask"], lesion))
        reasons[place] = next(filter(None, (index.contradiction(cell, case) for cell, case in pairs)), "")
    return reasons


def _shared_files(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return which rows share their film with another view, or mask or crop with another abnormality, as a reason."""
    usable = rows[rows["reason"] == ""]
    reasons = pd.Series("", index=rows.index, dtype=object)
    views = usable.drop_duplicates([*IMAGE_KEY, "image_path"])
    films = views.loc[views.duplicated("image_path", keep=False), "image_path"]
    reasons[usable.index[usable["image_path"].isin(films)]] = "its film is also that of another view"
    for column, word in (("crop_path", "crop"), ("mask_path", "mask")):
        shared = usable[column].ne("") & usable.duplicated(column, keep=False)
        reasons[usable.index[shared]] = f"its {word} is also that of another abnormality"
    return reasons


def _spread_reasons(rows: pd.DataFrame, unit: str) -> None:
    """Copy the reason of an unusable row to the usable rows of its film and unit; a duplicate affects none.

    By film too, so that a row whose side or view is damaged still counts against the film it is of.
    """
    because = f"another abnormality of this {unit}: "
    for key in (["image"], UNIT_KEYS[unit]):
        named = rows[(rows[key] != "").all(axis=1) & ~rows["reason"].isin(["", DUPLICATE])]
        first = named.groupby(key)["reason"].first().rename("elsewhere")
        elsewhere = rows.join(first, on=key)["elsewhere"].str.removeprefix(because)
        spread = (because + elsewhere).fillna("")
        rows["reason"] = rows["reason"].mask(rows["reason"] == "", spread)


def _lesions(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(
        sample_id=rows[KEY].agg("_".join, axis=1),
        label=(rows["pathology"] == "MALIGNANT").astype("int64"),
    ).drop(columns=["image", "crop", "mask", "reason", "crop_path"])


def _groups(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Return one row per image or breast; it is malignant if any of its abnormalities is."""
    samples = [_sample(name, group) for name, group in rows.groupby(key, sort=True)]
    return pd.DataFrame(samples).astype(READINGS)


def _sample(name: tuple[Hashable, ...], rows: pd.DataFrame) -> dict[str, object]:
    """Return the case of one image, or of the views of one breast, CC before MLO."""
    views = [view for _, view in rows.groupby("view", sort=True)]
    worst = max(rows["pathology"], key=PATHOLOGIES.index)
    return {
        "sample_id": "_".join(map(str, name)),
        "patient_id": rows["patient_id"].iloc[0],
        "laterality": rows["laterality"].iloc[0],
        "view": VIEW_SEPARATOR.join(view["view"].iloc[0] for view in views),
        "abnormality_id": PATH_SEPARATOR.join(number for view in views for number in view["abnormality_id"]),
        "abnormality_type": "+".join(kind for kind in TYPES if kind in set(rows["abnormality_type"])),
        "pathology": worst,
        "label": int(worst == "MALIGNANT"),
        "breast_density": rows["breast_density"].max(),
        "birads": max(rows["birads"].dropna(), key=BIRADS_ORDER.index, default=pd.NA),
        "subtlety": rows["subtlety"].max(),  # the most conspicuous one
        "official_split": "test" if (rows["official_split"] == "test").any() else "train",
        "image_path": VIEW_SEPARATOR.join(view["image_path"].iloc[0] for view in views),
        "mask_path": VIEW_SEPARATOR.join(PATH_SEPARATOR.join(view["mask_path"]) for view in views),
    }
