"""The Kaggle copy of CBIS-DDSM, 8-bit JPEG, by kagglehub: to `ingest.root`, or to data/downloads/kaggle.

Licence CC BY 3.0, doi 10.7937/K9/TCIA.2016.7O02S9CY. kagglehub resumes its archive and checks the MD5, but it unpacks
in place; so it works in `.unfinished`, and jpeg/ and csv/ are renamed when all is unpacked. In a Kaggle
notebook the copy is mounted already: `ingest.source: folder` reads it there.
"""

import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from mammo.core.config import ConfigError, IngestConfig
from mammo.core.paths import KAGGLE_DOWNLOADS, resolve_path
from mammo.data.sources._download import DownloadError, lock_folder, name_disk_errors, require_space, retry

DATASET = "cbis_ddsm"
HANDLE = "awsaf49/cbis-ddsm-breast-cancer-image-dataset/versions/1"
UNFINISHED = ".unfinished"
FOLDERS = ("jpeg", "csv")
SIZE_BYTES = 13e9  # the archive, and what is unpacked from it

_TOKEN = (
    "Create an API token at https://www.kaggle.com/settings/api and put it into the environment variable "
    "KAGGLE_API_TOKEN or into the file ~/.kaggle/access_token. Without an account, take `ingest.source: idc`"
)


def fetch(ingest: IngestConfig, raw: Path, seed: int) -> Path:
    """Download and unpack the copy unless it is complete; raises DownloadError with what to do."""
    place = root(ingest, raw)
    if not _is_complete(place):
        with lock_folder(place):
            if not _is_complete(place):
                _download(place)
    return place


def root(ingest: IngestConfig, raw: Path) -> Path:
    """Return `ingest.root` or the default; raises ConfigError for another data set."""
    if ingest.dataset != DATASET:
        raise ConfigError(f"ingest.source: kaggle has {DATASET}, not {ingest.dataset!r}; use idc or folder for that")
    return resolve_path(ingest.root or KAGGLE_DOWNLOADS)


def _is_complete(place: Path) -> bool:
    return all((place / name).is_dir() for name in FOLDERS)


def _download(place: Path) -> None:
    cache = place / UNFINISHED
    require_space(place, SIZE_BYTES - _archive_bytes(cache))
    unpacked = retry(lambda: _attempt(cache), "the Kaggle copy", lambda: _archive_bytes(cache))
    missing = [name for name in FOLDERS if not ((unpacked / name).is_dir() or (place / name).is_dir())]
    if missing:
        raise DownloadError(f"{unpacked}: the Kaggle copy holds no {'/, '.join(missing)}/; its layout has changed")
    for name in FOLDERS:
        if (unpacked / name).is_dir():
            with name_disk_errors(place / name):
                (unpacked / name).replace(place / name)
    shutil.rmtree(cache)


def _attempt(cache: Path) -> Path:
    """Return the folder that kagglehub has unpacked; failures of the network pass through."""
    import kagglehub
    from kagglehub.exceptions import DataCorruptionError, KaggleApiHTTPError

    # On a Kaggle or Colab machine its caches are read-only folders elsewhere.
    settings = {"KAGGLEHUB_CACHE": str(cache), "DISABLE_KAGGLE_CACHE": "true", "DISABLE_COLAB_CACHE": "true"}
    credentials = _has_credentials()
    try:
        with name_disk_errors(cache), _environment(settings):
            return Path(kagglehub.dataset_download(HANDLE))
    except KaggleApiHTTPError as error:
        if error.response.status_code not in (requests.codes.unauthorized, requests.codes.forbidden):
            raise
        problem = "Kaggle refuses the credentials found" if credentials else "Kaggle asks for credentials, none found"
        raise DownloadError(f"{problem}. {_TOKEN}") from error
    except (requests.RequestException, DownloadError):
        raise
    except (DataCorruptionError, zipfile.BadZipFile, zlib.error, ValueError) as error:  # ValueError: no archive at all
        shutil.rmtree(cache)
        reason = " ".join(str(error).split())
        raise DownloadError(f"the Kaggle copy is damaged ({reason}) and was deleted. Run again") from error


def _has_credentials() -> bool:
    from kagglehub.config import get_kaggle_credentials

    try:
        return get_kaggle_credentials() is not None
    except ValueError as error:
        raise DownloadError(f"{error}. {_TOKEN}") from error


def _archive_bytes(cache: Path) -> int:
    return sum(archive.stat().st_size for archive in cache.glob("datasets/*/*/*.archive"))


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set environment variables during the block."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
