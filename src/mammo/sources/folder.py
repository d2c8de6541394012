"""Data that already lie on this machine; they are read where they are, never copied or changed."""

from pathlib import Path

from mammo import project
from mammo.errors import InputError
from mammo.params import IngestParams, ParamsError

_LAYOUTS = (
    "the folder that holds the data set: for cbis_ddsm csv/ with the four description files, beside jpeg/ (Kaggle), "
    "a DICOM tree (TCIA, NBIA) or PNGs in the official case folders"
)


def fetch(ingest: IngestParams, raw: Path, seed: int) -> Path:
    """The root in `ingest.root`; raises where it is unset or no folder."""
    place = root(ingest, raw)
    if not place.is_dir():
        raise InputError(
            f"ingest.root: {ingest.root!r} is not a folder (looked at {place}); "
            f"set it to {_LAYOUTS}; absolute or relative to the repository"
        )
    return place


def root(ingest: IngestParams, raw: Path) -> Path:
    """`ingest.root`, absolute or relative to the repository."""
    if ingest.root is None:
        raise ParamsError(f"ingest.root is not set; `ingest.source: folder` needs {_LAYOUTS}")
    return project.resolve(ingest.root)
