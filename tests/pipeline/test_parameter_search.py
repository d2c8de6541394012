"""A search: proposals, pruning, what survives a killed process, and that no test row is ever looked at."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import imports
import keras
import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import yaml
from scipy.special import expit

from mammo.cli import main
from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.files import read_table, write_table
from mammo.data.samples import Samples
from mammo.pipeline import parameter_search, search_space
from mammo.pipeline.trials import MAX_KILLS, Pruned, Search
from stages import train
from tests import arrays, workspaces

pytestmark = pytest.mark.usefixtures("shallow_light_cnn")

SPACES = search_space.parse_spaces(["train.weight_decay=log(1e-5,1e-1)", "train.batch_size=choice(8,16)"])
OWN = {"train.weight_decay": 0.0001, "train.batch_size": 16}
EPOCHS = 12  # of the training that is killed
WORDS = ["-S", "models.light_cnn.learning_rate=log(1e-4,1e-2)", "-S", "train.balance=choice(class_weights,sampling)"]


# The study


def study(folder: Path, baseline: dict[str, Any] = OWN, seed: int = 3) -> Search:
    folder.mkdir(exist_ok=True)
    return Search(folder, SPACES, baseline, seed, warmup=1)


def predictions_of(decay: float) -> pd.DataFrame:
    """Predictions that are the better the nearer the weight decay is to .001."""
    rows = arrays.predictions(60, skill=3 - abs(np.log10(decay) + 3))
    return rows[rows["split"] == "val"].drop(columns="split")


def work(search: Search, count: int, die_at: int | None = None) -> list[dict[str, Any]]:
    """Have `count` trials; the process "dies" within trial `die_at`."""
    proposed = []
    while True:
        with search.next_trial(count) as trial:
            if trial is None:
                return proposed
            if trial.number == die_at:
                raise KeyboardInterrupt
            proposed.append(trial.parameters)
            search.tell(trial, predictions_of(trial.parameters["train.weight_decay"]))


def test_the_first_trial_is_what_params_yaml_says_where_the_spaces_hold_it(tmp_path: Path) -> None:
    assert work(study(tmp_path / "a"), 1) == [OWN]
    outside = OWN | {"train.batch_size": 32}
    (proposal,) = work(study(tmp_path / "b", outside), 1)
    assert proposal["train.batch_size"] in (8, 16)


def test_trials_find_the_better_half_of_the_space(tmp_path: Path) -> None:
    search = study(tmp_path / "a")
    proposed = work(search, 25)
    distance = [abs(np.log10(values["train.weight_decay"]) + 3) for values in proposed]
    assert np.mean(distance[15:]) < np.mean(distance[1:11])
    verdict = search.verdict()
    assert verdict is not None
    assert abs(np.log10(verdict.best.parameters["train.weight_decay"]) + 3) < 0.3
    assert [trial.auc for trial in verdict.finished] == sorted((t.auc for t in verdict.finished), reverse=True)


def test_a_killed_search_goes_on_and_repeats_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = work(study(tmp_path / "unbroken"), 14)
    for number in (0, 4, 12):
        with pytest.raises(KeyboardInterrupt):
            work(study(tmp_path / "killed"), 14, die_at=number)
    search = study(tmp_path / "killed")
    work(search, 14)
    again = {trial.number: trial.parameters for trial in search.finished_trials()}
    assert [again[number] for number in range(14)] == unbroken


def test_the_same_call_has_no_further_trials_and_a_higher_count_has_more(tmp_path: Path) -> None:
    search = study(tmp_path / "a")
    work(search, 3)
    assert work(study(tmp_path / "a"), 3) == []
    assert len(work(study(tmp_path / "a"), 5)) == 2


def test_a_trial_that_kills_its_process_again_and_again_is_given_up(tmp_path: Path) -> None:
    for _ in range(MAX_KILLS):
        with pytest.raises(KeyboardInterrupt):
            work(study(tmp_path / "a"), 3, die_at=1)
    search = study(tmp_path / "a")
    work(search, 3)
    assert sorted(trial.number for trial in search.finished_trials()) == [0, 2, 3]


def test_a_trial_that_another_process_holds_is_neither_taken_nor_counted_twice(tmp_path: Path) -> None:
    first_process, second_process = study(tmp_path / "a"), study(tmp_path / "a")
    with first_process.next_trial(2) as first:
        assert first is not None
        with second_process.next_trial(2) as second:
            assert second is not None
            assert {first.number, second.number} == {0, 1}
            assert second_process.count_running() == 2
            with study(tmp_path / "a").next_trial(2) as third:
                assert third is None


def test_a_trial_below_the_median_of_the_others_is_stopped_after_the_warm_up(tmp_path: Path) -> None:
    search = study(tmp_path / "a")
    for _ in range(6):
        with search.next_trial(20) as trial:
            assert trial is not None
            for step in range(3):
                trial.report(step, 0.8)
            search.tell(trial, predictions_of(trial.parameters["train.weight_decay"]))
    with search.next_trial(20) as trial:
        assert trial is not None
        trial.report(0, 0.1)
        with pytest.raises(Pruned):
            trial.report(1, 0.1)
        search.tell_pruned(trial)
    verdict = search.verdict()
    assert verdict is not None
    assert (len(verdict.finished), verdict.pruned) == (6, 1)


def test_a_search_without_a_finished_trial_has_no_verdict(tmp_path: Path) -> None:
    assert study(tmp_path / "a").verdict() is None


def test_folds_are_judged_one_by_one(tmp_path: Path) -> None:
    """A constant added to the scores of one fold changes no AUC within it."""
    search = study(tmp_path / "a")
    for shift in (0.0, 4.0):
        with search.next_trial(2) as trial:
            assert trial is not None
            rows = arrays.out_of_fold(shifts=(0, shift, 0)).query("split == 'oof'").drop(columns="split")
            search.tell(trial, rows)
    plain, shifted = search.finished_trials()
    assert plain.auc == shifted.auc


# What a trial trains


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pixel store of 60 patients."""
    folder = tmp_path_factory.mktemp("search")
    index = arrays.index(60, seed=5)
    pixels = folder / "data/pixels"
    pixels.mkdir(parents=True)
    write_table(pixels / "index.csv", index, schemas.INDEX)
    images, _ = arrays.images(index["label"].to_numpy(), seed=5)
    np.save(pixels / "images.npy", images)
    workspaces.write_without_lesion(pixels, index, images)
    (pixels / "fingerprint.txt").write_text("the data\n")
    return folder


