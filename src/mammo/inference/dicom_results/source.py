"""The film that an answer is about, as the results refer to it: all patient data come from its header alone."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from mammo.core.errors import InputError
from mammo.data.images import dicom
from mammo.data.images.dicom import DicomError

# PS3.3: of type 1 an object cannot do without, of type 2 it states that they are unknown.
IDENTITY = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
UNKNOWN = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientOrientation"),
)


def read_source(path: Path, data: bytes) -> Dataset:
    """Return the header of a DICOM film without its pixels; raises InputError for what is none, or names no study."""
    if not dicom.is_dicom(io.BytesIO(data)):
        raise InputError(f"{path}: is no DICOM file; results as DICOM belong to the study of a DICOM film")
    with name_header(path):
        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        missing = [keyword for keyword in IDENTITY if not header.get(keyword)]
        for keyword in UNKNOWN:
            if keyword not in header:
                setattr(header, keyword, None)
    if missing:
        raise DicomError(f"{path}: its header has no {', '.join(missing)}; results cannot refer to it")
    return header


@contextmanager
def name_header(path: Path) -> Iterator[None]:
    """Raise DicomError, naming the film, where a value of its header cannot be read or copied."""
    try:
        yield
    except DicomError:
        raise
    except dicom.MALFORMED as error:
        raise DicomError(f"{path}: a value of its header is not valid DICOM, and cannot be copied ({error})") from error
