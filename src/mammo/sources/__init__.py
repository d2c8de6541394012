"""Ways to get a data set, one file each: `fetch(ingest, raw, seed)` brings it, `root(ingest, raw)` says where it lies.

`raw` is the folder data/raw, which belongs to the ingest stage; a source that only points elsewhere leaves it empty.
"""

from pathlib import Path
from typing import Protocol, cast

from mammo import registry, sources
from mammo.params import IngestParams


class Source(Protocol):
    """What each file here offers."""

    def fetch(self, ingest: IngestParams, raw: Path, seed: int) -> Path:
        """Make sure that the data are there, and return their root."""

    def root(self, ingest: IngestParams, raw: Path) -> Path:
        """Where the data lie after `fetch`."""


def get(name: str) -> Source:
    """The source of that name; an unknown one lists the others."""
    return cast(Source, registry.module(sources, name, "ingest.source"))
