"""Pictures of single samples, drawn with OpenCV: the image with its lesion outlined, and its heat map beside it."""

import cv2
import numpy as np
import numpy.typing as npt

THUMBNAIL_PX = 192
OUTLINE_COLOUR = (136, 255, 0)  # blue, green, red: contact_sheets.LESION_COLOUR
OPACITY = 0.6  # of the heat map where it is highest
CAPTION_PX = 26  # height of the strip that holds the caption

Grey = npt.NDArray[np.uint8]
Heat = npt.NDArray[np.floating]


def encode_case(image: Grey, mask: Grey, heat: Heat | None = None) -> bytes:
    """Encode one sample as a PNG of THUMBNAIL_PX a panel.

    image, mask: (h, w), the mask nonzero inside the lesion; heat: (h, w) in 0..1.
    """
    return _encode(_draw_panels(image, mask, heat, THUMBNAIL_PX))


def encode_heat_map(image: Grey, mask: Grey, heat: Heat, caption: str, size_px: int) -> bytes:
    """Encode one sample beside its heat map as a PNG of size_px a panel, below a caption in ASCII; as encode_case."""
    panels = _draw_panels(image, mask, heat, size_px)
    strip = np.full((CAPTION_PX, panels.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, caption, (6, CAPTION_PX - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return _encode(np.vstack([strip, panels]))


def _draw_panels(image: Grey, mask: Grey, heat: Heat | None, size_px: int) -> Grey:
    """Return the panels side by side, (size_px, panels * size_px, 3)."""
    grey = np.asarray(cv2.cvtColor(_resize(image, size_px, cv2.INTER_LINEAR), cv2.COLOR_GRAY2BGR), np.uint8)
    outlines, _ = cv2.findContours(
        _resize((mask > 0).astype(np.uint8), size_px, cv2.INTER_NEAREST), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    panels = [grey]
    if heat is not None:
        level = _resize(np.clip(255 * heat.astype(np.float32), 0, 255).astype(np.uint8), size_px, cv2.INTER_LINEAR)
        coloured = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)
        weight = level * np.float32(OPACITY / 255)
        panels.append(np.asarray(cv2.blendLinear(grey, coloured, 1 - weight, weight), np.uint8))
    outlined = [cv2.drawContours(np.ascontiguousarray(panel), outlines, -1, OUTLINE_COLOUR, 1) for panel in panels]
    return np.asarray(np.hstack(outlined), np.uint8)


def _encode(picture: Grey) -> bytes:
    _, encoded = cv2.imencode(".png", picture)
    return encoded.tobytes()


def _resize(image: Grey, size_px: int, interpolation: int) -> Grey:
    return np.asarray(cv2.resize(image, (size_px, size_px), interpolation=interpolation), np.uint8)
