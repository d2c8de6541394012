"""CBIS-DDSM in the layout of its Kaggle copy: csv/*.csv and jpeg/<SeriesInstanceUID>/*.jpg.

Lee et al., Scientific Data 2017, doi 10.1038/sdata.2017.177. One row of the four description CSVs is one abnormality
in one film. The paths in them do not exist; only the SeriesInstanceUID inside a path is used. Crop and mask are told
apart by content, because the columns and the file numbers are often swapped. `SeriesDescription` is not used: it is
missing for part of the files.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo import compute, pixels
from mammo.datasets import BIRADS_ORDER, DatasetError, Located
from mammo.tables import KEY, PATH_SEPARATOR

FILES = {
    ("mass", "train"): "mass_case_description_train_set.csv",
    ("mass", "test"): "mass_case_description_test_set.csv",
    ("calcification", "train"): "calc_case_description_train_set.csv",
    ("calcification", "test"): "calc_case_description_test_set.csv",
}
COLUMNS = {
    "patient_id": "patient_id",
    "breast_density": "breast_density",
    "left or right breast": "laterality",
    "image view": "view",
    "abnormality id": "abnormality_id",
    "abnormality type": "abnormality_type",
    "assessment": "birads",
    "pathology": "pathology",
    "subtlety": "subtlety",
    "image file path": "image",
    "cropped image file path": "crop",
    "ROI mask file path": "mask",
}
PATHOLOGIES = ["BENIGN_WITHOUT_CALLBACK", "BENIGN", "MALIGNANT"]  # from the surest negative to the positive
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
ASPECT_TOLERANCE = 0.01
IMAGE_KEY = ["patient_id", "laterality", "view"]
DUPLICATE = "duplicate of an earlier row"


@dataclass(frozen=True)
class Files:
    """The film and the mask of one row, relative to the root; or the reason why there is no such pair."""

    image_path: str = ""
    mask_path: str = ""
    reason: str = ""


def locate(root: Path, unit: str, abnormality_types: list[str], workers: int) -> Located:
    """Cases of the copy under `root`; raises DatasetError where its layout or its CSVs are not as published."""
    rows = _read_rows(root, abnormality_types)
    folders = _series_folders(root)
    found = compute.run(
        lambda row: _files_of(*row, folders, root),
        zip(rows["image"], rows["crop"], rows["mask"], strict=True),
        workers,
        "joining rows and files",
    )
    files = pd.DataFrame(list(found), index=rows.index)
    rows = rows.assign(image_path=files["image_path"], mask_path=files["mask_path"], reason=files["reason"])
    rows["reason"] = rows["reason"].mask(rows["reason"] == "", _bad_values(rows))
    if unit == "image":
        rows["reason"] = _spread_to_image(rows)
    good = rows[rows["reason"] == ""]
    if good.empty:
        raise DatasetError(f"{root}: none of the {len(rows)} rows is usable; first reason: {rows['reason'].iloc[0]}")
    cases = _lesions(good) if unit == "lesion" else _images(good)
    paths = sorted({*good["image_path"], *good["mask_path"]})
    return Located(cases, rows.loc[rows["reason"] != "", [*KEY, "official_split", "reason"]], paths)


def _read_rows(root: Path, abnormality_types: list[str]) -> pd.DataFrame:
    wanted = {key: name for key, name in FILES.items() if key[0] in abnormality_types}
    missing = [name for name in wanted.values() if not (root / "csv" / name).is_file()]
    if missing or not (root / "jpeg").is_dir():
        lacking = [f"csv/{name}" for name in missing] + ([] if (root / "jpeg").is_dir() else ["jpeg/"])
        raise DatasetError(
            f"{root} is not the Kaggle copy of CBIS-DDSM: {', '.join(lacking)} missing. Set ingest.root to the folder "
            "that holds csv/ and jpeg/, or leave types out of ingest.abnormality_types"
        )
    parts = [_read_csv(root / "csv" / name).assign(official_split=split) for (_, split), name in wanted.items()]
    rows = pd.concat(parts, ignore_index=True)
    if rows.empty:
        raise DatasetError(f"{root}: {', '.join(wanted.values())} in csv/ hold no rows; take the files as published")
    return rows


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not a CSV table: {error}") from error
    table.columns = [_column_name(name) for name in table.columns]
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DatasetError(
            f"{path}: column(s) {', '.join(missing)} missing; it has: {', '.join(table.columns)}. "
            "Take the file as published (doi 10.7937/K9/TCIA.2016.7O02S9CY)"
        )
    stripped = pd.DataFrame({name: table[column].str.strip() for column, name in COLUMNS.items()})
    for column in ("breast_density", "birads", "subtlety"):
        numbers = pd.to_numeric(stripped[column], errors="coerce")
        stripped[column] = numbers.where(numbers % 1 == 0).astype("Int64")
    return stripped


def _column_name(name: str) -> str:
    """The mass files write `breast_density`, the calcification files `breast density`."""
    stripped = name.strip()
    return "breast_density" if stripped == "breast density" else stripped


def _series_folders(root: Path) -> dict[str, list[Path]]:
    folders = (folder for folder in (root / "jpeg").iterdir() if folder.is_dir())
    return {
        folder.name: sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        for folder in folders
    }


def _series_uid(path: str) -> str:
    """`Mass-Test_P_00016_LEFT_CC/<study>/<series>/000000.dcm` -> `<series>`."""
    parts = path.split("/")
    return parts[-2] if len(parts) > 1 else ""


def _files_of(image: str, crop: str, mask_column: str, folders: dict[str, list[Path]], root: Path) -> Files:
    films = folders.get(_series_uid(image), [])
    if len(films) != 1:
        return Files(reason=f"{len(films)} files for the film in jpeg/{_series_uid(image)}, expected 1")
    film = films[0]
    series = sorted({_series_uid(crop), _series_uid(mask_column)})
    candidates = [file for uid in series for file in folders.get(uid, []) if file != film]
    try:
        mask, reason = _choose_mask(candidates, pixels.shape(film))
    except pixels.PixelError as error:
        return Files(reason=str(error).replace(f"{root}/", ""))
    if mask is None:
        return Files(reason=f"{reason} in jpeg/{', jpeg/'.join(series)}")
    return Files(film.relative_to(root).as_posix(), mask.relative_to(root).as_posix())


def _choose_mask(candidates: list[Path], film_shape: tuple[int, int]) -> tuple[Path | None, str]:
    """The one binary file with the film's proportions: a crop is grey, and a mask covers the whole film."""
    binary = [file for file in candidates if pixels.is_binary(file)]
    fitting = [file for file in binary if _same_aspect(pixels.shape(file), film_shape)]
    if len(fitting) > 1:
        fitting = [file for file in fitting if pixels.shape(file) == film_shape]
    if len(fitting) != 1:
        return None, (
            f"{len(fitting)} masks ({len(candidates)} files, {len(binary)} of them binary, "
            f"film {film_shape[0]}x{film_shape[1]})"
        )
    if not pixels.has_foreground(fitting[0]):
        return None, f"mask {fitting[0].name} without foreground"
    return fitting[0], ""


