"""The files that cases rest on, as ingest found them: size, shape, digest and, of films, the perceptual hash.

A file that cannot be decoded takes its samples out of the cases, whole, and into the excluded rows.
"""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from mammo.core.parallel import parallel_map
from mammo.core.schemas import BOX_PREFIX, KEY, PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data.cohort import leakage
from mammo.data.datasets import DatasetError, Located
from mammo.data.images import dicom, io

REDUCIBLE_PX = 8 * leakage.WORKING_PX  # from this shorter side on an eighth of a film is enough for its hash
MASK_SEPARATORS = re.compile(f"[{re.escape(PATH_SEPARATOR + VIEW_SEPARATOR)}]")


@dataclass(frozen=True)
class _File:
    """A row of tables.MANIFEST, or the reason why there is none."""

    path: str
    bytes: int = 0
    height_px: int = 0
    width_px: int = 0
    sha256: str = ""
    perceptual_hash: str | None = None
    reason: str = ""


def examine(root: Path, located: Located, workers: int) -> tuple[Located, pd.DataFrame]:
    """What stays of `located` when every film is decoded, and the manifest (tables.MANIFEST) of its files.

    Raises DatasetError where nothing stays.
    """
    films = {film for paths in located.cases["image_path"] for film in paths.split(VIEW_SEPARATOR)}
    found = parallel_map(lambda path: _file(root, path, path in films), located.files, workers, "hashing files")
    files = pd.DataFrame(list(found), columns=list(_File.__dataclass_fields__))
    unusable = files[files["reason"] != ""]
    kept = without(located, _reasons(located.cases, dict(zip(unusable["path"], unusable["reason"], strict=True))))
    table = files[files["path"].isin(kept.files)].drop(columns="reason")
    return kept, table.reset_index(drop=True)


def without(located: Located, reasons: dict[str, str]) -> Located:
    """`located` less the samples in `reasons` (sample_id -> reason), whose published rows become excluded rows.

    Raises DatasetError where nothing stays.
    """
    gone = located.cases["sample_id"].isin(reasons)
    if not gone.any():
        return located
    kept, lost = located.cases[~gone], located.cases[gone]
    lost = lost.assign(reason=lost["sample_id"].map(reasons))
    if kept.empty:
        raise DatasetError(f"none of the {len(lost)} samples is usable; first reason: {lost['reason'].iloc[0]}")
    needed = {path for paths in _files_of(kept) for path in paths}
    return replace(
        located,
        cases=kept.reset_index(drop=True),
        excluded=pd.concat([located.excluded, _abnormalities(lost)], ignore_index=True),
        files=[path for path in located.files if path in needed],
    )


def _file(root: Path, path: str, film: bool) -> _File:
    try:
        content = io.load(root / path)
        seen = _hash(root / path, content.shape) if film else None
    except dicom.PixelError as error:
        return _File(path, reason=str(error).replace(f"{root}/", ""))
    return _File(path, len(content.data), *content.shape, hashlib.sha256(content.data).hexdigest(), seen)


def _hash(film: Path, shape: tuple[int, int]) -> str:
    return leakage.perceptual_hash(io.read_grey(film, reduced=min(shape) >= REDUCIBLE_PX))


def _reasons(cases: pd.DataFrame, unusable: dict[str, str]) -> dict[str, str]:
    """sample_id -> reason of the samples that rest on an unusable file; unusable: path -> reason."""
    return {
        sample: next(unusable[path] for path in paths if path in unusable)
        for sample, paths in zip(cases["sample_id"], _files_of(cases), strict=True)
        if not unusable.keys().isdisjoint(paths)
    }


def _files_of(cases: pd.DataFrame) -> list[list[str]]:
    """The files of every sample, films first; a lesion that is known by its box has none."""
    films = [paths.split(VIEW_SEPARATOR) for paths in cases["image_path"]]
    masks = [MASK_SEPARATORS.split(entry) for entry in cases["mask_path"].fillna("")]
    return [
        own + [path for path in marks if path and not path.startswith(BOX_PREFIX)]
        for own, marks in zip(films, masks, strict=True)
    ]


def _abnormalities(samples: pd.DataFrame) -> pd.DataFrame:
    """The published rows behind samples (of an image, of a breast), one per abnormality, with the sample's reason."""
    rows = samples[[*KEY, "official_split", "reason"]]
    rows = rows.assign(abnormality_id=rows["abnormality_id"].str.split(PATH_SEPARATOR, regex=False))
    return rows.explode("abnormality_id", ignore_index=True)
