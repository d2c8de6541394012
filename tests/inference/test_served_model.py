"""The registered model is the number of the table: uint8 in, the evaluated probability, call and calibration out."""

import shutil
from pathlib import Path

import finished
import mlflow
import numpy as np
import pytest

from mammo.core import schemas
from mammo.core.errors import InputError
from mammo.core.files import read_table
from mammo.core.paths import PIXELS, PREDICTIONS
from mammo.data.samples import open_store
from mammo.inference import predictor
from mammo.pipeline import promotion
from mammo.tracking import live_run, mlflow_client
from mammo.tracking.model_registry import VersionSpec

URI = "models:/mammo-demo-lesion@champion"


@pytest.fixture(scope="module")
def champion(
    finished_lesions: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> mlflow.pyfunc.PyFuncModel:
    """The model of a finished run, registered as `promote` does and loaded from the store."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copyfile(empty_store, folder / "store.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DVC_ROOT", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'store.db'}")
        patch.chdir(folder)
        with live_run.tracked_run("train", experiment="tests", parameters={}, tags={}):
            pass
        (run,) = mlflow.MlflowClient().search_runs([mlflow_client.connect("tests")])
        patch.chdir(finished_lesions)
        promotion.register(run, VersionSpec("mammo-demo-lesion", finished.NAME, "champion", {}, ""))
        yield mlflow.pyfunc.load_model(URI)


@pytest.fixture
def images(finished_lesions: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, h, w, 1) uint8 of the test rows, and their published probabilities."""
    monkeypatch.chdir(finished_lesions)
    samples = open_store(PIXELS).take("test")
    table = read_table(PREDICTIONS / f"{finished.NAME}.csv", schemas.PREDICTIONS).set_index("sample_id")
    return samples.images[samples.index.index][..., None], table["prob"][samples.index["sample_id"]].to_numpy()


def test_the_champion_takes_uint8_and_says_what_the_table_says(champion, images):
    pixels, published = images
    assert pixels.dtype == np.uint8
    answers = champion.predict(pixels)
    np.testing.assert_allclose(answers["prob"], published, atol=1e-6)
    about = predictor.load(finished.NAME).about
    np.testing.assert_allclose(answers["calibrated"], about.calibrate(published), atol=1e-6)
    assert answers["malignant"].tolist() == (published >= about.operating_point.threshold).tolist()


def test_a_parameter_of_the_signature_asks_for_the_raw_pass(champion, images):
    pixels, _ = images
    raw = champion.predict(pixels, params={"raw": True})
    assert list(raw.columns) == ["prob"]
    own = predictor.load(finished.NAME).probabilities(pixels[..., 0], flips=False)
    np.testing.assert_allclose(raw["prob"], own, atol=1e-6)


def test_threshold_and_calibration_stand_on_the_version_and_in_the_model(champion, images):
    about = predictor.load(finished.NAME).about
    version = mlflow.MlflowClient().get_model_version_by_alias("mammo-demo-lesion", "champion")
    assert float(version.tags["threshold"]) == about.operating_point.threshold
    assert float(version.tags["platt_slope"]) == about.calibration.slope
    assert champion.metadata.metadata["operating_point"]["threshold"] == about.operating_point.threshold


def test_predict_by_the_uri_of_the_champion_has_its_operating_point(champion, images, monkeypatch):
    about = predictor.load(finished.NAME).about
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    assert predictor.load(URI).about == about


def test_films_of_lesions_need_their_places(champion, images):
    with pytest.raises(InputError, match="where the lesion lies"):
        champion.predict(np.zeros((1, 70, 50, 1), np.uint8))
