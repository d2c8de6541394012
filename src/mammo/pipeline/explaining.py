"""Opening a trained model to explain samples."""

from pathlib import Path

from mammo import models
from mammo.core.errors import InputError
from mammo.core.paths import PIXELS
from mammo.data.samples import Samples
from mammo.explain.saliency import Explainer


def open_explainer(path: Path, samples: Samples) -> Explainer:
    """Open the model in a file to explain `samples`; raises InputError naming the file where that is impossible."""
    model = models.load(path)
    try:
        explainer = Explainer(model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if explainer.image_shape != samples.image_shape:
        raise InputError(
            f"{path}: the model takes images of {explainer.image_shape}, but {PIXELS} holds {samples.image_shape}; "
            "train it on these (`dvc repro`), or preprocess to its size (preprocess.size_px)"
        )
    return explainer
