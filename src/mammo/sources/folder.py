"""Data that already lie on this machine; they are read where they are, never copied or changed."""

from pathlib import Path

from mammo import project
from mammo.errors import InputError
from mammo.params import IngestParams, ParamsError


def fetch(ingest: IngestParams, raw: Path, seed: int) -> Path:
    """The root in `ingest.root`; raises where it is unset or no folder."""
    place = root(ingest, raw)
    if not place.is_dir():
        raise InputError(
            f"ingest.root: {ingest.root!r} is not a folder (looked at {place}); "
            "set it to the folder that holds csv/ and jpeg/, absolute or relative to the repository"
        )
    return place


def root(ingest: IngestParams, raw: Path) -> Path:
    """`ingest.root`, absolute or relative to the repository."""
    if ingest.root is None:
        raise ParamsError("ingest.root is not set; `ingest.source: folder` needs the folder that holds csv/ and jpeg/")
    return project.resolve(ingest.root)
