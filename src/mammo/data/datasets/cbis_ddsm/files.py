"""The image files of CBIS-DDSM in any of its layouts, by series and by case folder.

The series of a DICOM file is in its header, that of any other file in the folder's name (the Kaggle copy has
jpeg/<SeriesInstanceUID>/). Where both are missing the official case folder counts (Mass-Training_P_00001_LEFT_CC_1).
File numbers and SeriesDescription are not used: they are swapped or missing for part of the files.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo.core.errors import InputError
from mammo.core.parallel import parallel_map
from mammo.core.schemas import PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data.datasets import DatasetError, _listing
from mammo.data.datasets.cbis_ddsm.names import case_folder, series_uid
from mammo.data.images import dicom, io

ASPECT_TOLERANCE = 0.01
DICOM_INFO = "csv/dicom_info.csv"  # of the Kaggle copy: the headers of the DICOM files that it was made from


@dataclass(frozen=True)
class Match:
    """Film and mask of one row, relative to the root; reason: why one of them is missing, or empty.

    crop: the one other file beside the mask; empty where there is none or are several.
    """

    film: str = ""
    mask: str = ""
    reason: str = ""
    crop: str = ""


@dataclass(frozen=True)
class Index:
    """All image files under `root`; unread: the folders that could not be listed, as the end of a reason.

    case_of: the case folder that the files themselves name, by series: PatientID of DICOM, or of csv/dicom_info.csv.
    """

    root: Path
    by_series: dict[str, list[Path]]
    by_case: dict[str, list[Path]]
    unread: str
    case_of: dict[str, str]

    def contradiction(self, cell: str, case: str) -> str:
        """Return that the files of a path in a description CSV say that they are of another case; else empty."""
        series = series_uid(cell)
        named = self.case_of.get(series, case)
        return "" if named == case else f"the row is of {case}, the files of series {series} say {named}"

    def files(self, cell: str) -> list[Path]:
        """Return the files of a path in a description CSV; none where neither series nor case folder exists."""
        return self.by_series.get(series_uid(cell)) or self.by_case.get(case_folder(cell), [])

    def find(self, image: str, crop: str, mask: str) -> Match:
        """Find film and mask of a row by its three paths; content, not the column, separates crop from mask."""
        film = ""
        try:
            film_path = self._film(image)
            film = self._relative(film_path)
            candidates = self._candidates(crop, mask, film_path)
            chosen = _choose_mask(candidates, _film_shape(film_path))
            others = [path for path in candidates if path != chosen]
            return Match(film, self._relative(chosen), crop=self._relative(others[0]) if len(others) == 1 else "")
        except InputError as error:
            return Match(film, reason=str(error).replace(f"{self.root}/", ""))

    def _film(self, cell: str) -> Path:
        """Return the one file of the film's series that is not black and white, as masks beside it are."""
        films = self.files(cell)
        if len(films) > 1:
            films = [path for path in films if not io.is_binary(path)]
        if len(films) != 1:
            raise DatasetError(f"{len(films)} files for the film in {_describe_cell(cell)}, expected 1{self.unread}")
        return films[0]

    def _candidates(self, crop: str, mask: str, film: Path) -> list[Path]:
        """Return the files of both cells, mask and crop: they share a series in 97 % of the rows."""
        candidates = {*self.files(crop), *self.files(mask)} - {film}
        if not candidates:
            places = dict.fromkeys((_describe_cell(crop), _describe_cell(mask)))
            raise DatasetError(f"no files for crop and mask in {' or '.join(places)}{self.unread}")
        return sorted(candidates)

    def _relative(self, path: Path) -> str:
        relative = path.relative_to(self.root).as_posix()
        if not relative.isprintable() or PATH_SEPARATOR in relative or VIEW_SEPARATOR in relative:
            raise DatasetError(
                f"{relative!r}: the tables cannot hold this path; rename it without {PATH_SEPARATOR} {VIEW_SEPARATOR} "
                "and unprintable characters"
            )
        return relative