@pytest.fixture
def workspace(cohort_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of that store, with a recipe of two epochs and without a server."""
    folder = workspaces.enter(tmp_path / "repository", monkeypatch)
    shutil.copytree(cohort_folder / "data", folder / "data")
    content = yaml.safe_load((folder / "params.yaml").read_text())
    content["train"] |= {"epochs": 3}
    content["split"]["folds"] = 3
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rates of the trainings, which take no time here; the higher the rate, the better the model."""
    rates: list[float] = []
    trained = parameter_search.trainer

    def rank(model: keras.Model, samples: Samples, flips: bool) -> npt.NDArray[np.float64]:
        noise = np.random.default_rng(0).normal(size=len(samples.index))
        return expit(0.5 * np.log(rates[-1] / 1e-6) * (samples.labels - 0.5) + noise)

    monkeypatch.setattr(trained, "fit", lambda model, samples, config, *_: rates.append(config.model.learning_rate))
    monkeypatch.setattr(parameter_search.predict, "predict_probabilities", rank)
    return rates


def best(folder: Path) -> list[Path]:
    """The predictions of all finished trials."""
    return sorted((folder / ".dvc/tmp/mammo").glob("search-*/trial-*.csv"))


def test_trial_0_is_judged_as_the_train_stage_judges(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["search", "light_cnn", *WORDS, "--trials", "1"])
    train.main("light_cnn")
    (mine,) = best(workspace)
    theirs = read_table(Path("data/predictions/light_cnn.csv"), schemas.PREDICTIONS).query("split == 'val'")
    prob = pd.read_csv(mine).set_index("sample_id")["prob"]
    np.testing.assert_allclose(prob, theirs.set_index("sample_id")["prob"], atol=1e-6)
    assert "trial 0" in capsys.readouterr().out


def test_no_test_row_is_ever_looked_at(workspace: Path) -> None:
    """Other test images and labels, the same trial."""
    main.main(["search", "light_cnn", *WORDS, "--trials", "1"])
    (before,) = [path.read_bytes() for path in best(workspace)]
    shutil.rmtree(workspace / ".dvc")
    index = read_table(Path("data/pixels/index.csv"), schemas.INDEX)
    test = index["split"] == "test"
    images = np.load("data/pixels/images.npy")
    images[test] = 255 - images[test]
    np.save("data/pixels/images.npy", images)
    index["label"] = index["label"].mask(test, 1 - index["label"])
    write_table(Path("data/pixels/index.csv"), index, schemas.INDEX)
    main.main(["search", "light_cnn", *WORDS, "--trials", "1"])
    assert [path.read_bytes() for path in best(workspace)] == [before]
    predicted_ids = pd.concat(map(pd.read_csv, best(workspace)))["sample_id"]
    assert set(predicted_ids) == set(index.loc[index["split"] == "val", "sample_id"])


def test_folds_judge_every_training_patient_once_and_no_test_patient(workspace: Path) -> None:
    main.main(["search", "light_cnn", *WORDS, "--trials", "1", "--folds"])
    (path,) = best(workspace)
    index = read_table(Path("data/pixels/index.csv"), schemas.INDEX)
    expected = index.loc[index["split"] != "test"].set_index("sample_id")["fold"]
    folds = pd.read_csv(path).set_index("sample_id")["fold"]
    assert folds.sort_index().to_dict() == expected.astype(int).sort_index().to_dict()


def test_the_winner_is_written_into_params_yaml_and_what_the_search_leaves_alone_is_not(
    workspace: Path, rates: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(imports.ROOT / "params.yaml", workspace / "params.yaml")
    text = (workspace / "params.yaml").read_text().replace("  epochs: 20 ", "  epochs: 2  ", 1)
    text = text.replace("    learning_rate: 0.003\n", "    learning_rate: 0.000001\n")
    (workspace / "params.yaml").write_text(text)
    words = ["search", "light_cnn", "-S", "models.light_cnn.learning_rate=choice(0.000001,0.003)", "--trials", "2"]
    main.main(words)
    assert (workspace / "params.yaml").read_text() == text
    main.main([*words, "--apply"])
    after = (workspace / "params.yaml").read_text()
    changed = [(old, new) for old, new in zip(text.splitlines(), after.splitlines(), strict=True) if old != new]
    assert changed == [("    learning_rate: 0.000001", "    learning_rate: 0.003")]
    assert load_config().model("light_cnn").learning_rate == 0.003
    printed = capsys.readouterr().out
    assert "models.light_cnn.learning_rate" in printed
    assert "none of them of the test set" in " ".join(printed.split())


def test_programs_are_told_the_trials_and_nothing_else(
    workspace: Path, rates: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    main.main(["search", "light_cnn", *WORDS, "--trials", "2", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert [trial["auc"] for trial in content["trials"]] == sorted((t["auc"] for t in content["trials"]), reverse=True)
    assert content["best"] == content["trials"][0]["number"] == int(np.argmax(rates))
    assert content["auc"]["value"] == pytest.approx(content["trials"][0]["auc"])
    assert content["applied"] is None


def test_the_same_parameters_are_not_trained_twice(workspace: Path, rates: list[float]) -> None:
    main.main(["search", "light_cnn", "-S", "train.balance=choice(class_weights,sampling)", "--trials", "6"])
    assert len(rates) == 2
    assert len(best(workspace)) == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope", "-S", "train.epochs=int(1,2)"], "unknown model 'nope'"),
        (["light_cnn"], "nothing to search"),
        (["light_cnn", "-S", "train.epochs=int(0,2)"], r"train\.epochs = 0"),
        (["light_cnn", "-S", "train.epochs=int(1,2)", "--trials", "0"], "--trials is 0"),
        (["light_cnn", "--spaces", "absent.yaml"], r"absent\.yaml does not exist"),
    ],
)
def test_bad_input_ends_in_one_message_before_anything_is_trained(
    workspace: Path, words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        main.main(["search", *words])
    assert not (workspace / ".dvc").exists()


def test_without_pixels_the_search_says_what_to_run(workspace: Path) -> None:
    shutil.rmtree(workspace / "data")
    with pytest.raises(SystemExit, match=r"data/pixels/index\.csv.*dvc repro"):
        main.main(["search", "light_cnn", *WORDS])


# Real processes on a real store


@pytest.fixture
def store(workspace: Path, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    store = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'runs.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    return store


def start(*words: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": imports.python_path(imports.ROOT / "src", imports.ROOT)}
    command = [sys.executable, "-m", "mammo", "search", "light_cnn", *WORDS, *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def runs(store: str, stage_name: str) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("mammo")
    condition = f"tags.`dvc.stage` = '{stage_name}'"
    return list(client.search_runs([experiment.experiment_id], condition)) if experiment else []


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_within_its_trial_and_its_runs_are_not_doubled(
    workspace: Path, store: str
) -> None:
    content = yaml.safe_load((workspace / "params.yaml").read_text())
    content["train"]["epochs"] = EPOCHS
    (workspace / "params.yaml").write_text(yaml.safe_dump(content))
    killed = start("--trials", "2")
    deadline = time.monotonic() + 600
    while not any("val_auc" in run.data.metrics for run in runs(store, "trial")):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (begun,) = runs(store, "trial")
    assert begun.info.status == "RUNNING"
    sent = len(mlflow.MlflowClient(store).get_metric_history(begun.info.run_id, "val_auc"))
    workers = [start("--trials", "2"), start("--trials", "2")]
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    trials = {run.info.run_name: run for run in runs(store, "trial")}
    assert sorted(trials) == ["trial 000", "trial 001"]
    assert trials["trial 000"].info.run_id == begun.info.run_id
    (parent,) = runs(store, "search")
    assert {run.data.tags["mlflow.parentRunId"] for run in trials.values()} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *trials.values())} == {"FINISHED"}
    for run in trials.values():
        history = mlflow.MlflowClient(store).get_metric_history(run.info.run_id, "val_auc")
        assert sorted(entry.step for entry in history if entry.step) == list(range(1, EPOCHS))
    assert sent < EPOCHS
    printed = "".join(outputs)
    assert sum(f"trial {number} (" in printed for number in (0, 1)) == 2
    assert parent.data.metrics["best_auc"] == max(run.data.metrics["val_auc"] for run in trials.values())
