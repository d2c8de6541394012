"""Image files as a model takes them: which files and boxes are asked for, and their prepared pixels.

A file that cannot be used carries its error, and the others go on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.core.errors import InputError
from mammo.data.images import dicom, input_check, io, preprocess
from mammo.data.images.dicom import PixelError
from mammo.data.images.io import Encoded
from mammo.data.images.preprocess import Located, Square
from mammo.data.images.transforms import Box
from mammo.inference.about import About

Corners = tuple[int, int, int, int]  # x0, y0, x1, y1 in px of the film; x1 and y1 excluded
Boxes = Mapping[Path, Sequence[Corners]]


@dataclass(frozen=True)
class FilmRequest:
    """A file to be read, in which a lesion model looks at `box`; error: why it will not be read."""

    file: Path
    box: Corners | None = None
    error: str = ""


@dataclass(frozen=True)
class PreparedFilm:
    """A file as the model takes it; without a square there is an error.

    rejection_reason: why the image can be no mammogram; empty where it can.
    """

    request: FilmRequest
    square: Square | None = None
    rejection_reason: str = ""
    error: str = ""


def list_requests(files: Iterable[Path | str]) -> list[FilmRequest]:
    """Return every file, those of folders in the order of their names; a folder without images is an error."""
    requests: list[FilmRequest] = []
    for path in map(Path, files):
        if path.is_dir():
            images = [FilmRequest(file) for file in sorted(path.rglob("*")) if file.is_file() and _is_image(file)]
            requests += images or [FilmRequest(path, error=f"{path}: no image in this folder")]
        else:
            requests.append(FilmRequest(path, error="" if path.exists() else f"{path} does not exist"))
    if not requests:
        raise InputError("no files are given")
    return requests


def read_boxes(path: Path, folder: Path | None = None) -> dict[Path, list[Corners]]:
    """Return the boxes by file of a CSV table with the columns file, x0, y0, x1, y1; a file may have several lesions.

    A relative file starts at `folder`, by default at the table's, or else at the current one. Raises InputError.
    """
    try:
        table = pd.read_csv(path, dtype={"file": str})
        numbers = table[["x0", "y0", "x1", "y1"]].astype(np.float64)
        corners = numbers.astype(np.int64)
        if table["file"].isna().any():
            raise ValueError("a row names no file")
        if not np.array_equal(numbers, corners):
            raise ValueError("a corner lies between two px")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path}: needs the columns file, x0, y0, x1, y1, the last four in whole px ({error})"
        ) from error
    boxes: dict[Path, list[Corners]] = {}
    for name, *box in zip(table["file"], *(corners[column] for column in corners), strict=True):
        beside = (folder or path.parent) / name
        boxes.setdefault(beside if beside.exists() else Path(name), []).append((box[0], box[1], box[2], box[3]))
    return boxes


def add_boxes(requests: list[FilmRequest], boxes: Boxes, model: str) -> list[FilmRequest]:
    """Return a request per box; a file without box, and a box without file, are errors of their own."""
    by_path = {path.resolve(): file_boxes for path, file_boxes in boxes.items()}
    with_boxes: list[FilmRequest] = []
    for request in requests:
        file_boxes = by_path.get(request.file.resolve(), ())
        if request.error:
            with_boxes.append(request)
        elif file_boxes:
            with_boxes += [FilmRequest(request.file, box) for box in file_boxes]
        else:
            error = f"{request.file}: {model} reads lesions, and no box says where one is; give --box or --boxes"
            with_boxes.append(FilmRequest(request.file, error=error))
    files = {request.file.resolve() for request in requests}
    unused = [path for path in boxes if path.resolve() not in files]
    return with_boxes + [FilmRequest(path, error=f"{path}: has a box, but is not among the files") for path in unused]


def check_single_films(about: About) -> None:
    """Raise InputError for a model that takes no single film."""
    if about.unit == "breast":
        raise InputError(
            f"{about.name} reads the CC and MLO view of a breast together, and single films are given; "
            "use a model that was trained with `ingest.unit: lesion` or `image`"
        )


def prepare_request(request: FilmRequest, about: About) -> PreparedFilm:
    """Read and prepare one film; an error becomes part of the result."""
    if request.error:
        return PreparedFilm(request, error=request.error)
    try:
        image = io.load(request.file)
        return PreparedFilm(request, *prepare_and_check(image, request.box, about))
    except InputError as error:
        return PreparedFilm(request, error=str(error))


def prepare_and_check(image: Encoded, corners: Corners | None, about: About) -> tuple[Square, str]:
    """Return a film as the model takes it, and why it can be no mammogram or an empty text; raises PixelError.

    Both rest on one decoding and one outline of the breast.
    """
    located = locate(image, corners, about)
    rejection_reason = input_check.rejection_reason(image, located.film, located.breast)
    return preprocess.cut_square(located, about.preprocess), rejection_reason


def prepare_film(image: Encoded, corners: Corners | None, about: About) -> Square:
    """Return a film as the model takes it; raises PixelError."""
    return preprocess.cut_square(locate(image, corners, about), about.preprocess)


def locate(image: Encoded, corners: Corners | None, about: About) -> Located:
    """Return a decoded film with what a model takes of it; raises PixelError."""
    box = None if corners is None else _box_on_film(image, corners)
    return preprocess.locate_film(image, box, about.unit, about.preprocess)


def _is_image(file: Path) -> bool:
    """Return whether a file is an image by its suffix; DICOM files often have none."""
    if file.suffix:
        return file.suffix.lower() in io.IMAGE_SUFFIXES
    with file.open("rb") as content:
        return dicom.is_dicom(content)


def _box_on_film(image: Encoded, corners: Corners) -> Box:
    """Return corners as top, left, bottom, right; raises PixelError where they are not on the film."""
    height, width = image.shape
    x0, y0, x1, y1 = corners
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise PixelError(
            f"{image.path}: the box {x0},{y0},{x1},{y1} (x0,y0,x1,y1) is not on the film, which is {width} px wide and "
            f"{height} px high"
        )
    return y0, x0, y1, x1
