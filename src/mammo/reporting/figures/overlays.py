"""Pictures of single samples, drawn with OpenCV: the image with its lesion outlined, and its heat map beside it."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

THUMBNAIL_PX = 192
OUTLINE_COLOUR = (136, 255, 0)  # blue, green, red: contact_sheets.LESION_COLOUR
HEAT_COLOURS = cv2.COLORMAP_INFERNO
OPACITY = 0.75  # of the heat map where it is highest
MARK_PX, MARK_GAP_PX = 200, 6  # of the height of a mark's panels, and between them
EVEN = 1e-3  # of 0..1: a map that varies less is even
CAPTION_SCALE = 0.5  # of OpenCV's font
CAPTION_PX = 26  # height of the strip that holds the caption
PLACE_GAP_PX = 4  # between the whole film and what was cut out of it

Grey = npt.NDArray[np.uint8]
Colours = npt.NDArray[np.uint8]  # (h, w, 3): blue, green, red
Heat = npt.NDArray[np.floating]


def encode_case(image: Grey, mask: Grey, heat: Heat | None = None, place: Colours | None = None) -> bytes:
    """Encode one sample as a PNG of THUMBNAIL_PX a panel.

    image, mask: (h, w), the mask nonzero inside the lesion; heat: (h, w) in 0..1; place: of film_places, (h, w, 3),
    shown first.
    """
    panels = _draw_panels(image, mask, heat, THUMBNAIL_PX)
    return _encode(panels if place is None else stand_beside(place, panels))


def encode_heat_map(image: Grey, mask: Grey, heat: Heat, caption: str, size_px: int) -> bytes:
    """Encode one sample beside its heat map as a PNG of size_px a panel, below a caption in ASCII; as encode_case.

    A caption that is longer than the panels is written smaller. Where the map shows nothing the caption says why.
    """
    panels = _draw_panels(image, mask, heat, size_px)
    strip = np.full((CAPTION_PX, panels.shape[1], 3), 255, np.uint8)
    text = ", ".join(part for part in (caption, explain_empty(heat)) if part)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, CAPTION_SCALE, 1)
    scale = CAPTION_SCALE * min(1.0, (panels.shape[1] - 12) / max(width, 1))
    cv2.putText(strip, text, (6, CAPTION_PX - 8), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return _encode(np.vstack([strip, panels]))


def encode_mark(film: Grey, mask: Grey, details: Sequence[Grey | None]) -> bytes:
    """Encode a film (h, w) with its mask outlined, and details (h, w) beside it, as a PNG of MARK_PX in height.

    Every panel keeps its aspect; a detail that is None is left out.
    """
    panel = np.asarray(cv2.cvtColor(fit_height(film, MARK_PX), cv2.COLOR_GRAY2BGR), np.uint8)
    # Each pixel that the mask touches: as 0/1 the smallest masks would round to nothing.
    marked = fit_height(np.asarray(255 * (mask > 0), np.uint8), MARK_PX)
    panels = [_outline(panel, np.asarray(marked > 0, np.uint8))]
    for detail in details:
        if detail is not None:
            panels += [np.full((MARK_PX, MARK_GAP_PX, 3), 255, np.uint8), _fit_square(detail)]
    return _encode(np.asarray(np.hstack(panels), np.uint8))


def fit_height(image: Grey, height_px: int) -> Grey:
    """Return an image (h, w) or (h, w, 3) at another height, its aspect kept."""
    height, width = image.shape[:2]
    size = max(1, round(width * height_px / height)), height_px
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _fit_square(image: Grey) -> Colours:
    """Return an image (h, w) as (MARK_PX, MARK_PX, 3), its aspect kept, in the middle of black."""
    scale = MARK_PX / max(image.shape)
    width, height = (max(1, round(side * scale)) for side in image.shape[::-1])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, (width, height), interpolation=interpolation)
    square = np.zeros((MARK_PX, MARK_PX), np.uint8)
    top, left = (MARK_PX - height) // 2, (MARK_PX - width) // 2
    square[top : top + height, left : left + width] = small
    return np.asarray(cv2.cvtColor(square, cv2.COLOR_GRAY2BGR), np.uint8)


def draw_panel(image: Grey, mask: Grey, size_px: int, heat: Heat | None = None) -> Colours:
    """Return an image as (size_px, size_px, 3): its lesion outlined, its heat map over it where one is given.

    The opacity follows the map from its least to its largest value, so that what is cool stays grey: a map that is high
    everywhere would else lie over the film like a brown veil. An even map shows nothing.
    """
    panel = np.asarray(cv2.cvtColor(_resize(image, size_px, cv2.INTER_LINEAR), cv2.COLOR_GRAY2BGR), np.uint8)
    spread = None if heat is None else spread_heat(heat)
    if spread is not None:
        level = _resize(np.rint(255 * spread).astype(np.uint8), size_px, cv2.INTER_LINEAR)
        panel = lay_over(panel, level)
    return _outline(panel, _resize((mask > 0).astype(np.uint8), size_px, cv2.INTER_NEAREST))


def _outline(panel: Colours, marked: Grey) -> Colours:
    """Return a panel (h, w, 3) with what is marked on it, (h, w) 0/1, outlined."""
    outlines, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.ascontiguousarray(panel), outlines, -1, OUTLINE_COLOUR, 1), np.uint8)


def spread_heat(heat: Heat) -> npt.NDArray[np.float32] | None:
    """Return a map (h, w) stretched to 0..1; None where it is even."""
    values = heat.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high - low > EVEN else None


def explain_empty(heat: Heat) -> str:
    """Return why a map (h, w) shows nothing; empty where it shows something."""
    if not np.any(heat):
        return "empty: nothing speaks for malignant"
    return "" if spread_heat(heat) is not None else "even: no place counts more than another"


def draw_bar(width_px: int, height_px: int, grey: int = 110) -> Colours:
    """Return the colour bar of a heat map over an even grey, from least to most: (height_px, width_px, 3)."""
    level = np.rint(np.linspace(0, 255, width_px)).astype(np.uint8)[np.newaxis].repeat(height_px, axis=0)
    return lay_over(np.full((height_px, width_px, 3), grey, np.uint8), level)


def lay_over(picture: Colours, level: Grey) -> Colours:
    """Colour a picture (h, w, 3) by a map (h, w) from 0 to 255, the more opaque the larger it is."""
    weight = level * np.float32(OPACITY / 255)
    return np.asarray(cv2.blendLinear(picture, cv2.applyColorMap(level, HEAT_COLOURS), 1 - weight, weight), np.uint8)


def stand_beside(place: Colours, panel: Colours) -> Colours:
    """Return a panel (h, w, 3) with a picture of the whole film at its left, of the same height, and a gap."""
    height = panel.shape[0]
    gap = np.full((height, PLACE_GAP_PX, 3), 255, np.uint8)
    return np.asarray(np.hstack([fit_height(place, height), gap, panel]), np.uint8)


def _draw_panels(image: Grey, mask: Grey, heat: Heat | None, size_px: int) -> Colours:
    """Return the panels side by side, (size_px, panels * size_px, 3)."""
    panels = [draw_panel(image, mask, size_px)]
    if heat is not None:
        panels.append(draw_panel(image, mask, size_px, heat))
    return np.asarray(np.hstack(panels), np.uint8)


def _encode(picture: Colours) -> bytes:
    _, encoded = cv2.imencode(".png", picture)
    return encoded.tobytes()


def _resize(image: Grey, size_px: int, interpolation: int) -> Grey:
    return np.asarray(cv2.resize(image, (size_px, size_px), interpolation=interpolation), np.uint8)
