"""Figures of samples: images (n, h, w) with their lesions outlined, heat maps over them, and what augmentation does."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mammo.reporting.figures import overlays

BREAST_COLOUR = "#56b4e9"
LESION_COLOUR = "#00ff88"
TILE_PX = 250
SHEET_DPI = 144  # of a contact sheet, whose pixels are then those of its PNG
HEAD_LINE_PX, GAP_PX, BAR_PX, BAR_WIDTH_PX = 20, 12, 46, 220
TITLE_POINTS, TITLE_CHARACTERS = 8, 30  # a line of so many fits over TILE_PX
HEAT_LEGEND = "heat: least to most, each map by itself"
PLACE_LEGEND = "; beside it the whole film, blue: what the model gets"
CHANGE_PX, CHANGE_NAME_PX = 150, 260  # of the sheet of augmentations

Pixels = npt.NDArray[np.unsignedinteger[Any]]  # uint8 or uint16
Mask = npt.NDArray[np.uint8]
Colours = npt.NDArray[np.uint8]  # (h, w, 3), RGB


def to_eight_bits(image: Pixels) -> npt.NDArray[np.uint8]:
    """Return an image of any depth as uint8."""
    return (image >> (8 * image.dtype.itemsize - 8)).astype(np.uint8)


def draw_contact_sheet(
    images: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.uint8],
    titles: Sequence[str],
    heat: npt.NDArray[np.float32] | None = None,
    places: Sequence[Colours] = (),
) -> Figure:
    """Draw a contact sheet: images (n, h, w), the lesion's outline, and a heat map (n, h, w) in 0..1 where given.

    A map that shows nothing says why under its title. With maps the sheet has a colour bar. places: of film_places,
    one per image, as (h, w, 3) blue, green, red; each stands at the left of its image.
    """
    panels = [
        overlays.draw_panel(image, mask, TILE_PX, None if heat is None else heat[number])
        for number, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]
    if places:
        panels = [overlays.stand_beside(*pair) for pair in zip(places, panels, strict=True)]
    notes = [""] * len(panels) if heat is None else [overlays.explain_empty(one) for one in heat]
    heads = [f"{title}\n{note}" if note else title for title, note in zip(titles, notes, strict=True)]
    legend = "" if heat is None else f"{HEAT_LEGEND}{PLACE_LEGEND if places else ''}"
    return draw_panels([panel[..., ::-1] for panel in panels], heads, legend)


def draw_panels(panels: Sequence[Colours], titles: Sequence[str], legend: str = "") -> Figure:
    """Draw images (h, w, 3) of one height in fours, each under its title; `legend` stands beside a colour bar.

    All of it is one image in one pair of axes, which takes a tenth of the time of axes for each.
    """
    height, width = panels[0].shape[0], max(panel.shape[1] for panel in panels)
    columns, head = min(4, len(panels)), HEAD_LINE_PX * (1 + max(title.count("\n") for title in titles)) + GAP_PX
    rows = -(-len(panels) // columns)
    foot = BAR_PX if legend else GAP_PX
    sheet = np.full((rows * (height + head) + foot, columns * (width + GAP_PX) + GAP_PX, 3), 255, np.uint8)
    figure, axes = _new_sheet(sheet.shape)
    for number, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        top, left = head + (number // columns) * (height + head), GAP_PX + (number % columns) * (width + GAP_PX)
        sheet[top : top + height, left : left + panel.shape[1]] = panel
        _write_title(axes, (left, top), title, TITLE_CHARACTERS * width // TILE_PX if columns > 1 else None)
    if legend:
        _draw_bar(axes, sheet, legend)
    axes.imshow(sheet, interpolation="none", aspect="auto")
    return figure


def _write_title(axes: Axes, place: tuple[int, int], title: str, length: int | None) -> None:
    """Write a title above the panel at `place` (left, top), in px, its lines cut to a length where one is given."""
    if length is not None:
        title = "\n".join(shorten_middle(line, length) for line in title.split("\n"))
    axes.text(place[0], place[1] - 5, title, fontsize=TITLE_POINTS, va="bottom", linespacing=1.15)


def shorten_middle(text: str, length: int) -> str:
    """Return text of at most that length; of a longer one the start and the end, which tell names apart."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def _draw_bar(axes: Axes, sheet: Colours, legend: str) -> None:
    """Draw the colour bar into the foot of a sheet, and its legend beside it."""
    top = sheet.shape[0] - BAR_PX + 16
    sheet[top : top + 14, GAP_PX : GAP_PX + BAR_WIDTH_PX] = overlays.draw_bar(BAR_WIDTH_PX, 14)[..., ::-1]
    axes.text(GAP_PX + BAR_WIDTH_PX + 8, top + 7, legend, fontsize=TITLE_POINTS, va="center")


def draw_augmentations(examples: Mapping[str, npt.NDArray[np.uint8]]) -> Figure:
    """Draw augmented images (n, h, w) by the name of the change: a column per image, a row per change."""
    count = len(next(iter(examples.values())))
    height = len(examples) * (CHANGE_PX + GAP_PX) + GAP_PX
    sheet = np.full((height, CHANGE_NAME_PX + count * (CHANGE_PX + GAP_PX), 3), 255, np.uint8)
    figure, axes = _new_sheet(sheet.shape)
    for row, (name, images) in enumerate(examples.items()):
        top = GAP_PX + row * (CHANGE_PX + GAP_PX)
        axes.text(GAP_PX, top + CHANGE_PX / 2, name.replace(", ", "\n"), fontsize=TITLE_POINTS, va="center")
        for column, image in enumerate(images):
            left = CHANGE_NAME_PX + column * (CHANGE_PX + GAP_PX)
            panel = overlays.draw_panel(image, np.zeros_like(image), CHANGE_PX)
            sheet[top : top + CHANGE_PX, left : left + CHANGE_PX] = panel
    axes.imshow(sheet, interpolation="none", aspect="auto")
    return figure


def _new_sheet(shape: tuple[int, ...]) -> tuple[Figure, Axes]:
    """Return a figure that one image of that shape (h, w, 3) fills, pixel for pixel in its PNG."""
    figure = Figure(figsize=(shape[1] / SHEET_DPI, shape[0] / SHEET_DPI))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return figure, axes


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
