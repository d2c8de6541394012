"""The notebook functions do what the stages do, leave the pipeline's results alone, and return what displays itself."""

import re
import shutil
from pathlib import Path

import finished
import keras
import numpy as np
import pandas as pd
import pytest
import workspaces
from matplotlib.figure import Figure

from mammo import api
from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.errors import InputError
from mammo.core.files import read_table, sha256
from mammo.display import NotebookResult
from mammo.evaluation import comparison_rows
from mammo.inference import bundle
from mammo.pipeline import dvc

pytestmark = pytest.mark.usefixtures("shallow_light_cnn")


@pytest.fixture(scope="module")
def workspace(finished_lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run inside what looks like a checkout; nobody listens at its tracking server."""
    place = tmp_path_factory.mktemp("checkout") / "run"
    shutil.copytree(finished_lesions, place)
    (place / "dvc.yaml").write_text("stages: {}\n")
    (place / "notebooks").mkdir()
    return place


@pytest.fixture(autouse=True)
def notebook(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test runs where a notebook does."""
    for variable in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(workspace / "notebooks")
    return workspace / "notebooks"


@pytest.fixture(scope="module")
def trained(workspace: Path) -> api.Training:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.chdir(workspace)
        return api.simple_train(epochs=2, model_type=finished.NAME)


def pipeline_of(workspace: Path) -> dict[str, str]:
    """What belongs to the pipeline, by content."""
    folders = ("data/models", "data/predictions", "data/pixels", "metrics/records/train", "metrics/records/evaluate")
    return {name: sha256(workspace / name) for name in (*folders, "params.yaml")}


def test_data_are_prepared_by_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(dvc, "run_dvc", lambda *words: asked.append(words))
    counts = api.prepare_data_only().tables["samples"]
    assert asked == [("repro", "preprocess")]
    assert counts.index.to_list() == ["train", "val", "test"]


def test_a_failing_dvc_is_quoted() -> None:
    with api._workspace(), pytest.raises(InputError, match=r"dvc repro nothing failed:\nERROR: .*not a git repository"):
        dvc.run_dvc("repro", "nothing")


def test_the_splits_share_no_patient_and_miss_no_sample(workspace: Path) -> None:
    data = api.create_robust_dataset()
    patients = [set(part.index["patient_id"]) for part in (data.train, data.val, data.test)]
    assert not patients[0] & patients[1] | patients[0] & patients[2] | patients[1] & patients[2]
    index = read_table(workspace / "data/pixels/index.csv", schemas.INDEX)
    assert sum(map(len, (data.train, data.val, data.test))) == len(index)
    assert data.tables["samples"]["samples"].sum() == len(index)


def test_a_training_runs_as_long_as_asked_and_leaves_the_pipeline_alone(workspace: Path, trained: api.Training) -> None:
    before = pipeline_of(workspace)
    kept = {path: path.read_bytes() for path in (workspace / "data/notebook").glob("simple_light_cnn.*")}
    again = api.simple_train(epochs=3, model_type=finished.NAME)
    assert (len(trained.history), len(again.history)) == (2, 3)
    assert pipeline_of(workspace) == before
    assert trained.model_path == workspace / "data/notebook/simple_light_cnn.keras"
    assert (workspace / "metrics/records/notebook/simple_light_cnn.json").is_file()
    for path, content in kept.items():  # other tests have it for what `trained` says
        path.write_bytes(content)


def test_an_unknown_model_is_refused_with_the_others() -> None:
    with pytest.raises(InputError, match=r"unknown model 'nope'.*light_cnn"):
        api.simple_train(1, "nope")
    with pytest.raises(InputError, match=r"nope is no \.keras file and no model here; there are .*light_cnn"):
        api.evaluate_only("nope")


def test_an_evaluation_is_the_stages_own(workspace: Path) -> None:
    found = api.evaluate_only(finished.NAME)
    left = read_table(workspace / f"data/predictions/{finished.NAME}.csv", schemas.PREDICTIONS)
    np.testing.assert_allclose(found.predictions["prob"], left["prob"], atol=1e-6)
    loaded = load_config(workspace / "params.yaml")
    values = comparison_rows.evaluate_predictions(left, loaded.evaluate, loaded.seed).to_metrics()
    shown = found.metrics.loc[finished.NAME]
    assert shown["auc"].startswith(f"{values['auc']:.3f} ({values['auc_low']:.3f}-")
    assert shown["threshold"] == pytest.approx(values["threshold"], abs=1e-6)


def test_a_path_is_read_from_the_notebooks_folder_and_a_bundle_will_do(
    workspace: Path, notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(workspace / f"data/models/{finished.NAME}.keras", notebook / "mine.keras")
    monkeypatch.chdir(workspace)
    bundle.write(finished.NAME, notebook / "mine.zip")
    monkeypatch.chdir(notebook)
    expected = api.evaluate_only(finished.NAME).metrics.to_numpy().tolist()
    for path in ("mine.keras", "mine.zip"):
        assert api.evaluate_only(path).metrics.to_numpy().tolist() == expected


def test_continuing_starts_from_the_given_model_and_names_it(trained: api.Training) -> None:
    found = api.continue_training(trained.model_path, epochs=1)
    assert found.model_path.stem == "continued_simple_light_cnn"
    assert len(found.history) == 1
    assert not np.allclose(found.predictions["prob"], trained.predictions["prob"])


def test_a_comparison_has_every_model_and_every_pair(trained: api.Training) -> None:
    found = api.compare_models(finished.NAME, trained.model_path)
    assert found.metrics.index.to_list() == [finished.NAME, "simple_light_cnn"]
    assert found.paired_tests[["model_a", "model_b"]].to_numpy().tolist() == [[finished.NAME, "simple_light_cnn"]]
    assert {finished.NAME, "simple_light_cnn"} <= set(api.compare_models().metrics.index)


def test_an_explanation_shows_every_outcome_that_there_is() -> None:
    found = api.run_working_gradcam(finished.NAME, num_samples=6, method="layercam")
    assert len(found.samples) == len(found.maps) == 6
    outcomes = api.run_working_gradcam(finished.NAME, num_samples=100).samples["outcome"]
    assert set(found.samples["outcome"]) == set(outcomes)
    assert found.maps.min() >= 0
    assert found.maps.max() == 1


@pytest.mark.slow
def test_the_complete_improvement_returns_what_it_says(workspace: Path) -> None:
    before = pipeline_of(workspace)
    cv_metrics, comparison, best = api.run_complete_improvement(epochs=1)
    index = read_table(workspace / "data/pixels/index.csv", schemas.INDEX)
    assert cv_metrics["n"].sum() == (index["split"] != "test").sum()
    names = ["simple_light_cnn", "enhanced_light_cnn", "continued_simple_light_cnn"]
    assert comparison.metrics.index.to_list() == names
    assert best.about.name in names
    film = finished.films(workspace).iloc[0]
    row = best.predict(film["path"], box=film["box"]).iloc[0]
    assert row["call"] in ("benign", "malignant")
    assert pipeline_of(workspace) == before


@pytest.mark.parametrize("count", [-1, 0, 2.5, "3", True, float("nan")])
def test_a_count_that_is_none_is_refused_before_any_work(count: object) -> None:
    for train in (api.simple_train, api.run_enhanced_training, api.run_complete_improvement):
        with pytest.raises(InputError, match=r"epochs=.*: a whole number of at least 1 is needed"):
            train(epochs=count)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="epochs="):
        api.continue_training(epochs=count)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="num_samples="):
        api.run_working_gradcam(finished.NAME, num_samples=count)  # type: ignore[arg-type]


