"""The structured report of a film: PS3.16 TID 1500, as a Comprehensive SR whose evidence is the film."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from highdicom.sr import (
    CodedConcept,
    ComprehensiveSR,
    FindingSite,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from mammo.inference.about import BENIGN, MALIGNANT, NOTICE, REFER, About
from mammo.inference.dicom_results import device
from mammo.inference.dicom_results.device import code
from mammo.inference.dicom_results.reading import Reading

MAMMOGRAPHY = CodedConcept("71651007", "SCT", "Mammography")
SIDES = {"L": codes.SCT.Left, "R": codes.SCT.Right}
VALUES = {
    BENIGN: codes.SCT.Benign,
    MALIGNANT: codes.SCT.Malignant,
    REFER: code(REFER, "Refer to a reader: no single class stands"),
}
PROB = code("prob", "Probability of malignancy, the model's own")
THRESHOLD = code("threshold", "Operating point: malignant from this own probability on")
CONFIDENCE = code("confidence", "Confidence of the prediction set")
EVALUATIONS = {
    "call": code("call", "Call at the operating point"),
    "set": code("set", "Prediction set"),
    "answer": code("answer", "Class on which call and prediction set agree"),
}


def make_report(source: Dataset, readings: Sequence[Reading], about: About, identity: dict[str, Any]) -> Dataset:
    """Return the report of a film's readings; identity: UIDs and numbers, of results.py."""
    context = ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device.observer(about)))
    groups = [_make_group(source, reading, about) for reading in readings]
    report = MeasurementReport(context, MAMMOGRAPHY, groups)
    report[0].ContentSequence.append(_comment(NOTICE))
    return ComprehensiveSR(
        evidence=[source],
        content=report[0],
        is_complete=True,
        coding_schemes=device.SCHEMES,
        **identity,
        **device.equipment(about),
    )


def _make_group(source: Dataset, reading: Reading, about: About) -> Any:
    """Return the measurements of one reading: of a lesion's box (TID 1410), or of the whole film (TID 1501)."""
    film = (source.SOPClassUID, source.SOPInstanceUID)
    content: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(*device.track_finding(source, reading.place)),
        "algorithm_id": device.algorithm(about),
        "finding_sites": [FindingSite(codes.SCT.Breast, SIDES.get(str(source.get("ImageLaterality", ""))))],
        "measurements": list(_measurements(reading)),
        "qualitative_evaluations": list(_evaluations(reading)),
    }
    if reading.box is None:
        images = [SourceImageForMeasurementGroup(*film)]
        group: Any = MeasurementsAndQualitativeEvaluations(**content, source_images=images)
    else:
        region = ImageRegion("POLYLINE", _outline(reading.box), SourceImageForRegion(*film))
        content["finding_type"] = codes.SCT.Lesion
        group = PlanarROIMeasurementsAndQualitativeEvaluations(**content, referenced_region=region)
    if reading.doubt:
        group[0].ContentSequence.append(_comment(f"The image can be no mammogram: {reading.doubt}"))
    return group


def _measurements(reading: Reading) -> Iterator[Measurement]:
    """Yield the numbers; the standard's own "Probability of cancer" is the calibrated one."""
    ratio, percent = codes.UCUM.NoUnits, codes.UCUM.Percent
    yield Measurement(PROB, reading.prob, ratio)
    if reading.calibrated is not None:
        yield Measurement(codes.DCM.ProbabilityOfCancer, 100 * reading.calibrated, percent)
    if reading.threshold is not None:
        yield Measurement(THRESHOLD, reading.threshold, ratio)
    if reading.confidence is not None:
        yield Measurement(CONFIDENCE, 100 * reading.confidence, percent)


def _evaluations(reading: Reading) -> Iterator[QualitativeEvaluation]:
    for name, concept in EVALUATIONS.items():
        value = getattr(reading, name)
        if value is not None:
            yield QualitativeEvaluation(concept, VALUES[value])


def _outline(box: tuple[int, int, int, int]) -> Any:
    """Return the closed outline (5, 2) of a box, in columns and rows."""
    x0, y0, x1, y1 = box
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], np.float64)


def _comment(text: str) -> TextContentItem:
    return TextContentItem(codes.DCM.Comment, text, RelationshipTypeValues.CONTAINS)
