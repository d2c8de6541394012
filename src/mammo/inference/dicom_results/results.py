"""The results of one film, in the film's own study, with UIDs that follow from film, model and boxes.

The same question gives the same UIDs: a result that is stored twice is one object in an archive.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from mammo.data.images import dicom
from mammo.data.images.transforms import stretch_to_8_bits
from mammo.inference.about import About
from mammo.inference.dicom_results.capture import draw_picture, make_capture
from mammo.inference.dicom_results.device import LONG_STRING, derive_uid
from mammo.inference.dicom_results.reading import Reading
from mammo.inference.dicom_results.report import make_report
from mammo.inference.dicom_results.segmentation import make_segmentation
from mammo.inference.dicom_results.source import name_header, read_source

REPORT, SEGMENTATION, CAPTURE = KINDS = ("sr", "seg", "sc")
SERIES_NUMBERS = {REPORT: 9001, SEGMENTATION: 9002, CAPTURE: 9003}


@dataclass(frozen=True)
class Film:
    """A DICOM film in memory."""

    path: Path
    data: bytes


def make_results(film: Film, readings: Sequence[Reading], about: About, method: str) -> dict[str, Dataset]:
    """Return the results by kind (KINDS); without a heat map there is a report and a picture. Raises InputError.

    readings: of the whole film, or one for each box. method: of the heat maps.
    """
    source = read_source(film.path, film.data)
    grey = stretch_to_8_bits(dicom.decode(film.path, film.data, displayed=True))

    def identity(kind: str) -> dict[str, Any]:
        return _identify(kind, source, readings, about)

    with name_header(film.path):
        results = {REPORT: make_report(source, readings, about, identity(REPORT))}
        if any(reading.heat is not None for reading in readings):
            results[SEGMENTATION] = make_segmentation(source, readings, about, method, identity(SEGMENTATION))
        picture = draw_picture(grey, readings, about)
        results[CAPTURE] = make_capture(source, picture, about, readings, identity(CAPTURE))
    return results


def result_uid(kind: str, film_uid: str, boxes: Sequence[str], about: About) -> UID:
    """Return the SOP instance UID of a result; boxes: as text, of a whole film one that is empty."""
    model = f"{about.model_sha256} of two views" if about.two_views else about.model_sha256
    return derive_uid(kind, film_uid, model, about.record or "", *boxes)


def encode(result: Dataset) -> bytes:
    """Return a result as a file's bytes."""
    buffer = io.BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _identify(kind: str, source: Dataset, readings: Sequence[Reading], about: About) -> dict[str, Any]:
    """Return the UIDs and numbers of a result; each has a series of its own: films need not share what a series has."""
    boxes = [reading.place for reading in readings]
    uid = result_uid(kind, source.SOPInstanceUID, boxes, about)
    return {
        "series_instance_uid": derive_uid("series", uid),
        "series_number": SERIES_NUMBERS[kind],
        "sop_instance_uid": uid,
        "instance_number": 1,
        "series_description": f"{about.name}, research only"[:LONG_STRING],
    }
