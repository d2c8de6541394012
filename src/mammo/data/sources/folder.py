"""Data in a folder of this machine, which are read in place, never copied or changed."""

from pathlib import Path

from mammo.core.config import ConfigError, IngestConfig
from mammo.core.errors import InputError
from mammo.core.paths import resolve_path

_LAYOUTS = (
    "the folder that holds the data set: for cbis_ddsm csv/ with the four description files, beside jpeg/ (Kaggle), "
    "a DICOM tree (TCIA, NBIA) or PNGs in the official case folders"
)


def fetch(ingest: IngestConfig, raw: Path, seed: int) -> Path:
    """Return the folder in `ingest.root`; raises InputError where it is unset or no folder."""
    place = root(ingest, raw)
    if not place.is_dir():
        raise InputError(
            f"ingest.root: {ingest.root!r} is not a folder (looked at {place}); "
            f"set it to {_LAYOUTS}; absolute or relative to the repository"
        )
    return place


def root(ingest: IngestConfig, raw: Path) -> Path:
    """Return `ingest.root` as absolute; a relative one starts at the repository."""
    if ingest.root is None:
        raise ConfigError(f"ingest.root is not set; `ingest.source: folder` needs {_LAYOUTS}")
    return resolve_path(ingest.root)
