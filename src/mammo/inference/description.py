"""What is known of a model, without loading it."""

from pathlib import Path

from mammo.core.row_names import is_combined
from mammo.inference import bundle, workspace_models
from mammo.inference.about import About
from mammo.inference.ensemble import read_ensemble


def describe(source: Path | str) -> About:
    """Return the description of a bundle, or of a model or ensemble of this workspace; raises InputError."""
    path = Path(source)
    if bundle.is_bundle(path):
        with bundle.open_bundle(path) as (about, _):
            return about
    name = str(source)
    return read_ensemble(name).about if is_combined(name) else workspace_models.describe_model(name)
