"""What the stages that explain models share: opening one, maps batch by batch, the names of tables and files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo import models
from mammo.core.config import GradcamConfig, SaliencyMethod
from mammo.core.errors import InputError
from mammo.core.paths import PIXELS
from mammo.data.samples import Samples
from mammo.explain import sanity_checks
from mammo.explain.saliency import Explainer, Floats

BATCH = 16


def explainer(path: Path, samples: Samples) -> Explainer:
    """The model in a file, made ready to explain `samples`; raises InputError naming the file where it cannot."""
    model = models.load(path)
    try:
        found = Explainer(model)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if found.image_shape != samples.image_shape:
        raise InputError(
            f"{path}: the model takes images of {found.image_shape}, but {PIXELS} holds {samples.image_shape}; train "
            "it on these (`dvc repro`), or preprocess to its size (preprocess.size_px)"
        )
    return found


def maps(
    explainer: Explainer, samples: Samples, methods: Sequence[SaliencyMethod], seed: int
) -> Iterator[tuple[npt.NDArray[np.int64], dict[str, Floats]]]:
    """Positions of a batch of samples, and its maps (n, h, w) by method; every sample once, in their order."""
    for start in range(0, len(samples.index), BATCH):
        positions = np.arange(start, min(start + BATCH, len(samples.index)))
        yield positions, explainer.by_method(samples.pixels(positions), methods, seed)


def suffix(method: SaliencyMethod, gradcam: GradcamConfig) -> str:
    """What the names of files of a method end in."""
    return "" if method == gradcam.methods[0] else f"_{method}"


def by_method(tables_of: Mapping[SaliencyMethod, pd.DataFrame]) -> pd.DataFrame:
    """The tables below each other, with the column method first."""
    return pd.concat(tables_of, names=["method", None]).reset_index("method")


def verdicts(checks: pd.DataFrame) -> dict[str, float]:
    """Rows of sanity.csv as metrics: `<method>_<check>_failed` and `_undecided`, 0 or 1."""
    names = checks["method"] + "_" + checks["check"] + "_"
    return {
        f"{name}{verdict}": float(found == verdict)
        for verdict in (sanity_checks.FAILED, sanity_checks.UNDECIDED)
        for name, found in zip(names, checks["verdict"], strict=True)
    }
