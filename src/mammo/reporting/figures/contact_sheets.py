"""Figures of samples: images (n, h, w) with their lesions outlined, heat maps over them, and what augmentation does."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

BREAST_COLOUR = "#56b4e9"
LESION_COLOUR = "#00ff88"

Pixels = npt.NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Mask = npt.NDArray[np.uint8]


def to_eight_bits(image: Pixels) -> npt.NDArray[np.uint8]:
    """Return an image of any depth as uint8."""
    return (image >> (8 * image.dtype.itemsize - 8)).astype(np.uint8)


def draw_contact_sheet(
    images: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    titles: Sequence[str],
    heat: npt.NDArray[np.float32] | None = None,
) -> Figure:
    """Draw a contact sheet: images (n, h, w), the lesion's outline, and a heat map (n, h, w) in 0..1 where given."""
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.9 * rows))
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for number, axes in enumerate(grid[: len(images)]):
        axes.imshow(images[number], cmap="gray", vmin=0, vmax=255)
        if heat is not None:
            axes.imshow(heat[number], cmap="inferno", alpha=0.5 * heat[number], vmin=0, vmax=1)
        for outline in _find_outlines(masks[number]):
            axes.plot(outline[:, 0], outline[:, 1], color=LESION_COLOUR, linewidth=1)
        axes.set_title(titles[number], fontsize=8)
    figure.tight_layout()
    return figure


def draw_augmentations(examples: Mapping[str, npt.NDArray[np.uint8]]) -> Figure:
    """Draw augmented images (n, h, w) by the name of the augmentation: a row per image, a column per augmentation."""
    rows = len(next(iter(examples.values())))
    figure = Figure(figsize=(1.4 * len(examples), 1.5 * rows + 0.2))
    grid = np.atleast_2d(figure.subplots(rows, len(examples)))
    for column, (name, images) in enumerate(examples.items()):
        for axes, image in zip(grid[:, column], images, strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
        grid[0, column].set_title(name.removesuffix("_degrees"), fontsize=8)
    figure.tight_layout(pad=0.3)
    return figure


def draw_before_after(
    films: Sequence[Sequence[tuple[Pixels, Mask, Mask]]],
    images: Pixels,
    masks: npt.NDArray[np.uint8],
    titles: Sequence[str],
) -> Figure:
    """Draw a contact sheet of pairs: the films of a sample as scanned, beside the model's input.

    films: per sample its films (h, w) with the detected breasts and the marked lesions, (h, w) 0/1 of the same shape;
    images: (n, h, w) uint8 or uint16, masks: (n, h, w) 0/1.
    """
    pairs = min(2, len(films))
    rows = -(-len(films) // pairs)
    figure = Figure(figsize=(5.4 * pairs, 3.1 * rows * (1.5 if images.shape[1] > images.shape[2] else 1)))
    grid = np.atleast_2d(figure.subplots(rows, 2 * pairs)).reshape(-1, 2)
    for axes in grid.ravel():
        axes.set_axis_off()
    for (before, after), views, image, mask, title in zip(grid, films, images, masks, titles, strict=False):
        film, breast, lesions = (_stack_views(parts) for parts in zip(*views, strict=True))
        before.imshow(film, cmap="gray", vmin=film.min(), vmax=film.max())
        after.imshow(image, cmap="gray", vmin=0, vmax=np.iinfo(images.dtype).max)
        for axes, shape, colour in (
            (before, breast, BREAST_COLOUR),
            (before, lesions, LESION_COLOUR),
            (after, mask, LESION_COLOUR),
        ):
            for outline in _find_outlines(shape):
                axes.plot(outline[:, 0], outline[:, 1], color=colour, linewidth=1)
        before.set_title(title, fontsize=8)
        after.set_title(f"model input, {image.shape[0]}x{image.shape[1]} px", fontsize=8)
    outlines = [
        Line2D([], [], color=BREAST_COLOUR, label="detected breast"),
        Line2D([], [], color=LESION_COLOUR, label="marked lesion"),
    ]
    figure.tight_layout(rect=(0, 0.4 / figure.get_figheight(), 1, 1))
    figure.legend(handles=outlines, loc="lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _stack_views(views: Sequence[Pixels]) -> Pixels:
    """Stack images (h, w) one above the other, filled with black to the same width."""
    width = max(view.shape[1] for view in views)
    return np.vstack([np.pad(view, ((0, 0), (0, width - view.shape[1]))) for view in views])


def _find_outlines(mask: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.int32]]:
    """Return closed outlines (points, 2) as x, y."""
    outlines, _ = cv2.findContours(np.ascontiguousarray(mask), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [np.concatenate([outline, outline[:1]])[:, 0] for outline in outlines]
