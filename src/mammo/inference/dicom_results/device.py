"""What made a result: the model and this software, as DICOM names them; codes without a standard; derived UIDs."""

import hashlib
import importlib.metadata
from typing import Any

from highdicom import AlgorithmIdentificationSequence
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    DeviceObserverIdentifyingAttributes,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from mammo.inference.about import About

MANUFACTURER = "mammo (research software)"
SCHEME = "99MAMMO"  # PS3.16, 8.2: private schemes begin with 99
SCHEMES = [CodingSchemeIdentificationItem(SCHEME, name="mammo", responsible_organization=MANUFACTURER)]
LONG_STRING = 64  # characters of a value of VR LO
HASH_LENGTH = 16  # characters of a hash where a person reads it


def code(value: str, meaning: str) -> CodedConcept:
    """Return a code of this software's scheme."""
    return CodedConcept(value, SCHEME, meaning)


def derive_uid(*parts: str) -> UID:
    """Return the UID that belongs to `parts`: the same for the same parts (PS3.5, B.2)."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def track_finding(source: Dataset, place: str) -> tuple[UID, str]:
    """Return the UID and the name that the finding at a place of a film has in its report and its segmentation."""
    return derive_uid("finding", source.SOPInstanceUID, place), place or "film"


def software_version() -> str:
    """Return the version of this software."""
    return importlib.metadata.version("mammo")


def model_version(about: About) -> str:
    """Return which training a model is of: the start of its record's hash, else of its file's."""
    return (about.record or about.model_sha256)[:HASH_LENGTH]


def equipment(about: About) -> dict[str, Any]:
    """Return the attributes of the General Equipment module, of every result; the serial number is the model's hash."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": about.name[:LONG_STRING],
        "software_versions": [software_version(), model_version(about)],
        "device_serial_number": about.model_sha256[:LONG_STRING],
    }


def observer(about: About) -> DeviceObserverIdentifyingAttributes:
    """Return the model as the device that observed (PS3.16, TID 1004)."""
    return DeviceObserverIdentifyingAttributes(
        uid=derive_uid("device", about.model_sha256),
        name=f"{about.name}, version {model_version(about)}",
        manufacturer_name=MANUFACTURER,
        model_name=about.name,
        serial_number=about.model_sha256,
    )


def algorithm(about: About) -> AlgorithmIdentification:
    """Return the model as the algorithm of a measurement (PS3.16, TID 4019)."""
    parameters = [f"{name}={value}" for name, value in _parameters(about).items()]
    return AlgorithmIdentification(about.name, model_version(about), parameters)


def algorithm_sequence(about: About, method: str) -> AlgorithmIdentificationSequence:
    """Return the model and the saliency method as the algorithm of a segment (PS3.3, 10.16)."""
    name, version = about.name[:LONG_STRING], model_version(about)
    parameters = _parameters(about) | {"saliency": method}
    return AlgorithmIdentificationSequence(name, codes.DCM.ArtificialIntelligence, version, MANUFACTURER, parameters)


def _parameters(about: About) -> dict[str, str]:
    parameters = {"model_sha256": about.model_sha256, "mammo": software_version()}
    return parameters if about.record is None else parameters | {"record": about.record}
