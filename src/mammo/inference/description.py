"""What is known of a model, without loading it."""

from pathlib import Path

from mammo.inference import bundle
from mammo.inference.about import About
from mammo.inference.ensemble import read_row


def describe(source: Path | str) -> About:
    """Return the description of a bundle, or of a row of this workspace; raises InputError."""
    path = Path(source)
    if bundle.is_bundle(path):
        with bundle.open_bundle(path) as (about, _):
            return about
    return read_row(str(source)).about
