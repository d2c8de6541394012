"""DICOM files for tests."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid


def write_dicom(path: Path, image: npt.NDArray[np.unsignedinteger], **header: Any) -> Path:
    """Write `image` (h, w) uint8 or uint16 as an uncompressed DICOM; `header` sets or replaces elements by keyword."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    bits = 8 * image.dtype.itemsize
    elements = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "SeriesInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "PatientID": "P_00001",
        "Modality": "MG",
        "Rows": image.shape[0],
        "Columns": image.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelRepresentation": 0,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelData": image.tobytes(),
    }
    for keyword, value in (elements | header).items():
        setattr(dataset, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


PATIENT = {
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Müller^Änne",
    "PatientID": "P_00042",
    "PatientBirthDate": "19600102",
    "PatientSex": "F",
    "StudyDate": "20200304",
    "StudyTime": "101112",
    "StudyID": "7",
    "AccessionNumber": "A-1",
    "ReferringPhysicianName": "Doe^Jane",
}
PROJECTION = {
    "ImageLaterality": "L",
    "ViewPosition": "CC",
    "PatientOrientation": ["A", "F"],
    "ImagerPixelSpacing": [0.1, 0.1],
    "InstanceNumber": 3,
}


def write_mammogram(path: Path, image: npt.NDArray[np.unsignedinteger], **header: Any) -> Path:
    """Write `image` as a film of a patient, as an acquisition station sends it."""
    return write_dicom(path, image, **(PATIENT | PROJECTION | header))


# What reports say


def items(report: Dataset, name: str) -> list[Dataset]:
    """All content items of a report with the meaning or value of a concept."""
    inside = [item for child in report.get("ContentSequence", []) for item in items(child, name)]
    concept = report.get("ConceptNameCodeSequence", [Dataset()])[0]
    return ([report] if name in (concept.get("CodeValue"), concept.get("CodeMeaning")) else []) + inside


def number(report: Dataset, name: str) -> list[float]:
    return [float(item.MeasuredValueSequence[0].NumericValue) for item in items(report, name)]


def coded(report: Dataset, name: str) -> list[str]:
    return [item.ConceptCodeSequence[0].CodeMeaning for item in items(report, name)]


def errors(path: Path) -> list[str]:
    """What dciodvfy, an independent validator, finds wrong in a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: apt-get install dicom3tools)")
    lines = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (lines.stdout + lines.stderr).splitlines() if line.startswith("Error")]
