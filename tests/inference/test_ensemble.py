"""Ensembles say of films what the ensemble stage computed for them, and refuse parts that do not fit."""

import shutil
from pathlib import Path

import finished
import numpy as np
import pandas as pd
import pytest
from workspaces import change

import mammo
from mammo import models
from mammo.cli import main as command
from mammo.core import row_names, schemas
from mammo.core.config import load_config
from mammo.core.errors import InputError
from mammo.core.files import read_table, write_table
from mammo.core.paths import ENSEMBLES, MODELS, PIXELS, PREDICTIONS, data_fingerprint
from mammo.data.images import preprocess
from mammo.data.samples import open_store
from mammo.evaluation import ensembling
from mammo.evaluation.ensembling import Combination
from mammo.inference import served_model
from mammo.inference.ensemble import list_ensembles, read_ensemble
from mammo.inference.workspace_models import fit_decisions
from mammo.pipeline import train_run
from mammo.pipeline.train_run import TrainingTask
from mammo.tracking import live_run
from stages.ensemble import main

NAME = finished.NAME
NAMES = ["ensemble_mean", "ensemble_weighted", "ensemble_stacked"]


@pytest.fixture(scope="module")
def run(finished_lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a second model, one under a further seed, and the ensembles of all three."""
    folder = tmp_path_factory.mktemp("ensembles") / "run"
    shutil.copytree(finished_lesions, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.delenv("DVC_ROOT", raising=False)
        patch.chdir(folder)
        change(folder, seeds={"count": 1})
        config = load_config()
        _add_member("continue_training", TrainingTask("continue_training", None, config.for_model(NAME), "none"), 5)
        seed = row_names.seed_member_names(NAME, config.seed, config.seeds)[config.seed + 1]
        _add_member(seed, train_run.task_for("seeds", NAME, config), 6)
        main()
        tags = {"data": data_fingerprint(), "unit": config.ingest.unit}
        for name in [*NAMES, "two_views_ensemble_stacked"]:
            experiment, parameters = config.tracking.experiment, config.evaluate.model_dump()
            with live_run.tracked_run("evaluate", model=name, experiment=experiment, parameters=parameters, tags=tags):
                pass
    return folder


def _add_member(member: str, task: TrainingTask, seed: int) -> None:
    """Leave an untrained model and its predictions as the stage of the task does."""
    samples = open_store(PIXELS)
    model = finished.spread(models.build(task.config.model, samples.image_shape, seed=seed), samples)
    models.save(model, MODELS / f"{member}.keras")
    with train_run.start(task, "tests") as training:
        training.save_predictions(member, model)
        training.log.log_artifact(PREDICTIONS / f"{member}.csv")
        if task.stage != "seeds":  # whose record names no models
            training.log.log_model(MODELS / f"{member}.keras")


@pytest.fixture
def here(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(run)
    return run


@pytest.fixture
def mine(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that may be spoilt."""
    for name in ("data/models", "data/predictions", "data/ensembles", "metrics"):
        shutil.copytree(run / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_ensembles_of_the_run_are_known(here: Path) -> None:
    assert list_ensembles() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_films_get_the_runs_own_probabilities(here: Path, name: str) -> None:
    rows = finished.films(here).query("split == 'test'")  # validation rows are combined out of fold
    boxes = rows.groupby("path", sort=False)["box"].agg(list).to_dict()
    found = mammo.load(name).predict(list(boxes), boxes=boxes)
    own = read_table(ENSEMBLES / f"{name}.csv", schemas.PREDICTIONS).set_index("sample_id")["prob"]
    order = pd.concat([rows.loc[rows["path"] == path, "sample_id"] for path in boxes])
    expected = own[order].to_numpy()
    assert found["error"].isna().all()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found["prob"], expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_rests_on_the_ensembles_own_validation_rows(here: Path, name: str) -> None:
    evaluate = load_config().evaluate
    own = read_table(ENSEMBLES / f"{name}.csv", schemas.PREDICTIONS)
    fitted = fit_decisions(own, evaluate.rule, evaluate.value, evaluate.conformal)
    about = read_ensemble(name).about
    assert {key: getattr(about, key) for key in fitted} == fitted


def test_a_film_is_prepared_once_for_all_members(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = finished.films(here).iloc[0]
    prepared: list[object] = []
    prepare = preprocess.locate_film
    monkeypatch.setattr(preprocess, "locate_film", lambda *words: prepared.append(words) or prepare(*words))
    mammo.load(NAMES[0]).predict(rows["path"], box=rows["box"])
    assert len(prepared) == 1


def test_the_hash_of_an_ensemble_is_that_of_its_members(mine: Path) -> None:
    before = read_ensemble(NAMES[0]).about.model_sha256
    assert read_ensemble(NAMES[1]).about.model_sha256 == before
    (seed,) = (mine / "data/models/seeds" / NAME).glob("*.keras")
    seed.write_bytes(seed.read_bytes() + b"x")  # no record holds the hash of a seed's model
    assert read_ensemble(NAMES[0]).about.model_sha256 != before


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("data/models/light_cnn.keras", "is not what .* says"),
        ("data/predictions/continue_training.csv", "is not what .* says"),
        ("data/ensembles/ensemble_stacked.csv", "do not lead from its members' predictions to its own"),
    ],
)
def test_parts_that_do_not_fit_are_refused(mine: Path, path: str, why: str) -> None:
    if path.endswith(".csv"):
        table = read_table(Path(path), schemas.PREDICTIONS)
        write_table(Path(path), table.assign(prob=1 - table["prob"]), schemas.PREDICTIONS)
    else:
        Path(path).write_bytes(Path(path).read_bytes() + b"x")
    with pytest.raises(InputError, match=why):
        read_ensemble("ensemble_stacked")


def test_a_combination_so_sure_that_most_probabilities_are_1_is_read_back_whole(
    mine: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No intercept could be worked out from such outputs: the log-odds of 1 are infinite."""

    def sure(probs: np.ndarray, label: np.ndarray) -> Combination:
        return Combination(np.full(probs.shape[1], 0.5), "log_odds", intercept=40.25)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setitem(ensembling.METHODS, "stacked", sure)
    for name in ("params.yaml", "data/cases.csv", "data/splits.csv", "data/pixels/fingerprint.txt"):
        (mine / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(run / name, mine / name)
    main()
    assert (read_table(ENSEMBLES / "ensemble_stacked.csv", schemas.PREDICTIONS)["prob"] == 1).mean() > 0.5
    combination = read_ensemble("ensemble_stacked").combination
    assert (combination.kind, combination.intercept) == ("log_odds", 40.25)


def test_an_ensemble_without_its_combination_is_refused_with_the_cure(mine: Path) -> None:
    (mine / ENSEMBLES / "ensemble_mean.json").unlink()
    with pytest.raises(InputError, match=r"ensemble_mean\.json does not exist; run `dvc repro ensemble`"):
        read_ensemble("ensemble_mean")


def test_what_an_ensemble_cannot_do_is_said(here: Path, tmp_path: Path) -> None:
    rows = finished.films(here).iloc[0]
    with pytest.raises(InputError, match="no ensemble 'ensemble_median' in this workspace; there are ensemble_mean"):
        mammo.load("ensemble_median")
    with pytest.raises(InputError, match=r"CC and MLO view.*ask ensemble_stacked about each"):
        mammo.load("two_views_ensemble_stacked")
    with pytest.raises(InputError, match="no heat map of its own; ask a member: light_cnn, continue_training"):
        mammo.load(NAMES[0]).predict(rows["path"], box=rows["box"], heat_maps=tmp_path / "maps")
    with pytest.raises(SystemExit, match=r"ensemble_mean is no single model; .* a bundle one of light_cnn"):
        command.main(["export", NAMES[0], "--out", str(tmp_path / "x.zip")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_served_ensemble_gives_its_own_table(here: Path, tmp_path: Path, name: str) -> None:
    about = served_model.write(name, tmp_path / "served")
    store = open_store(PIXELS).take("test")
    expected = read_table(ENSEMBLES / f"{name}.csv", schemas.PREDICTIONS).query("split == 'test'")
    served = served_model._load_pyfunc(str(tmp_path / "served")).predict(store.images[store.index.index][..., None])
    prob = pd.Series(served["prob"].to_numpy(), store.index["sample_id"])
    np.testing.assert_allclose(prob[expected["sample_id"]], expected["prob"], atol=1e-6)
    assert served_model.version_tags(about)["threshold"] == repr(about.operating_point.threshold)
