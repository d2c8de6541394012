"""Grey-level statistics of a film's outer strips: what they know of the label, the lesion did not tell.

A film's edges show its digitiser, its labels and its tape. Films of one class that come from one place share them.
"""

import cv2
import numpy as np
import numpy.typing as npt

from mammo.core.schemas import BORDER_BINS, BORDER_PERCENTILES
from mammo.data.images.transforms import Film, reduce_to_8_bits

FILM_PX = 400  # longer side at which a film's strips are measured; a film in memory may be smaller
STRIP = 0.02  # of the longer side: the outer 16 px of a film of 800 px


def measure_border(film: Film, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return schemas.BORDER_STATISTICS of a film, each of the four strips and of the file.

    film: (h, w) uint8 or uint16, decoded whole or reduced; shape: (h, w) of the whole film, in px.
    """
    scale = FILM_PX / max(film.shape)
    grey = reduce_to_8_bits(film)
    if scale < 1:
        size = max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale))
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    width = max(1, round(STRIP * max(grey.shape)))
    strips = (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:])
    measured = [_measure_strip(grey[strip], edges[strip]) for strip in strips]
    return np.concatenate([*measured, [*shape, 8.0 * film.dtype.itemsize]])


def _measure_strip(grey: npt.NDArray[np.uint8], edges: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return mean, SD and percentiles of the greys, mean and SD of the Laplacian, and the histogram's shares."""
    histogram = np.bincount(grey.ravel() // (256 // BORDER_BINS), minlength=BORDER_BINS) / grey.size
    levels = np.percentile(grey, BORDER_PERCENTILES)
    return np.concatenate([[grey.mean(), grey.std()], levels, [edges.mean(), edges.std()], histogram])
