"""The published crop of a lesion as a witness: it shows what film and mask say, or one of the three is of another row.

Film, crop and mask are compared at one scale: CBIS-DDSM cuts crops out of the films without resizing them.
"""

import cv2
import numpy as np

from mammo.data.images import io, transforms
from mammo.data.images.io import Encoded
from mammo.data.images.transforms import Mask

MASK_PX = 256  # of a mask's longer side, at least
COMPARED_PX = 64  # of the crop's shorter side, at least, where it has them: both are reduced as far


def correlate_crop(film: Encoded, mask: Encoded, crop: Encoded, min_px: int) -> float | None:
    """Return the highest correlation (Pearson's, -1..1) of a crop with the film around the mask's box.

    None where the crop cannot tell: its shorter side is below `min_px`. 0 for an even crop, which shows nothing of the
    film, and for one that is larger than the film.
    Raises PixelError for a file that cannot be decoded.
    """
    if min(crop.shape) < min_px:
        return None
    # Its middle alone is needed, to a few px.
    coarse = max(step for step in io.REDUCTIONS if step == 1 or max(mask.shape) // step >= MASK_PX)
    top, left, bottom, right = _box_on_film(io.foreground(mask, coarse), film.shape)
    reduction = max(step for step in io.REDUCTIONS if step == 1 or min(crop.shape) // step >= COMPARED_PX)
    searched, pattern = io.decode(film, reduction), io.decode(crop, reduction)
    middle = (top + bottom) / 2 / reduction, (left + right) / 2 / reduction
    window = _window(searched, middle, pattern.shape)
    if window.shape[0] < pattern.shape[0] or window.shape[1] < pattern.shape[1] or not np.ptp(pattern):
        return 0.0
    found = cv2.matchTemplate(window.astype(np.float32), pattern.astype(np.float32), cv2.TM_CCOEFF_NORMED)
    return float(found.max())


def _box_on_film(mask: Mask, shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the mask's box in px of the film."""
    down, across = shape[0] / mask.shape[0], shape[1] / mask.shape[1]
    top, left, bottom, right = transforms.bounding_box(mask)
    return int(top * down), int(left * across), round(bottom * down), round(right * across)


def _window(film: transforms.Film, middle: tuple[float, float], shape: tuple[int, ...]) -> transforms.Film:
    """Return the part of a film where a crop of that shape can lie if it holds the middle of the lesion."""
    starts = [max(0, int(centre - side)) for centre, side in zip(middle, shape, strict=True)]
    ends = [int(centre + side) + 1 for centre, side in zip(middle, shape, strict=True)]
    return film[starts[0] : ends[0], starts[1] : ends[1]]
