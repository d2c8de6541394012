"""A workspace as a finished run leaves it, on a small cohort: real stages up to the pixels, then an untrained model."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from workspaces import enter

from mammo import models
from mammo.core import schemas
from mammo.core.config import Config, load_config
from mammo.core.files import read_table, write_text
from mammo.core.paths import CASES, MODELS, PIXELS, PREDICTIONS, RAW, data_fingerprint
from mammo.data.images import io, transforms
from mammo.data.samples import Samples, open_store
from mammo.inference.films import Corners
from mammo.pipeline import train_run
from mammo.tracking import live_run
from mammo.training import predict
from stages import ingest, preprocess, split

NAME = "light_cnn"
SIZE_PX = 32
ROOT = Path(__file__).resolve().parents[1]


def make(folder: Path, unit: str) -> Path:
    """Fill `folder`; the model has random weights whose scores spread."""
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch, unit=unit)
        _shrink(folder / "params.yaml")
        loaded = load_config()
        for stage in (ingest, split, preprocess):
            stage.main()
        samples = open_store(PIXELS)
        own = loaded.model(NAME)
        model = spread(models.build(own, samples.image_shape, seed=3), samples)
        models.save(model, MODELS / f"{NAME}.keras")
        with train_run.start(train_run.task_for("train", NAME, loaded), loaded.tracking.experiment) as training:
            train_run.save_predictions(NAME, model, samples, loaded.predict.flips)
            training.log.log_model(MODELS / f"{NAME}.keras")
            training.log.log_artifact(PREDICTIONS / f"{NAME}.csv")
        _evaluated(loaded)
    return folder


def spread(model: keras.Model, samples: Samples) -> keras.Model:
    """`model` with its scores spread about .5."""
    prob = predict.probabilities(model, samples)
    logit = np.log(prob / (1 - prob))
    kernel, bias = model.get_layer("logit").get_weights()
    gain = 1.5 / logit.std()
    model.get_layer("logit").set_weights([gain * kernel, gain * (bias - logit.mean())])
    return model


def _shrink(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    content["ingest"]["demo"] |= {"patients": 30, "height_px": 128}
    content["split"]["folds"] = 2
    content["preprocess"]["size_px"] = SIZE_PX
    content["models"] = {NAME: content["models"][NAME]}
    path.write_text(yaml.safe_dump(content))


def _evaluated(loaded: Config) -> None:
    """What evaluate and report leave of the model, as far as a bundle reads it."""
    with live_run.tracked_run(
        "evaluate",
        model=NAME,
        experiment=loaded.tracking.experiment,
        parameters=loaded.evaluate.model_dump() | {"size_px": loaded.preprocess.size_px},
        tags={"data": data_fingerprint(), "unit": loaded.ingest.unit},
    ):
        pass
    write_text(Path("data/report/model_cards") / f"{NAME}.md", "# Model card\n")
    write_text(Path("LICENSE"), (ROOT / "LICENSE").read_text())


def films(folder: Path) -> pd.DataFrame:
    """The predicted samples with one mask each: `prob` as the run has it, `path` of the film, the lesion's `box`."""
    cases = read_table(folder / CASES, schemas.CASES)
    rows = read_table(folder / PREDICTIONS / f"{NAME}.csv", schemas.PREDICTIONS)
    known = rows.merge(cases, on=["sample_id", "patient_id", "label"])
    known = known[~known["mask_path"].str.contains(";")]
    root = folder / RAW / "demo"
    paths = [root / name for name in known["image_path"]]
    boxes = [_corners(root / mask, path) for mask, path in zip(known["mask_path"], paths, strict=True)]
    return known.assign(path=paths, box=boxes).reset_index(drop=True)


def _corners(mask: Path, film: Path) -> Corners:
    top, left, bottom, right = transforms.bounding_box(io.read_mask(mask, io.read_shape(film)))
    return left, top, right, bottom
