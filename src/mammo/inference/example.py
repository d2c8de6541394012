"""A film of the finished run to try a model on, with the true box of its lesion: what `make run` ends with."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo.core.config import PARAMS_FILE, Config, load_config
from mammo.core.errors import InputError
from mammo.core.files import read_table
from mammo.core.paths import CASES, MODELS, PREDICTIONS, RAW
from mammo.core.schemas import BOX_PREFIX, PATH_SEPARATOR
from mammo.core.schemas import CASES as CASE_COLUMNS
from mammo.core.schemas import PREDICTIONS as PREDICTION_COLUMNS
from mammo.data.images import io, transforms
from mammo.data.sources import load_source
from mammo.inference import workspace_models
from mammo.inference.films import Corners

HEAT_MAPS = "maps"  # folder of the example's heat map


@dataclass(frozen=True)
class Example:
    """A malignant test sample: its film, the box of its lesion (None: whole films), a model and its probability."""

    model: str
    film: Path
    box: Corners | None
    prob: float

    @property
    def command(self) -> str:
        """The command that asks the model about the film."""
        box = "" if self.box is None else f" --box {','.join(map(str, self.box))}"
        return f"python -m mammo predict {self.film} --model {self.model}{box} --heat-maps {HEAT_MAPS}"

    @property
    def heat_map(self) -> Path:
        """The heat map that the command writes."""
        return Path(HEAT_MAPS) / f"{self.film.stem}.png"


def find_example() -> Example | None:
    """Return the malignant test sample of median probability, or None where the workspace has no model or no films.

    The median is neither the best nor the worst case. Samples of several films (`ingest.unit: breast`) are no example.
    """
    if not PARAMS_FILE.is_file():
        return None
    config = load_config()
    if config.evaluate.test == "closed":  # an example by its label would read a test label
        return None
    model = _choose_model(config)
    if model is None or config.ingest.unit == "breast" or not CASES.is_file():
        return None
    predictions = read_table(PREDICTIONS / f"{model}.csv", PREDICTION_COLUMNS)
    malignant = predictions[(predictions["split"] == "test") & (predictions["label"] == 1)].sort_values("prob")
    if not len(malignant):
        return None
    chosen = malignant.iloc[len(malignant) // 2]
    case = read_table(CASES, CASE_COLUMNS).set_index("sample_id").loc[chosen["sample_id"]]
    root = load_source(config.ingest.source).root(config.ingest, RAW)
    film = root / str(case["image_path"])
    if not film.is_file():
        return None
    box = _lesion_box(root, case) if config.ingest.unit == "lesion" else None
    return Example(model, _shorten(film), box, float(chosen["prob"]))


def _choose_model(config: Config) -> str | None:
    """Return the last model of params.yaml that `predict` takes: the smallest of the default; None without one."""
    return next((name for name in reversed(list(config.models)) if _is_finished(name)), None)


def _is_finished(name: str) -> bool:
    """Return whether a model is trained and evaluated, and its files are those of the records."""
    if not (MODELS / f"{name}.keras").is_file():
        return False
    try:
        workspace_models.describe_model(name)
    except InputError:  # a run that is not finished, or was changed since: the command would fail
        return False
    return True


def _lesion_box(root: Path, case: "pd.Series[str]") -> Corners:
    """Return the smallest box around all marks of a case, in px of its film."""
    height, width = io.read_shape(root / str(case["image_path"]))
    boxes = [_mark_box(root, mark, (height, width)) for mark in str(case["mask_path"]).split(PATH_SEPARATOR)]
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _mark_box(root: Path, mark: str, shape: tuple[int, int]) -> transforms.Box:
    """Return the box of one mark, a mask's file or a box of cases.csv; shape: (h, w) of the film."""
    if mark.startswith(BOX_PREFIX):
        top, left, bottom, right = map(int, mark.removeprefix(BOX_PREFIX).split(","))
        return top, left, bottom, right
    return transforms.bounding_box(io.read_mask(root / mark, shape))


def _shorten(path: Path) -> Path:
    """Return a path below this folder as relative, so that a command can be read."""
    whole, here = path.resolve(), Path.cwd().resolve()
    return whole.relative_to(here) if whole.is_relative_to(here) else path
