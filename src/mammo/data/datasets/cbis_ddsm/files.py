"""The image files of CBIS-DDSM in any of its layouts, by the series and the case folder that they belong to.

A series is known by its UID: of a DICOM file from the header, of any other from the folder's name (the Kaggle copy has
jpeg/<SeriesInstanceUID>/). Where that leads nowhere the official case folder does (Mass-Training_P_00001_LEFT_CC_1).
File numbers and SeriesDescription tell nothing: they are swapped or missing for part of the files.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mammo.core.errors import InputError
from mammo.core.parallel import parallel_map
from mammo.core.schemas import PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data.datasets import DatasetError
from mammo.data.datasets.cbis_ddsm.names import case_folder, series_uid
from mammo.data.images import dicom, io

ASPECT_TOLERANCE = 0.01
SHOWN = 3


@dataclass(frozen=True)
class Found:
    """Film and mask of one row, relative to the root; reason: why one of them is missing, or empty."""

    film: str = ""
    mask: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Index:
    """All image files under `root`. unreadable: folders that could not be listed, with the system's words."""

    root: Path
    by_series: dict[str, list[Path]]
    by_case: dict[str, list[Path]]
    unreadable: list[str]

    def files(self, cell: str) -> list[Path]:
        """The files that a path in a description CSV stands for; none where neither series nor case folder exists."""
        return self.by_series.get(series_uid(cell)) or self.by_case.get(case_folder(cell), [])

    def find(self, image: str, crop: str, mask: str) -> Found:
        """Film and mask of a row by its three paths; crop and mask are told apart by content, never by column."""
        film = ""
        try:
            film_path = self._film(image)
            film = self._relative(film_path)
            chosen = self._mask(crop, mask, film_path, _film_shape(film_path))
            return Found(film, self._relative(chosen))
        except InputError as error:
            return Found(film, reason=str(error).replace(f"{self.root}/", ""))

    def _film(self, cell: str) -> Path:
        """The one file of the film's series; masks may lie beside it, and only they are black and white."""
        films = self.files(cell)
        if len(films) > 1:
            films = [path for path in films if not io.is_binary(path)]
        if len(films) != 1:
            raise DatasetError(f"{len(films)} files for the film in {_place(cell)}, expected 1{self._unread()}")
        return films[0]

    def _mask(self, crop: str, mask: str, film: Path, film_shape: tuple[int, int]) -> Path:
        """The mask among the files of both cells: crop and mask share a series in 97 % of the rows."""
        candidates = {*self.files(crop), *self.files(mask)} - {film}
        if not candidates:
            places = dict.fromkeys((_place(crop), _place(mask)))
            raise DatasetError(f"no files for crop and mask in {' or '.join(places)}{self._unread()}")
        return _choose_mask(sorted(candidates), film_shape)

    def _relative(self, path: Path) -> str:
        relative = path.relative_to(self.root).as_posix()
        if not relative.isprintable() or PATH_SEPARATOR in relative or VIEW_SEPARATOR in relative:
            raise DatasetError(
                f"{relative!r}: the tables cannot hold this path; rename it without {PATH_SEPARATOR} {VIEW_SEPARATOR} "
                "and unprintable characters"
            )
        return relative

    def _unread(self) -> str:
        if not self.unreadable:
            return ""
        return f"; {len(self.unreadable)} folder(s) cannot be read: {', '.join(self.unreadable[:SHOWN])}"


def index(root: Path, workers: int) -> Index:
    """Index of the image files under `root`; raises DatasetError where there is none."""
    unreadable: list[str] = []
    paths = _image_files(root, unreadable)
    found = Index(root, {}, {}, unreadable)
    for path, series in zip(paths, _series(root, paths, workers), strict=True):
        if series:
            found.by_series.setdefault(series, []).append(path)
        if case := case_folder(path.relative_to(root).as_posix()):
            found.by_case.setdefault(case, []).append(path)
    if not found.by_series and not found.by_case:
        raise DatasetError(
            f"{root} holds no images of CBIS-DDSM{found._unread()}. Set ingest.root to the folder that holds csv/ and "
            "jpeg/<SeriesInstanceUID>/ (Kaggle), the DICOM files (TCIA, IDC), or images in the official case folders "
            "(Mass-Training_P_00001_LEFT_CC/ ...)"
        )
    return found


def _image_files(root: Path, unreadable: list[str]) -> list[Path]:
    """Image files in the order of their paths; notes folders that cannot be listed in `unreadable`.

    Links are followed. Names that start with a dot are litter: `._1-1.jpg` of macOS is no image.
    """
    seen: set[str] = set()
    files: list[Path] = []

    def note(error: OSError) -> None:
        place = Path(error.filename)
        unreadable.append(f"{place.relative_to(root).as_posix()} ({error.strerror})")

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=note):
        real = os.path.realpath(folder)
        if real in seen:  # a link that leads back up would be followed without end
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        wanted = (name for name in names if not name.startswith("."))
        files += [Path(folder, name) for name in wanted if Path(name).suffix.lower() in io.IMAGE_SUFFIXES]
    return sorted(files)


def _series(root: Path, paths: list[Path], workers: int) -> list[str]:
    """The SeriesInstanceUID of each file, empty where nothing tells it."""
    dicoms = [path for path in paths if path.suffix.lower() in io.DICOM_SUFFIXES]
    read = parallel_map(_header_series, dicoms, workers, "reading DICOM headers") if dicoms else []
    headers = dict(zip(dicoms, read, strict=True))
    return [headers.get(path) or series_uid(path.relative_to(root).as_posix()) for path in paths]


def _header_series(path: Path) -> str:
    """Of a damaged file nothing: its folder may still tell, so that its row gets the reason when it is decoded."""
    try:
        return dicom.tags(path, "SeriesInstanceUID")["SeriesInstanceUID"].strip()
    except dicom.DicomError:
        return ""


def _place(cell: str) -> str:
    """What a path in a CSV leads to, for a reason."""
    names = [f"series {series_uid(cell)}" if series_uid(cell) else "", case_folder(cell)]
    return " / ".join(filter(None, names)) or f"{cell!r}"


def _film_shape(path: Path) -> tuple[int, int]:
    """(height, width) of a film, after a look at its pixels: it is grey, not tiny and not blank."""
    image = io.load(path)
    io.refuse_tiny(image)
    look = io.decode(image, io.QUICK_LOOK)
    if look.min() == look.max():
        raise DatasetError(f"{path}: a blank film, all pixels have the same grey")
    return image.shape


def _choose_mask(candidates: list[Path], film_shape: tuple[int, int]) -> Path:
    """The one black and white file with the film's proportions: a crop is grey, and a mask covers the whole film."""
    shapes = {path: io.shape(path) for path in candidates}
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
