"""Figures as PNG: the bytes depend on the figure alone."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from mammo.core.files import atomic_write

DPI = 130


def encode_png(figure: Figure) -> bytes:
    """Encode a figure as PNG whose bytes depend on the figure alone."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(encode_png(figure))
