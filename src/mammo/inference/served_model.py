"""A finished model or ensemble as an MLflow model: pixels in, the numbers of the comparison table out.

A folder holds `bundle.json` (`About`) and model.keras; of an ensemble combination.json and members/<name>.keras. MLflow
loads it through `_load_pyfunc`.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from mammo.core.errors import InputError
from mammo.core.row_names import is_combined
from mammo.inference.about import MALIGNANT, About, read_about
from mammo.inference.workspace_models import describe_model, model_path

if TYPE_CHECKING:
    from mammo.inference.predictor import Predictor

ABOUT, MODEL, COMBINATION, MEMBERS = "bundle.json", "model.keras", "combination.json", "members"
RAW = "raw"  # parameter of the signature: the network's own pass, without flips, calibration and threshold
Pixels = npt.NDArray[np.unsignedinteger[Any]]


class ServedModel:
    """A predictor with MLflow's interface."""

    def __init__(self, predictor: "Predictor") -> None:
        self.predictor = predictor

    def predict(self, images: Pixels, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return prob, calibrated (Platt) and malignant (at the operating point) of each image; with `raw` prob alone.

        images: (n, h, w, 1) uint8 or uint16, squares as the pixel store holds them; of a model of whole films also
        films of any one size, which are prepared first. What is not known of the model is missing in its column.
        """
        squares = self._prepare(images[..., 0])
        if (params or {}).get(RAW):
            return pd.DataFrame({"prob": self.predictor.probabilities(squares, flips=False)})
        about, prob = self.predictor.about, self.predictor.probabilities(squares)
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


def write(name: str, folder: Path) -> About:
    """Write the files of a finished model or ensemble of this workspace into `folder`; raises BundleError."""
    folder.mkdir(parents=True)
    if is_combined(name):
        from mammo.inference.ensemble import read_ensemble

        trained = read_ensemble(name)
        about = trained.about
        (folder / COMBINATION).write_text(trained.combination.to_json(), encoding="utf-8")
        for member in trained.combination.members:
            path = folder / MEMBERS / f"{member}.keras"
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(model_path(member), path)
    else:
        about = describe_model(name)
        shutil.copyfile(model_path(name), folder / MODEL)
    (folder / ABOUT).write_text(about.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return about


def version_tags(about: About) -> dict[str, str]:
    """Return how a model's probabilities are read, as tags of its version; what is not known of it is left out."""
    tags = {"flips": str(about.flips).lower()}
    if (point := about.operating_point) is not None:
        tags |= {"threshold": repr(point.threshold), "threshold_rule": f"{point.rule} {point.value:g}"}
    if (platt := about.calibration) is not None:
        tags |= {"calibration": "platt", "platt_slope": repr(platt.slope), "platt_shift": repr(platt.shift)}
    return tags


def read(folder: Path) -> "Predictor":
    """Return the predictor of a folder that `write` wrote."""
    from mammo import models
    from mammo.evaluation.ensembling import Combination
    from mammo.inference.predictor import Ensemble, Predictor

    about = read_about(folder / ABOUT, folder)
    if not (folder / COMBINATION).is_file():
        return Predictor(models.load(folder / MODEL), about)
    combination = Combination.from_json((folder / COMBINATION).read_text(encoding="utf-8"))
    members = {member: models.load(folder / MEMBERS / f"{member}.keras") for member in combination.members}
    return Predictor(Ensemble(members, combination), about)


def _load_pyfunc(path: str) -> ServedModel:
    """Return what MLflow calls; `path`: of the folder."""
    return ServedModel(read(Path(path)))
