"""The answer as a picture that any viewer shows: film, heat map and box, with the notice burnt in."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from highdicom import PhotometricInterpretationValues
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless

from mammo.data.images.transforms import Grey
from mammo.inference.about import NOTICE, About
from mammo.inference.dicom_results import device
from mammo.inference.dicom_results.reading import Reading, describe
from mammo.reporting.figures import overlays

LENGTH_PX = 1536  # of the longer side of the film in the picture, at most
MIN_WIDTH_PX = 640  # below it no text can be read
LINE_PX, MARGIN_PX = 28, 8
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.6
RED = (30, 30, 220)  # blue, green, red
ANY_ORIENTATION = ("A", "F")  # highdicom wants one; the film's own, which may be unknown, replaces it

Colours = npt.NDArray[np.uint8]


def make_capture(
    source: Dataset, picture: Colours, about: About, readings: Sequence[Reading], identity: dict[str, Any]
) -> Dataset:
    """Return the picture (h, w, 3) RGB of `draw_picture` as a secondary capture that names its film."""
    capture = SCImage.from_ref_dataset(
        source,
        picture,
        PhotometricInterpretationValues.RGB,
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=ANY_ORIENTATION,
        transfer_syntax_uid=RLELossless,
        **identity,
        **device.equipment(about),
    )
    capture.PatientOrientation = source.PatientOrientation
    capture.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    capture.DerivationDescription = f"{NOTICE} " + "; ".join(map(describe, readings))
    # What can identify a patient in the pixels is what the film itself has burnt in.
    capture.BurnedInAnnotation = source.get("BurnedInAnnotation", None) or "NO"
    capture.SourceImageSequence = [_refer(source)]
    capture.Laterality = source.get("ImageLaterality") or source.get("Laterality")
    return capture


def draw_picture(grey: Grey, readings: Sequence[Reading], about: About) -> Colours:
    """Return a film (h, w) as displayed with the heat and boxes of its readings, below the notice: (h, w, 3) RGB."""
    height, width = grey.shape
    scale = min(LENGTH_PX / max(height, width), 1)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    film = np.asarray(cv2.cvtColor(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR), np.uint8)
    for reading in readings:
        film = _mark(film, reading, size, scale)
    wide = np.zeros((size[1], max(size[0], MIN_WIDTH_PX), 3), np.uint8)
    wide[:, : size[0]] = film
    title = f"{about.name}, version {device.model_version(about)}"
    lines = [(NOTICE, RED), (title, (0, 0, 0)), *((_line(reading), (0, 0, 0)) for reading in readings)]
    return np.ascontiguousarray(np.vstack([_write(lines, wide.shape[1]), wide])[..., ::-1])


def _line(reading: Reading) -> str:
    doubt = f"; NO MAMMOGRAM? {reading.doubt}" if reading.doubt else ""
    return f"{reading.place or 'film'}: {describe(reading)}{doubt}"


def _mark(film: Colours, reading: Reading, size: tuple[int, int], scale: float) -> Colours:
    """Lay the heat map of a reading over a film, and outline its box."""
    if reading.heat is not None:
        level = cv2.resize(reading.heat, size, interpolation=cv2.INTER_AREA)
        film = overlays.lay_over(film, np.rint(255 * level.clip(0, 1)).astype(np.uint8))
    if reading.box is not None:
        x0, y0, x1, y1 = (round(corner * scale) for corner in reading.box)
        film = np.asarray(cv2.rectangle(film, (x0, y0), (x1, y1), overlays.OUTLINE_COLOUR, 2), np.uint8)
    return film


def _write(lines: Sequence[tuple[str, tuple[int, int, int]]], width_px: int) -> Colours:
    """Return lines of text on white; one that is too long is written smaller."""
    strip = np.full((LINE_PX * len(lines) + MARGIN_PX, width_px, 3), 255, np.uint8)
    for number, (text, colour) in enumerate(lines, 1):
        (length, _), _ = cv2.getTextSize(text, FONT, FONT_SCALE, 1)
        size = FONT_SCALE * min(1, (width_px - 2 * MARGIN_PX) / length)
        cv2.putText(strip, text, (MARGIN_PX, LINE_PX * number - MARGIN_PX), FONT, size, colour, 1, cv2.LINE_AA)
    return strip


def _refer(source: Dataset) -> Dataset:
    """Return an item of the Source Image Sequence (PS3.3, C.7.6.1)."""
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = codes.DCM.SourceImageForImageProcessingOperation.meaning
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item
