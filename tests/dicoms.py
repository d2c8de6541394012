"""DICOM files for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
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
