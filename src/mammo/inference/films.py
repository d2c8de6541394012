"""Image files as a model takes them: which files and boxes are asked for, and their prepared pixels.

A file that cannot be used carries its error, and the others go on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
CORNERS = ["x0", "y0", "x1", "y1"]  # columns of a table of boxes
Boxes = Mapping[Path, Sequence[Corners]]


@dataclass(frozen=True)
class FilmRequest:
    """A file to be read, in which a lesion model looks at `box`; error: why it will not be read.

    pair: names the lesion, or breast, of which this is one view; empty where no other view is known.
    """

    file: Path
    box: Corners | None = None
    error: str = ""
    pair: str = ""


@dataclass(frozen=True)
class Pairs:
    """Films that belong together, for a model of two views."""

    requests: tuple[FilmRequest, ...]


@dataclass(frozen=True)
class PreparedFilm:
    """A file as the model takes it; without a square there is an error.

    rejection_reason: why the image can be no mammogram; empty where it can.
    """

    request: FilmRequest
    square: Square | None = None
    rejection_reason: str = ""
    error: str = ""


def list_requests(files: Path | str | Iterable[Path | str] | Pairs) -> list[FilmRequest]:
    """Return every file, those of folders in the order of their names; a folder without images is an error."""
    if isinstance(files, Pairs):
        requests = list(files.requests)
    else:
        paths = [files] if isinstance(files, Path | str) else files
        requests = [request for path in paths for request in _list_path(Path(path))]
    if not requests:
        raise InputError("no files are given")
    return requests


def _list_path(path: Path) -> list[FilmRequest]:
    if not path.is_dir():
        return [_check_file(FilmRequest(path))]
    images = [FilmRequest(file) for file in sorted(path.rglob("*")) if file.is_file() and _is_image(file)]
    return images or [FilmRequest(path, error=f"{path}: no image in this folder")]


def _check_file(request: FilmRequest) -> FilmRequest:
    """Return the request, with an error where its file is missing."""
    return request if request.file.exists() else replace(request, error=f"{request.file} does not exist")


def read_boxes(path: Path, folder: Path | None = None) -> dict[Path, list[Corners]]:
    """Return the boxes by file of a CSV table with the columns file, x0, y0, x1, y1; a file may have several lesions.

    A relative file starts at `folder`, by default at the table's, or else at the current one. Raises InputError.
    """
    boxes: dict[Path, list[Corners]] = {}
    table, corners = _read_table(path, ["file", *CORNERS])
    for name, box in zip(table["file"], corners, strict=True):
        boxes.setdefault(_resolve(name, folder or path.parent), []).append(box)
    return boxes


def read_pairs(path: Path | str, folder: Path | None = None) -> Pairs:
    """Return the films of a CSV table with the columns file and pair, and for lesions x0, y0, x1, y1.

    pair: any name, the same for the CC and the MLO view of a lesion, or of a breast; empty, or a name of its own, where
    the other view is missing. Files as in `read_boxes`. Raises InputError.
    """
    path = Path(path)
    table, corners = _read_table(path, ["file", "pair"])
    pairs = table["pair"].fillna("").str.strip()
    files = [_resolve(name, folder or path.parent) for name in table["file"]]
    named = pd.DataFrame({"file": files, "pair": pairs})
    if (twice := named[pairs.ne("")].duplicated()).any():
        file, pair = named[pairs.ne("")][twice].iloc[0]
        raise InputError(f"{path}: {file} is listed twice in the pair {pair!r}; a pair has one row for each view")
    boxes: Sequence[Corners | None] = corners or [None] * len(files)
    rows = zip(files, boxes, pairs, strict=True)
    return Pairs(tuple(_check_file(FilmRequest(file, box, pair=pair)) for file, box, pair in rows))


def _read_table(path: Path, needed: list[str]) -> tuple[pd.DataFrame, list[Corners]]:
    """Return a CSV table with at least the columns `needed`, and its boxes, none where it has no corners."""
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(["file", "pair"], str))
        columns = [*needed, *(CORNERS if set(CORNERS) & set(table) else [])]
        if table[columns]["file"].isna().any():
            raise ValueError("a row names no file")
        return table, _whole_corners(table) if set(CORNERS) <= set(columns) else []
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (KeyError, ValueError) as error:
        names = ", ".join(dict.fromkeys([*needed, *CORNERS]))
        optional = "" if "x0" in needed else " (the corners of lesions alone)"
        raise InputError(f"{path}: needs the columns {names}{optional}, the last four in whole px ({error})") from error


def _whole_corners(table: pd.DataFrame) -> list[Corners]:
    numbers = table[CORNERS].astype(np.float64)
    corners = numbers.astype(np.int64)
    if not np.array_equal(numbers, corners):
        raise ValueError("a corner lies between two px")
    return [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in corners.itertuples(index=False)]


def _resolve(name: str, folder: Path) -> Path:
    beside = folder / name
    return beside if beside.exists() else Path(name)


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
            with_boxes.append(_refuse_without_box(request, model))
    files = {request.file.resolve() for request in requests}
    unused = [path for path in boxes if path.resolve() not in files]
    return with_boxes + [FilmRequest(path, error=f"{path}: has a box, but is not among the files") for path in unused]


def check_pairs(requests: list[FilmRequest], about: About) -> list[FilmRequest]:
    """Return the requests of films that belong together; a lesion's film without a box is an error of its own.

    Raises InputError for a model of one view, and for boxes that a model does not take.
    """
    if not about.two_views:
        raise InputError(
            f"{about.name} reads every film alone, and pairs are given; ask a row of two views (two_views_{about.name} "
            "where `ensemble.two_views` names it), or give the films without pairs"
        )
    boxed = [request.box is not None for request in requests]
    if about.unit == "image" and any(boxed):
        raise InputError(f"{about.name} reads whole films; leave the columns {', '.join(CORNERS)} out")
    return [
        request if box or request.error or about.unit == "image" else _refuse_without_box(request, about.name)
        for request, box in zip(requests, boxed, strict=True)
    ]


def check_two_views(about: About) -> None:
    """Raise InputError for a model of two views, where it is not said which films belong together."""
    if about.two_views:
        raise InputError(
            f"{about.name} averages the scores of a {'lesion' if about.unit == 'lesion' else 'breast'}'s CC and MLO "
            "view, and single films are given; say which belong together by a table: --pairs pairs.csv (in Python "
            "read_pairs)"
        )


def _refuse_without_box(request: FilmRequest, model: str) -> FilmRequest:
    cure = ", ".join(CORNERS) if request.pair else "--box or --boxes"
    return replace(request, error=f"{request.file}: {model} reads lesions, and no box says where one is; give {cure}")


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
