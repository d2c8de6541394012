"""A finished row of the comparison table as an MLflow model: pixels in, the numbers of the table out.

A folder holds `bundle.json` (`About`) and the files of inference/model_files.py. MLflow loads it through
`_load_pyfunc`.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from mammo.core.errors import InputError
from mammo.inference import model_files
from mammo.inference.about import MALIGNANT, About, BundleError, read_about
from mammo.inference.ensemble import read_row

if TYPE_CHECKING:
    from mammo.inference.predictor import Predictor

RAW = "raw"  # parameter of the signature: the network's own pass, without flips, calibration and threshold
PAIRS = "pairs"  # of a model of two views: each two images that follow each other are the views of one lesion
Pixels = npt.NDArray[np.unsignedinteger[Any]]


class ServedModel:
    """A predictor with MLflow's interface."""

    def __init__(self, predictor: "Predictor") -> None:
        self.predictor = predictor

    def predict(self, images: Pixels, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return prob, calibrated (Platt) and malignant (at the operating point) of each image; with `raw` prob alone.

        images: (n, h, w, 1) uint8 or uint16, squares as the pixel store holds them; of a model of whole films also
        films of any one size, which are prepared first. What is not known of the model is missing in its column. A
        model of two views reads each image alone, unless params say that they come in `pairs`.
        """
        squares, params = self._prepare(images[..., 0]), params or {}
        if params.get(RAW):
            return pd.DataFrame({"prob": self.predictor.probabilities(squares, flips=False)})
        about, prob = self.predictor.about, self.predictor.probabilities(squares)
        if about.two_views:
            prob = self.predictor.average_views(prob, _name_pairs(len(prob), bool(params.get(PAIRS))))
        malignant = [None if call is None else call == MALIGNANT for call in about.classify(prob)]
        return pd.DataFrame({"prob": prob, "calibrated": about.calibrate(prob), "malignant": malignant})

    def _prepare(self, images: Pixels) -> Pixels:
        about = self.predictor.about
        if images.shape[1:] == about.image_shape[:2]:
            return images
        if about.unit != "image":
            raise InputError(
                f"{about.name} takes prepared squares of {about.image_shape[:2]} px, not {images.shape[1:]}: where the "
                f"{about.unit} lies on a film only `python -m mammo predict` can be told"
            )
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{number}.png" for number in range(len(images))]
            for path, image in zip(paths, images, strict=True):
                Image.fromarray(image).save(path)
            return np.stack([self.predictor.prepare(path).image for path in paths])


def _name_pairs(count: int, paired: bool) -> list[str]:
    """Return the name of each image's pair, empty where it is read alone; raises InputError for an odd one."""
    if not paired:
        return [""] * count
    if count % 2:
        raise InputError(f"{count} images are no pairs of views; leave one out, or ask without `{PAIRS}`")
    return [str(place // 2) for place in range(count)]


def write(name: str, folder: Path) -> About:
    """Write the files of a finished row of this workspace into `folder`; raises BundleError."""
    row = read_row(name)
    folder.mkdir(parents=True)
    row.write_files(folder)
    return row.about


def list_flags(about: About) -> tuple[str, ...]:
    """Return the parameters of a model's signature, all false by default."""
    return (RAW, PAIRS) if about.two_views else (RAW,)


def version_tags(about: About) -> dict[str, str]:
    """Return how a model's probabilities are read, as tags of its version; what is not known of it is left out."""
    tags = {"flips": str(about.flips).lower()}
    if (point := about.operating_point) is not None:
        tags |= {"threshold": repr(point.threshold), "threshold_rule": f"{point.rule} {point.value:g}"}
    if (platt := about.calibration) is not None:
        tags |= {"calibration": "platt", "platt_slope": repr(platt.slope), "platt_shift": repr(platt.shift)}
    return tags


def read(folder: Path) -> "Predictor":
    """Return the predictor of a folder that `write` wrote; raises BundleError."""
    from mammo.inference.predictor import Predictor

    about = read_about(folder / model_files.ABOUT, folder)
    if about.model_sha256 != model_files.hash_model(folder, folder):
        raise BundleError(f"{folder}: {model_files.ABOUT} describes other models than lie beside it; register it again")
    return Predictor(model_files.load(folder, about), about)


def _load_pyfunc(path: str) -> ServedModel:
    """Return what MLflow calls; `path`: of the folder."""
    return ServedModel(read(Path(path)))