def test_models_of_one_name_keep_a_row_each(trained: api.Training, workspace: Path, tmp_path: Path) -> None:
    copy = shutil.copyfile(trained.model_path, tmp_path / f"{finished.NAME}.keras")
    compared = api.compare_models(finished.NAME, copy)
    assert set(compared.metrics.index) == {f"{finished.NAME} ({finished.NAME})", f"{finished.NAME} ({copy})"}
    with pytest.raises(InputError, match="is given twice"):
        api.compare_models(copy, copy)


def test_a_foreign_model_is_checked_before_it_is_read(tmp_path: Path, trained: api.Training) -> None:
    pixels = keras.Input((finished.SIZE_PX, finished.SIZE_PX, 1))
    two = keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(pixels))
    keras.Model(pixels, two).save(tmp_path / "two.keras")
    with pytest.raises(InputError, match="gives 2 numbers"):
        api.evaluate_only(tmp_path / "two.keras")
    small = keras.Input((8, 8, 1))
    keras.Model(small, keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(small))).save(tmp_path / "small.keras")
    with pytest.raises(InputError, match=r"takes images of \(8, 8, 1\)"):
        api.evaluate_only(tmp_path / "small.keras")


def test_a_console_shows_tables_and_not_the_fields(trained: api.Training) -> None:
    assert repr(trained).startswith(trained.title)
    assert "val_auc" in repr(trained)
    assert "model_path=" not in repr(trained)


def test_outside_a_checkout_the_error_says_where_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="in no checkout of the repository"):
        api.prepare_data_only()


def test_results_display_themselves_and_escape_what_they_show() -> None:
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    shown = NotebookResult("<b>", {"a&b": pd.DataFrame({"<i>": [1 / 3]})}, {"<u>": figure})
    page = shown._repr_html_()
    assert not re.search(r"<h4><b>|<i>|<u>|a&b", page)
    assert "0.333" in page
    assert page.count("data:image/png;base64,") == 1
    assert "[figure: <u>]" in repr(shown)


def test_a_closed_test_set_is_refused(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(workspace, tmp_path / "closed")
    workspaces.change(tmp_path / "closed", evaluate={"test": "closed"})
    monkeypatch.chdir(tmp_path / "closed" / "notebooks")
    for function in (api.evaluate_only, api.compare_models, api.run_working_gradcam):
        with pytest.raises(InputError, match="the test set is closed"):
            function(finished.NAME)
