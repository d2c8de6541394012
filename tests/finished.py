"""A workspace as a finished run leaves it, on a small cohort: real stages up to the pixels, then an untrained model."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from workspaces import enter

from mammo import batches, inference, models, params, pixels, tables, tracking
from mammo.params import Params
from mammo.prediction import Corners
from stages import ingest, outcome, preprocess, split
from stages.paths import CASES, MODELS, PIXELS, PREDICTIONS, RAW, fingerprint

NAME = "light_cnn"
SIZE_PX = 32
ROOT = Path(__file__).resolve().parents[1]


def make(folder: Path, unit: str) -> Path:
    """Fill `folder`; the model has random weights whose scores spread."""
    with pytest.MonkeyPatch.context() as patch:
        enter(folder, patch, unit=unit)
        _shrink(folder / "params.yaml")
        loaded = params.load()
        for stage in (ingest, split, preprocess):
            stage.main()
        samples = batches.open_store(PIXELS)
        own = loaded.model(NAME)
        model = spread(models.build(NAME, own, samples.image_shape, seed=3), samples)
        models.save(model, MODELS / f"{NAME}.keras")
        with outcome.tracked("train", NAME, own, loaded.train, loaded, own.weights_name, folder) as tracked:
            outcome.write_predictions(NAME, model, samples, loaded.predict.flips)
            tracked.log_model(MODELS / f"{NAME}.keras")
            tracked.log_artifact(PREDICTIONS / f"{NAME}.csv")
        _evaluated(loaded)
    return folder


def spread(model: keras.Model, samples: batches.Samples) -> keras.Model:
    """`model` with its scores spread about .5."""
    prob = inference.probabilities(model, samples)
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


def _evaluated(loaded: Params) -> None:
    """What evaluate and report leave of the model, as far as a bundle reads it."""
    with tracking.run(
        "evaluate",
        model=NAME,
        experiment=loaded.tracking.experiment,
        parameters=loaded.evaluate.model_dump() | {"size_px": loaded.preprocess.size_px},
        tags={"data": fingerprint(), "unit": loaded.ingest.unit},
    ):
        pass
    tables.write_text(Path("data/report/model_cards") / f"{NAME}.md", "# Model card\n")
    tables.write_text(Path("LICENSE"), (ROOT / "LICENSE").read_text())


def films(folder: Path) -> pd.DataFrame:
    """The predicted samples with one mask each: `prob` as the run has it, `path` of the film, the lesion's `box`."""
    cases = tables.read(folder / CASES, tables.CASES)
    rows = tables.read(folder / PREDICTIONS / f"{NAME}.csv", tables.PREDICTIONS)
    known = rows.merge(cases, on=["sample_id", "patient_id", "label"])
    known = known[~known["mask_path"].str.contains(";")]
    root = folder / RAW / "demo"
    paths = [root / name for name in known["image_path"]]
    boxes = [_corners(root / mask, path) for mask, path in zip(known["mask_path"], paths, strict=True)]
    return known.assign(path=paths, box=boxes).reset_index(drop=True)


def _corners(mask: Path, film: Path) -> Corners:
    top, left, bottom, right = pixels.bounding_box(pixels.read_mask(mask, pixels.shape(film)))
    return left, top, right, bottom