def index_files(root: Path, workers: int) -> Index:
    """Index the image files under `root`; raises DatasetError where there is none."""
    listing = _listing.list_files(root, io.is_image_file)
    headers = _read_headers(listing.files, workers)
    index = Index(root, {}, {}, listing.describe_unread(), _name_series(root, headers.values()))
    for path in listing.files:
        series = headers.get(path, ("", ""))[0] or series_uid(path.relative_to(root).as_posix())
        if series:
            index.by_series.setdefault(series, []).append(path)
        if case := case_folder(path.relative_to(root).as_posix()):
            index.by_case.setdefault(case, []).append(path)
    if not index.by_series and not index.by_case:
        raise DatasetError(
            f"{root} holds no images of CBIS-DDSM{index.unread}. Set ingest.root to the folder that holds csv/ and "
            "jpeg/<SeriesInstanceUID>/ (Kaggle), the DICOM files (TCIA, IDC), or images in the official case folders "
            "(Mass-Training_P_00001_LEFT_CC/ ...)"
        )
    return index


def _read_headers(paths: list[Path], workers: int) -> dict[Path, tuple[str, str]]:
    """Return SeriesInstanceUID and PatientID of each DICOM file."""
    dicoms = [path for path in paths if io.is_dicom_file(path)]
    read = parallel_map(_read_header, dicoms, workers, "reading DICOM headers") if dicoms else []
    return dict(zip(dicoms, read, strict=True))


def _read_header(path: Path) -> tuple[str, str]:
    """Return SeriesInstanceUID and PatientID; empty for a damaged file, whose row is excluded when it is decoded."""
    try:
        tags = dicom.read_tags(path, "SeriesInstanceUID", "PatientID")
    except dicom.DicomError:
        return "", ""
    return tags["SeriesInstanceUID"].strip(), tags["PatientID"].strip()


def _name_series(root: Path, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the case folder that the files name, by series, where all of a series name one."""
    named: dict[str, set[str]] = {}
    for series, case in (*headers, *_read_dicom_info(root)):
        if series and case_folder(f"{case}/"):
            named.setdefault(series, set()).add(case)
    return {series: cases.pop() for series, cases in named.items() if len(cases) == 1}


def _read_dicom_info(root: Path) -> list[tuple[str, str]]:
    """Return SeriesInstanceUID and PatientID of the rows of csv/dicom_info.csv; none where it cannot be read."""
    columns = ["SeriesInstanceUID", "PatientID"]
    try:
        table = pd.read_csv(root / DICOM_INFO, usecols=columns, dtype=str, keep_default_na=False)
    except (OSError, ValueError):  # ValueError: no CSV, no UTF-8, or without these columns
        return []
    return list(table[columns].itertuples(index=False, name=None))


def _describe_cell(cell: str) -> str:
    """Return series and case folder of a path in a CSV, for a reason."""
    names = [f"series {series_uid(cell)}" if series_uid(cell) else "", case_folder(cell)]
    return " / ".join(filter(None, names)) or f"{cell!r}"


def _film_shape(path: Path) -> tuple[int, int]:
    """Return (height, width) of a film after checking its pixels: it is grey, not tiny and not blank."""
    image = io.load(path)
    io.refuse_tiny(image)
    reduced = io.decode(image, io.PREVIEW_REDUCTION)
    if reduced.min() == reduced.max():
        raise DatasetError(f"{path}: a blank film, all pixels have the same grey")
    return image.shape


def _choose_mask(candidates: list[Path], film_shape: tuple[int, int]) -> Path:
    """Return the one black and white file with the film's proportions: crops are grey, and masks cover the film."""
    shapes = {path: io.read_shape(path) for path in candidates}
    binary = [path for path in candidates if io.is_binary(path)]
    masks = [path for path in binary if _same_aspect(shapes[path], film_shape)]
    if len(masks) > 1:
        masks = [path for path in masks if shapes[path] == film_shape]
    if len(masks) != 1:
        raise DatasetError(
            f"{len(masks)} masks of the film's proportions {_size(film_shape)}, expected 1: "
            f"{len(binary)} of {len(candidates)} files are black and white"
            + _list(f"{path.name} {_size(shapes[path])}" for path in binary)
        )
    if not io.has_foreground(masks[0]):
        raise DatasetError(f"{masks[0]}: a mask without foreground")
    return masks[0]


def _same_aspect(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return abs(a[0] * b[1] - a[1] * b[0]) <= ASPECT_TOLERANCE * a[1] * b[0]


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def _list(items: Iterable[str]) -> str:
    return "".join(f", {item}" for item in items)
