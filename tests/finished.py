"""A finished workspace of a small cohort: real stages up to preprocess, then a model that was not trained."""

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
    """Write the workspace to `folder`; the model has random weights with scores spread about .5."""
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch, unit=unit)
        _shrink(folder / "params.yaml")
        config = load_config()
        for stage in (ingest, split, preprocess):
            stage.main()
        samples = open_store(PIXELS)
        model_config = config.model(NAME)
        model = spread(models.build(model_config, samples.image_shape, seed=3), samples)
        models.save(model, MODELS / f"{NAME}.keras")
        with train_run.start(train_run.task_for("train", NAME, config), config.tracking.experiment) as training:
            training.save_predictions(NAME, model)
            training.log.log_model(MODELS / f"{NAME}.keras")
            training.log.log_artifact(PREDICTIONS / f"{NAME}.csv")
        _track_evaluation(config)
    return folder


def spread(model: keras.Model, samples: Samples) -> keras.Model:
    """Spread the scores of `model` about .5, in place, and return it."""
    prob = predict.predict_probabilities(model, samples)
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
    content["cross_validate"]["models"] = {}
    path.write_text(yaml.safe_dump(content))


def _track_evaluation(config: Config) -> None:
    """Write what a bundle reads of evaluate and report."""
    with live_run.tracked_run(
        "evaluate",
        model=NAME,
        experiment=config.tracking.experiment,
        parameters=config.evaluate.model_dump() | {"size_px": config.preprocess.size_px},
        tags={"data": data_fingerprint(), "unit": config.ingest.unit},
    ):
        pass
    write_text(Path("data/report/model_cards") / f"{NAME}.md", "# Model card\n")
    write_text(Path("LICENSE"), (ROOT / "LICENSE").read_text())


def films(folder: Path) -> pd.DataFrame:
    """Return the predicted samples with one mask: `prob`, the `path` of the film, the `box` of the lesion."""
    cases = read_table(folder / CASES, schemas.CASES)
    rows = read_table(folder / PREDICTIONS / f"{NAME}.csv", schemas.PREDICTIONS)
    films = rows.merge(cases, on=["sample_id", "patient_id", "label"])
    films = films[~films["mask_path"].str.contains(";")]
    root = folder / RAW / "demo"
    paths = [root / name for name in films["image_path"]]
    boxes = [_corners(root / mask, path) for mask, path in zip(films["mask_path"], paths, strict=True)]
    return films.assign(path=paths, box=boxes).reset_index(drop=True)


def _corners(mask: Path, film: Path) -> Corners:
    top, left, bottom, right = transforms.bounding_box(io.read_mask(mask, io.read_shape(film)))
    return left, top, right, bottom
