"""Films for a screen: their pixels in full depth, no larger than a screen shows."""

from dataclasses import dataclass, replace
from pathlib import Path

from mammo.core.errors import InputError
from mammo.data.images import io
from mammo.data.images.io import Encoded

MAX_SIDE_PX = 2048  # of what is sent; a film beyond it is reduced by 2, 4 or 8


@dataclass(frozen=True)
class FilmView:
    """pixels: height * width unsigned 16-bit numbers, little-endian, row by row; the film itself may be larger."""

    pixels: bytes
    height: int
    width: int
    film_height: int
    film_width: int


def parse_film(path: Path, data: bytes, max_pixels: int) -> Encoded:
    """Return a film that is not decoded yet; raises InputError for what is none, or has too many pixels.

    Decoded, a film raises InputError for damage that its decoder only warns of, as `python -m mammo predict` has it.
    """
    image = io.parse_image(path, data)
    height, width = image.shape
    if height * width > max_pixels:
        raise InputError(f"{path}: {height * width:,} pixels; at most {max_pixels:,} are read")
    return replace(image, strict=True)


def view_film(path: Path, data: bytes, max_pixels: int) -> FilmView:
    """Decode a film for a screen; raises InputError."""
    image = parse_film(path, data, max_pixels)
    reduction = next((by for by in io.REDUCTIONS if max(image.shape) <= by * MAX_SIDE_PX), max(io.REDUCTIONS))
    pixels = io.decode(image, reduction)
    (height, width), (film_height, film_width) = pixels.shape, image.shape
    return FilmView(pixels.astype("<u2").tobytes(), height, width, film_height, film_width)