def _same_aspect(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return abs(a[0] * b[1] - a[1] * b[0]) <= ASPECT_TOLERANCE * a[1] * b[0]


def _bad_values(rows: pd.DataFrame) -> pd.Series:
    """The reason why a row's own values make it unusable, or an empty text."""
    reasons = pd.Series("", index=rows.index)
    reasons[rows.duplicated(KEY)] = DUPLICATE
    for column, valid in (("pathology", PATHOLOGIES), ("laterality", ["LEFT", "RIGHT"]), ("view", ["CC", "MLO"])):
        bad = ~rows[column].isin(valid)
        reasons[bad] = f"unknown {column} " + rows.loc[bad, column].map(repr) + f" (valid: {', '.join(valid)})"
    unknown = rows["birads"].notna() & ~rows["birads"].isin(BIRADS_ORDER)
    reasons[unknown] = "unknown assessment " + rows.loc[unknown, "birads"].astype(str) + " (valid: 0 to 6)"
    return reasons


def _spread_to_image(rows: pd.DataFrame) -> pd.Series:
    """An image is used whole or not at all: its label needs all of its abnormalities."""
    first = rows[~rows["reason"].isin(["", DUPLICATE])].groupby(IMAGE_KEY)["reason"].first().rename("elsewhere")
    elsewhere = rows.join(first, on=IMAGE_KEY)["elsewhere"]
    spread = ("another abnormality of this image: " + elsewhere).fillna("")
    return rows["reason"].mask(rows["reason"] == "", spread)


def _lesions(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(
        sample_id=rows[KEY].agg("_".join, axis=1),
        label=(rows["pathology"] == "MALIGNANT").astype("int64"),
    ).drop(columns=["image", "crop", "mask", "reason"])


def _images(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per film; it is malignant if any of its abnormalities is."""
    samples = [_image(key, group) for key, group in rows.groupby(IMAGE_KEY, sort=True)]
    return pd.DataFrame(samples).astype({"breast_density": "Int64", "birads": "Int64", "subtlety": "Int64"})


def _image(key: tuple[Hashable, ...], rows: pd.DataFrame) -> dict[str, object]:
    worst = max(rows["pathology"], key=PATHOLOGIES.index)
    return {
        "sample_id": "_".join(map(str, key)),
        **dict(zip(IMAGE_KEY, key, strict=True)),
        "abnormality_id": PATH_SEPARATOR.join(rows["abnormality_id"]),
        "abnormality_type": "+".join(sorted(set(rows["abnormality_type"]), reverse=True)),
        "pathology": worst,
        "label": int(worst == "MALIGNANT"),
        "breast_density": rows["breast_density"].max(),
        "birads": max(rows["birads"].dropna(), key=BIRADS_ORDER.index, default=pd.NA),
        "subtlety": rows["subtlety"].max(),  # the most conspicuous one
        "official_split": "test" if (rows["official_split"] == "test").any() else "train",
        "image_path": rows["image_path"].iloc[0],
        "mask_path": PATH_SEPARATOR.join(dict.fromkeys(rows["mask_path"])),
    }
