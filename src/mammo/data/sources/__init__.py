"""Ways to get a data set, one file each: `fetch(ingest, raw, seed)` gets it, `root(ingest, raw)` names its folder.

`raw` is the folder data/raw, whose content goes to the DVC cache; only a source that generates its data writes there.
A download goes to `ingest.root`, or where that is null to data/downloads/ in the user's repository, which neither DVC
nor git copies.
"""

from pathlib import Path
from typing import Protocol, cast

from mammo.core import plugins
from mammo.core.config import IngestConfig


class Source(Protocol):
    """The functions of each file here."""

    def fetch(self, ingest: IngestConfig, raw: Path, seed: int) -> Path:
        """Get the data unless they are complete already, and return their root.

        Raises InputError, with the way to correct it, where the data are not available.
        """

    def root(self, ingest: IngestConfig, raw: Path) -> Path:
        """Return the absolute folder of the data after `fetch`, without fetching; raises InputError as `fetch` does."""


def load_source(name: str) -> Source:
    """Return the source of that name; an unknown name lists the others."""
    return cast(Source, plugins.load_plugin(__name__, name, "ingest.source"))
