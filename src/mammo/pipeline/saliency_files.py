"""Names of the files that hold a model's saliency maps, and tables by method."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mammo.core.config import GradcamConfig, SaliencyMethod


def file_suffix(method: SaliencyMethod, gradcam: GradcamConfig) -> str:
    """Return what the names of a method's files end in: nothing for the first method."""
    return "" if method == gradcam.methods[0] else f"_{method}"


def maps_path(folder: Path, method: SaliencyMethod, gradcam: GradcamConfig) -> Path:
    """Return where the maps of a method lie below the folder of a model."""
    return folder / f"maps{file_suffix(method, gradcam)}.npy"


def stack_methods(tables: Mapping[SaliencyMethod, pd.DataFrame]) -> pd.DataFrame:
    """Stack tables by method, with the column method first."""
    return pd.concat(tables, names=["method", None]).reset_index("method")
