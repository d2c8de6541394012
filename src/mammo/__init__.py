"""Reproducible deep learning on mammograms: the library behind the stages of dvc.yaml."""

import importlib
from typing import Any


def load(source: Any, verify: Any = None) -> Any:
    """Return a finished model as a `mammo.inference.predictor.Predictor`, ready for image files.

    source: a bundle of `python -m mammo export` (folder or .zip), a .keras file, an MLflow URI, or the name of a model,
    an ensemble or a row of two views of this workspace. verify: file of public keys, one of which must have signed the
    bundle. Keras is imported here, and not with the package.
    """
    return importlib.import_module("mammo.inference.predictor").load(source, verify=verify)


def read_pairs(path: Any) -> Any:
    """Return the films of a CSV table that belong together, for the `predict` of a model of two views.

    Columns: file, pair (the same name for the views of a lesion or breast), and for lesions x0, y0, x1, y1.
    """
    return importlib.import_module("mammo.inference.films").read_pairs(path)
