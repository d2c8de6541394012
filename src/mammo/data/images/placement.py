"""From a model's square back to its film: the inverse of `preprocess.cut_square` for maps of values."""

import cv2
import numpy as np
import numpy.typing as npt

from mammo.core.config import PreprocessConfig
from mammo.data.images import io, transforms
from mammo.data.images.breast import lies_right
from mammo.data.images.preprocess import Located
from mammo.data.images.transforms import Box

Values = npt.NDArray[np.float32]


def place_on_film(values: Values, view: Located, film_shape: tuple[int, int], settings: PreprocessConfig) -> Values:
    """Return values (size_px, size_px) of a square where they lie on its film (h, w) as stored; 0 around the square.

    view: what the square was cut from. film_shape: of the whole film, of which `view` may hold a reduction.
    """
    if view.crop is None:
        breast = transforms.cut_margin(view.breast, settings.edge_margin)
        box = transforms.bounding_box(breast)
        flipped = lies_right(transforms.crop(breast, box))
    else:
        box, flipped = view.crop[0], False
    top, left, bottom, right = box
    side_px = max(bottom - top, right - left)
    square = np.asarray(cv2.resize(values, (side_px, side_px), interpolation=cv2.INTER_LINEAR), np.float32)
    inside = square[: bottom - top, : right - left]
    return _enlarge(_paste(inside[:, ::-1] if flipped else inside, box, view.film.shape), film_shape)


def _paste(values: Values, box: Box, shape: tuple[int, ...]) -> Values:
    """Return zeros (h, w) with the values in their box, as far as it lies inside."""
    top, left, bottom, right = box
    placed = np.zeros(shape, np.float32)
    rows, columns = slice(max(top, 0), min(bottom, shape[0])), slice(max(left, 0), min(right, shape[1]))
    placed[rows, columns] = values[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return placed


def _enlarge(values: Values, shape: tuple[int, int]) -> Values:
    """Undo the reduction of a film whose last blocks were incomplete."""
    reduction = next(by for by in io.REDUCTIONS if tuple(-(-side // by) for side in shape) == values.shape)
    if reduction == 1:
        return values
    height, width = values.shape
    whole = cv2.resize(values, (width * reduction, height * reduction), interpolation=cv2.INTER_LINEAR)
    return np.asarray(whole[: shape[0], : shape[1]], np.float32)
