"""Ways to get a data set, one file each: `fetch(ingest, raw, seed)` brings it, `root(ingest, raw)` says where it lies.

`raw` is the folder data/raw, whose content goes to the DVC cache; only a source that makes its data writes there. A
download goes to `ingest.root`, or where that is null to data/downloads/ in the user's repository, which neither DVC nor
git keeps a copy of.
"""

from pathlib import Path
from typing import Protocol, cast

from mammo.core import plugins
from mammo.core.config import IngestConfig


class Source(Protocol):
    """What each file here offers."""

    def fetch(self, ingest: IngestConfig, raw: Path, seed: int) -> Path:
        """Make sure that the data are there, and return their root.

        What is there already is not fetched again. Raises InputError, with the cure, where the data cannot be had.
        """

    def root(self, ingest: IngestConfig, raw: Path) -> Path:
        """Where the data lie after `fetch`, absolute; nothing is fetched or looked up. Raises InputError as it does."""


def get(name: str) -> Source:
    """The source of that name; an unknown one lists the others."""
    return cast(Source, plugins.load_plugin(__name__, name, "ingest.source"))
