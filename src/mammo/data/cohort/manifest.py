"""The manifest: size, shape, digest and, of films, the perceptual hash and the copies of every file of the cases.

The samples of a file that cannot be decoded move from the cases to the excluded rows.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mammo.core.parallel import parallel_map
from mammo.core.schemas import BOX_PREFIX, KEY, PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data import film_copies
from mammo.data.cohort import leakage
from mammo.data.datasets import DatasetError, Located
from mammo.data.film_copies import Portrait
from mammo.data.images import dicom, io

REDUCIBLE_PX = 8 * leakage.WORKING_PX  # from this shorter side on an eighth of a film is enough for its hash
MASK_SEPARATORS = re.compile(f"[{re.escape(PATH_SEPARATOR + VIEW_SEPARATOR)}]")


@dataclass(frozen=True)
class _File:
    """A row of schemas.MANIFEST, or the reason why there is none."""

    path: str
    bytes: int = 0
    height_px: int = 0
    width_px: int = 0
    sha256: str = ""
    perceptual_hash: str | None = None
    reason: str = ""


def examine(root: Path, located: Located, workers: int) -> tuple[Located, pd.DataFrame]:
    """Decode every film; return `located` without unusable samples, and the manifest (schemas.MANIFEST) of its files.

    Raises DatasetError where no sample is usable.
    """
    films = {film for paths in located.cases["image_path"] for film in paths.split(VIEW_SEPARATOR)}
    examined = list(
        parallel_map(lambda path: _examine_file(root, path, path in films), located.files, workers, "hashing files")
    )
    files = pd.DataFrame([file for file, _ in examined], columns=list(_File.__dataclass_fields__))
    portraits = {file.path: portrait for file, portrait in examined if portrait}
    unusable = files[files["reason"] != ""]
    usable = exclude_samples(
        located, _reasons(located.cases, dict(zip(unusable["path"], unusable["reason"], strict=True)))
    )
    table = files[files["path"].isin(usable.files)].reset_index(drop=True)
    drawn = [path for path in table["path"] if path in portraits]
    copies = film_copies.group_copies(drawn, [portraits[path] for path in drawn])
    return usable, table.drop(columns="reason").assign(copy_of=table["path"].map(copies))


def exclude_samples(located: Located, reasons: dict[str, str]) -> Located:
    """Move the samples in `reasons` (sample_id -> reason) from the cases to the excluded rows.

    Raises DatasetError where no sample is left.
    """
    excluded = located.cases["sample_id"].isin(reasons)
    if not excluded.any():
        return located
    usable, unusable = located.cases[~excluded], located.cases[excluded]
    unusable = unusable.assign(reason=unusable["sample_id"].map(reasons))
    if usable.empty:
        raise DatasetError(f"none of the {len(unusable)} samples is usable; first reason: {unusable['reason'].iloc[0]}")
    needed = {path for paths in _sample_files(usable) for path in paths}
    return replace(
        located,
        cases=usable.reset_index(drop=True),
        excluded=pd.concat([located.excluded, _abnormalities(unusable)], ignore_index=True),
        files=[path for path in located.files if path in needed],
    )


def _examine_file(root: Path, path: str, is_film: bool) -> tuple[_File, Portrait | None]:
    """Return the file's row, and the portrait of a film."""
    try:
        content = io.load(root / path)
        grey = io.read_grey(root / path, reduced=min(content.shape) >= REDUCIBLE_PX) if is_film else None
    except dicom.PixelError as error:
        return _File(path, reason=str(error).replace(f"{root}/", "")), None
    file = _File(path, len(content.data), *content.shape, hashlib.sha256(content.data).hexdigest())
    if grey is None:
        return file, None
    return replace(file, perceptual_hash=leakage.perceptual_hash(grey)), film_copies.draw_portrait(grey)


def _reasons(cases: pd.DataFrame, unusable: dict[str, str]) -> dict[str, str]:
    """Return sample_id -> reason of the samples with an unusable file; unusable: path -> reason."""
    return {
        sample: next(unusable[path] for path in paths if path in unusable)
        for sample, paths in zip(cases["sample_id"], _sample_files(cases), strict=True)
        if not unusable.keys().isdisjoint(paths)
    }


def _sample_files(cases: pd.DataFrame) -> list[list[str]]:
    """Return the files of every sample, films first; boxes are no files."""
    films = [paths.split(VIEW_SEPARATOR) for paths in cases["image_path"]]
    masks = [MASK_SEPARATORS.split(entry) for entry in cases["mask_path"].fillna("")]
    return [
        film_paths + [path for path in marks if path and not path.startswith(BOX_PREFIX)]
        for film_paths, marks in zip(films, masks, strict=True)
    ]


def _abnormalities(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the published rows of samples, one per abnormality, with the sample's reason."""
    rows = samples[[*KEY, "official_split", "reason", "image_path"]]
    rows = rows.assign(abnormality_id=rows["abnormality_id"].str.split(PATH_SEPARATOR, regex=False))
    return rows.explode("abnormality_id", ignore_index=True)
