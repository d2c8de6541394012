"""Reproducible deep learning on mammograms: the library behind the stages of dvc.yaml."""

import importlib
from typing import Any


def load(source: Any) -> Any:
    """Return a finished model as a `mammo.inference.predictor.Predictor`, ready for image files.

    source: a bundle of `python -m mammo export` (folder or .zip), a .keras file, an MLflow URI, or the name of a model
    of this workspace. Keras is imported here, and not with the package.
    """
    return importlib.import_module("mammo.inference.predictor").load(source)
