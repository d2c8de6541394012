"""Heat maps as a fractional segmentation on the grid of the film, a segment per reading."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless

from mammo.inference.about import About
from mammo.inference.dicom_results import device
from mammo.inference.dicom_results.device import LONG_STRING, code
from mammo.inference.dicom_results.reading import Reading

SALIENCY = code("saliency", "Saliency: where the model looked, no outline of a lesion")
DESCRIPTION = "Research only: saliency scaled to its maximum, no probability"


def make_segmentation(
    source: Dataset, readings: Sequence[Reading], about: About, method: str, identity: dict[str, Any]
) -> Dataset:
    """Return the heat maps of readings that have one; method: of explain/saliency.py."""
    shown = [reading for reading in readings if reading.heat is not None]
    maps = np.stack([reading.heat for reading in shown if reading.heat is not None], axis=-1)[np.newaxis]
    segmentation = Segmentation(
        source_images=[source],
        pixel_array=maps,
        segmentation_type=SegmentationTypeValues.FRACTIONAL,
        segment_descriptions=[
            _describe_segment(number, source, reading, about, method) for number, reading in enumerate(shown, 1)
        ],
        omit_empty_frames=False,  # an empty map is an answer: nothing speaks for malignant
        transfer_syntax_uid=RLELossless,
        content_label="SALIENCY",
        content_description=DESCRIPTION,
        **identity,
        **device.equipment(about),
    )
    segmentation.PatientOrientation = source.PatientOrientation
    return segmentation


def _describe_segment(number: int, source: Dataset, reading: Reading, about: About, method: str) -> SegmentDescription:
    tracking_uid, tracking_id = device.track_finding(source, reading.place)
    return SegmentDescription(
        number,
        f"saliency ({method}) {reading.place}".strip()[:LONG_STRING],
        codes.SCT.MorphologicallyAbnormalStructure,
        SALIENCY,
        SegmentAlgorithmTypeValues.AUTOMATIC,
        device.algorithm_sequence(about, method),
        tracking_uid=tracking_uid,
        tracking_id=tracking_id,
        anatomic_regions=[codes.SCT.Breast],
    )
