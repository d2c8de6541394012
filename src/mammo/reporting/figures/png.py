"""Figures as small PNG, photographs as WebP: the bytes depend on what is drawn alone.

A figure is drawn once, at its own size: `bbox_inches="tight"` draws it a second time to see where its ink ends. So a
figure sets its margins itself (style.set_margins), and what lies outside of it is cut off.
"""

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mammo.core.files import atomic_write

DPI = 144
PAGE_DPI = 96  # CSS pixels per inch: a figure of 3 inches is 288 px wide on a page, its text as large as written here
CHART_COLOURS, PHOTO_COLOURS = 64, 256  # of the palettes
WEBP_QUALITY = 75
NEARLY_WHITE = 247


def encode_png(figure: Figure, colours: int = CHART_COLOURS) -> bytes:
    """Encode a figure as PNG with a palette; colours: PHOTO_COLOURS where it shows photographs, which are dithered."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    canvas.draw()  # type: ignore[no-untyped-call]
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    _index(image, colours).save(buffer, "PNG")
    return buffer.getvalue()


def _index(image: Image.Image, colours: int) -> Image.Image:
    """Return an image with a palette. A photograph is dithered: 256 colours of its own would show as steps of heat."""
    photograph = colours >= PHOTO_COLOURS
    method = Image.Quantize.MEDIANCUT if photograph else Image.Quantize.FASTOCTREE
    indexed = image.quantize(colours, method=method, dither=Image.Dither.NONE)
    indexed.putpalette(_whiten(indexed))
    return image.quantize(palette=indexed, dither=Image.Dither.FLOYDSTEINBERG) if photograph else indexed


def _whiten(image: Image.Image) -> list[int]:
    """Return the palette with what is nearly white as white: quantizing makes paper a light grey."""
    palette = np.asarray(image.getpalette(), np.uint8).reshape(-1, 3)
    palette[palette.min(axis=1) > NEARLY_WHITE] = 255
    return [int(value) for value in palette.ravel()]


def save_figure(figure: Figure, path: Path, colours: int = CHART_COLOURS) -> bytes:
    """Write a figure as PNG; return the bytes."""
    content = encode_png(figure, colours)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)
    return content


def encode_webp(image: bytes) -> bytes:
    """Encode a PNG that shows photographs as WebP."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(image)) as opened:
        opened.convert("RGB").save(buffer, "WEBP", quality=WEBP_QUALITY, method=4)
    return buffer.getvalue()


def page_width(image: bytes) -> int:
    """Return the width in CSS pixels at which a figure's text has its own size."""
    with Image.open(io.BytesIO(image)) as opened:
        return round(opened.width * PAGE_DPI / DPI)
