"""A check of shape and tone that flags images which cannot be mammograms, with a reason in words.

A film shows one breast, bright on dark, smooth, in one piece, against one side. The limits lie beyond the values of
1,592 films of CBIS-DDSM; `python benchmarks/input_check.py` measures how many films and other images are flagged.
"""

import cv2
import numpy as np
import numpy.typing as npt

from mammo.data.images import breast, dicom, io, transforms
from mammo.data.images.io import Encoded
from mammo.data.images.transforms import Film, Grey, Mask

LENGTH_PX = 192  # of the longer side; everything is measured at this size
MODALITY = "MG"  # DICOM PS3.3 C.7.3.1.1.1
CONTRAST = 60  # between the 1st and the 99th percentile, of 255
SHARE = (0.08, 0.80)  # of the image, for its largest bright part
BACKGROUND = 32  # the highest median, of 255
BACKGROUND_ROUGHNESS = 1.5  # the highest median absolute Laplacian after smoothing, of 255
MARGIN = np.ones((7, 7), np.uint8)  # around the outline, whose edge is neither inside nor background
SIDE_PX = 4
BOTH_SIDES = 0.60  # of a side's length
SOLIDITY = 0.60  # of the convex hull
HOLES = 0.01  # of the area inside the outline
ROUGHNESS = 0.09  # mean absolute Laplacian inside, as a share of the contrast


def rejection_reason(image: Encoded, film: Film | None = None, subject: Mask | None = None) -> str:
    """Return why an image cannot be a mammogram, in words, or an empty text; raises PixelError.

    film, subject: the decoded image and its breast_mask, where a caller has them.
    """
    io.refuse_tiny(image)
    if image.format == "DICOM":
        modality = dicom.read_tags(image.path, "Modality", data=image.data)["Modality"]
        if modality not in ("", MODALITY):
            return f"its DICOM header says modality {modality}, not {MODALITY}"
    return film_rejection_reason(io.decode(image, _reduction(image)) if film is None else film, subject)


def film_rejection_reason(film: Film, subject: Mask | None = None) -> str:
    """Return why a decoded image (h, w) cannot be a mammogram, in words, or an empty text; subject: its breast_mask."""
    grey = _shrink(film)
    subject = breast.breast_mask(grey) if subject is None else breast.reduce_mask(subject, grey.shape)
    contrast = _measure_contrast(grey)
    if reason := _tone_rejection_reason(grey, subject, contrast):
        return reason
    around = np.asarray(cv2.dilate(subject, MARGIN) == 0, np.uint8)
    if around.any() and _median(_smooth_laplacian(grey), around) > BACKGROUND_ROUGHNESS:
        return "its background is not even"
    if min(map(_length_share, (subject[:, :SIDE_PX], subject[:, -SIDE_PX:]))) > BOTH_SIDES:
        return "what it shows touches both sides; a breast lies against one"
    inside = cv2.erode(subject, MARGIN) > 0
    if inside.any() and _absolute_laplacian(grey)[inside].mean() > ROUGHNESS * contrast:
        return "what it shows is rough"
    return _outline_rejection_reason(subject)


def gross_rejection_reason(film: Film) -> str:
    """Return why a decoded image (h, w) cannot be a mammogram by its tones alone, or an empty text.

    It holds for drawn and for coarse films as well: blank, negative, a photo, noise.
    """
    grey = _shrink(film)
    return _tone_rejection_reason(grey, breast.breast_mask(grey), _measure_contrast(grey))


def _measure_contrast(grey: Grey) -> float:
    """Return the grey levels between the 1st and the 99th percentile."""
    dark, bright = transforms.percentile_levels(grey, np.ones_like(grey), (1, 99))
    return bright - dark


def _length_share(side: Mask) -> float:
    """Return the share of the rows of a side (h, SIDE_PX) that show something."""
    return cv2.countNonZero(cv2.reduce(side, 1, cv2.REDUCE_MAX)) / len(side)


def _tone_rejection_reason(grey: Grey, subject: Mask, contrast: float) -> str:
    if contrast < CONTRAST:
        return "it is nearly blank"
    share = cv2.countNonZero(subject) / subject.size
    if not SHARE[0] <= share <= SHARE[1]:
        return f"its largest bright part takes {share:.0%} of it; a breast takes {SHARE[0]:.0%} to {SHARE[1]:.0%}"
    return "its background is not dark" if _median(grey, 1 - subject) > BACKGROUND else ""


def _median(grey: Grey, region: Mask) -> float:
    """Return the median grey of a region (0/1) from the histogram, in a third of the time of sorting."""
    return transforms.percentile_levels(grey, region, (50, 50))[0]


def _absolute_laplacian(grey: Grey) -> npt.NDArray[np.float32]:
    return np.abs(cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F))


def _smooth_laplacian(grey: Grey) -> Grey:
    """Return the absolute Laplacian after Gaussian smoothing, clipped to 255."""
    smooth = cv2.GaussianBlur(grey, (7, 7), 0)
    # Of whole numbers the Laplacian is whole in 32 bits as in 16, and OpenCV computes it in a quarter of the time.
    return np.asarray(cv2.convertScaleAbs(cv2.Laplacian(smooth.astype(np.float32), cv2.CV_32F)), np.uint8)


def _reduction(image: Encoded) -> int:
    """Return the strongest reduction that leaves LENGTH_PX."""
    return max(step for step in io.REDUCTIONS if step == 1 or max(image.shape) // step >= LENGTH_PX)


def _shrink(film: Film) -> Grey:
    """Reduce to 8 bits and to at most LENGTH_PX for the longer side."""
    height, width = film.shape
    scale = min(1.0, LENGTH_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(cv2.resize(film, size, interpolation=cv2.INTER_AREA), film.dtype)
    if small.dtype == np.uint8:
        return np.asarray(small, np.uint8)
    low, high = int(small.min()), int(small.max())
    return np.asarray((small.astype(np.float64) - low) * (255 / max(high - low, 1)), np.uint8)


def _outline_rejection_reason(subject: Mask) -> str:
    """Return why the outline of a bright part (h, w) 0/1 cannot be a breast, or an empty text."""
    outlines, _ = cv2.findContours(subject, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled, hull = np.zeros_like(subject), np.zeros_like(subject)
    cv2.drawContours(filled, outlines, -1, (1,), -1)
    cv2.drawContours(hull, [cv2.convexHull(np.concatenate(outlines))], -1, (1,), -1)
    inside, whole, convex = map(cv2.countNonZero, (subject, filled, hull))
    if 1 - inside / whole > HOLES:
        return "what it shows has holes"
    if whole / convex < SOLIDITY:
        return "the outline of what it shows is ragged"
    return ""
