"""An archive that speaks DICOMweb (PS3.18): find films (QIDO-RS), fetch them (WADO-RS), store results (STOW-RS)."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

PAGE = 500  # instances that are asked for at once
TIMEOUT_S = (10.0, 120.0)  # to connect, and between two bytes
MODALITY = "MG"
# A digitised film is a secondary capture. What is for processing holds raw signal, which no model here has seen.
FILMS = {
    DigitalMammographyXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
}
STUDY, SERIES, INSTANCE, SOP_CLASS = "0020000D", "0020000E", "00080018", "00080016"


class StoreError(Exception):
    """The archive did not take a result."""


@dataclass(frozen=True)
class StoredFilm:
    """Where a film is stored."""

    study: str
    series: str
    instance: str


class _Session(requests.Session):
    """A session that does not wait for ever."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request; TIMEOUT_S unless told otherwise."""
        return super().request(*args, **({"timeout": TIMEOUT_S} | options))


class Archive:
    """The archive at an address; all methods raise requests.RequestException where it does not answer."""

    def __init__(self, url: str, login: tuple[str, str] | None = None):
        session = _Session()
        session.auth = login
        self._client = DICOMwebClient(url, session=session)
        self._client.set_http_retry_params(retry=False)  # the next round does

    def find_films(self, since: str | None = None) -> Iterator[StoredFilm]:
        """Yield the films of all studies; since: the earliest date of a study, YYYYMMDD."""
        filters = {"Modality": MODALITY} | ({"StudyDate": f"{since}-"} if since else {})
        offset = 0
        while page := self._client.search_for_instances(search_filters=filters, limit=PAGE, offset=offset):
            yield from (_to_film(entry) for entry in page if _value(entry, SOP_CLASS) in {"", *FILMS})
            offset += len(page)

    def holds(self, study: str, instance: str) -> bool:
        """Return whether a study has an instance."""
        return bool(self._client.search_for_instances(study, search_filters={"SOPInstanceUID": instance}, limit=1))

    def fetch(self, film: StoredFilm) -> bytes:
        """Return a film as a file's bytes, as it is stored."""
        as_stored = (("application/dicom", "*"),)
        dataset = self._client.retrieve_instance(film.study, film.series, film.instance, media_types=as_stored)
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()

    def store(self, study: str, results: Sequence[Dataset]) -> None:
        """Store objects in a study; raises StoreError where one is refused."""
        answer = self._client.store_instances(list(results), study)
        for failed in answer.get("FailedSOPSequence") or []:
            reason = int(failed.get("FailureReason", 0))
            raise StoreError(f"the archive refused {failed.ReferencedSOPInstanceUID} (failure {reason:#06x})")


def _to_film(entry: dict[str, Any]) -> StoredFilm:
    return StoredFilm(_value(entry, STUDY), _value(entry, SERIES), _value(entry, INSTANCE))


def _value(entry: dict[str, Any], tag: str) -> str:
    """Return the first value of an attribute in DICOM JSON; empty where it is missing."""
    values = entry.get(tag, {}).get("Value") or [""]
    return str(values[0])
