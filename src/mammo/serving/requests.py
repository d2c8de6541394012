"""Requests to films: a raw body is one film, a multipart form one or several with their boxes. No name is a path."""

from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from mammo.inference.films import Corners
from mammo.serving.settings import ServiceSettings

FILE, BOX = "file", "box"
MAX_FIELD_BYTES = 1024


@dataclass(frozen=True)
class Upload:
    """A film as it came, under a name of ours; box: where a lesion model looks."""

    path: Path
    data: bytes
    box: Corners | None


class _InMemoryParser(MultiPartParser):
    """Starlette's parser, without its temporary files: no film is ever written to disk."""

    spool_max_size = 2**40


async def read_uploads(request: Request, settings: ServiceSettings) -> list[Upload]:
    """Return the films of a request; raises HTTPException for what is none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _read_form(request, settings)
    data = await request.body()
    if not data:
        raise HTTPException(422, "the body is empty; send a film, or a form with the field `file`")
    return [Upload(Path("the film"), data, parse_box(request.query_params.get(BOX)))]


async def _read_form(request: Request, settings: ServiceSettings) -> list[Upload]:
    parser = _InMemoryParser(
        request.headers, request.stream(), max_files=settings.max_films, max_fields=settings.max_films
    )
    parser.max_part_size = MAX_FIELD_BYTES
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from error
    _refuse_unknown(set(form))
    files = [field for field in form.getlist(FILE) if isinstance(field, UploadFile)]
    boxes = [field for field in form.getlist(BOX) if isinstance(field, str)]
    if not files:
        raise HTTPException(422, f"the form has no file; send it as the field `{FILE}`")
    if boxes and len(boxes) != len(files):
        raise HTTPException(422, f"{len(files)} films and {len(boxes)} boxes; send one box for each film, or none")
    corners = [parse_box(box) for box in boxes] or [None] * len(files)
    contents = [await file.read() for file in files]
    names = ["the film"] if len(files) == 1 else [f"film {number}" for number in range(1, len(files) + 1)]
    return [Upload(Path(name), data, box) for name, data, box in zip(names, contents, corners, strict=True)]


def _refuse_unknown(fields: set[str]) -> None:
    unknown = sorted(fields - {FILE, BOX})
    if unknown:
        raise HTTPException(422, f"unknown field {unknown[0][:40]!r}; there are {FILE} and {BOX}")


def parse_box(text: str | None) -> Corners | None:
    """Return x0, y0, x1, y1 of a box, None for an empty text; raises HTTPException."""
    if not text:
        return None
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise HTTPException(422, f"the box {text[:40]!r} is not x0,y0,x1,y1 in whole px of the film")
    x0, y0, x1, y1 = (int(part[:20]) for part in parts)
    return x0, y0, x1, y1
