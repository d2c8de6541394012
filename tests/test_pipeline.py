"""The whole DAG on the smallest cohort, driven through the real dvc, in a copy of this repository."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import imports
import mlflow
import pandas as pd
import pytest
import yaml

from mammo import report

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]

TINY = {
    "ingest": {"demo": {"patients": 40, "height_px": 96}},
    "split": {"folds": 2},
    "preprocess": {"size_px": 32},
    "train": {"epochs": 2},
    "continue_training": {"epochs": 1},
    "seeds": {"count": 1},
    "cross_validate": {"repeats": 2},
    "evaluate": {"resamples": 100},
    "gradcam": {"samples": 4},
}
KEPT_MODELS = ["basic_vgg16", "light_cnn"]


class Repository:
    """A copy of this repository with its own git history, DVC cache and tracking store."""

    def __init__(self, root: Path):
        self.root = root
        foreign = {name for name in os.environ if name.startswith(("DVC_", "MLFLOW_", "GIT_"))}
        self.environment = {key: value for key, value in os.environ.items() if key not in foreign}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(self, *words: str, expect: int = 0) -> str:
        done = subprocess.run(words, cwd=self.root, env=self.environment, capture_output=True, text=True)
        output = done.stdout + done.stderr
        assert (done.returncode == 0) == (expect == 0), f"{' '.join(words)} gave {done.returncode}:\n{output[-4000:]}"
        return output

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message", "x")

    def runs(self, condition: str = "") -> list[mlflow.entities.Run]:
        """The store's runs of this moment, read from a copy: MLflow keeps a connection open for each store
        that it has read in this process, even when the file behind it has been deleted and made anew."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(self.root / "mlflow.db", copy := Path(folder) / "mlflow.db")
            client = mlflow.MlflowClient(f"sqlite:///{copy}")
            experiment = client.get_experiment_by_name("mammo")
            assert experiment is not None
            return list(client.search_runs([experiment.experiment_id], condition))

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()


def copy_repository(target: Path) -> Repository:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=imports.ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if (imports.ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(imports.ROOT / name, target / name)
    repository = Repository(target)
    repository.run("git", "init", "--quiet")
    return repository


def shrink(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    for section, values in TINY.items():
        for key, value in values.items():
            content[section][key] = content[section][key] | value if isinstance(value, dict) else value
    content["models"] = {name: content["models"][name] for name in KEPT_MODELS}
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    copy = copy_repository(tmp_path_factory.mktemp("repository"))
    shrink(copy.root / "params.yaml")
    (copy.root / "dvc.lock").unlink()
    copy.commit()
    copy.run("dvc", "repro")
    copy.commit()
    yield copy
    shutil.rmtree(copy.root, ignore_errors=True)


def test_the_table_has_a_row_per_model_ensemble_baseline_and_cross_validation(repository: Repository) -> None:
    table = pd.read_csv(repository.root / "metrics/comparison.csv")
    assert list(table["model"]) == [
        "basic_vgg16",
        "light_cnn",
        "continue_training",
        "ensemble_mean",
        "ensemble_weighted",
        "ensemble_stacked",
        "two_views_ensemble_stacked",
        "baseline_birads",
        "baseline_density_type",
        "baseline_prevalence",
        "cross_validate_light_cnn",
    ]
    cases = pd.read_csv(repository.root / "data/cases.csv")
    assert set(table["n"][:-1]) == {(cases["official_split"] == "test").sum()}


def test_further_seeds_and_draws_of_the_folds_tell_how_far_the_auc_varies(repository: Repository) -> None:
    table = pd.read_csv(repository.root / "metrics/comparison.csv").set_index("model")
    assert table.loc[["light_cnn", "cross_validate_light_cnn"], "retrained"].to_list() == [2, 2]
    assert table.loc["basic_vgg16", ["retrained", "auc_retrained_sd"]].isna().all()
    drawn = pd.read_csv(repository.root / "data/predictions/out_of_fold/light_cnn.csv")
    training = (pd.read_csv(repository.root / "data/splits.csv")["split"] != "test").sum()
    held_out = drawn[drawn["split"] == "oof"].groupby("repeat")["sample_id"]
    assert held_out.nunique().to_list() == held_out.size().to_list() == [training, training]
    members = json.loads((repository.root / "metrics/records/ensemble.json").read_text())["parameters"]["members"]
    assert members == [*KEPT_MODELS, "continue_training", "seeds/light_cnn/21"]


def test_every_tracked_stage_is_a_finished_run_with_parameters(repository: Repository) -> None:
    runs = repository.runs()
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["dvc.stage"] for run in runs} == {
        "ingest",
        "split",
        "preprocess",
        "data_report",
        "train",
        "continue_training",
        "seeds",
        "cross_validate",
        "ensemble",
        "evaluate",
        "compare",
        "gradcam",
        "retrained_maps",
        "report",
    }
    assert all(run.data.params for run in runs)


def test_the_report_shows_the_very_numbers_of_the_table(repository: Repository) -> None:
    page = (repository.root / "data/report/report.html").read_text()
    table = pd.read_csv(repository.root / "metrics/comparison.csv")
    assert all(report.with_interval(row, "auc").split(" ")[0] in page for _, row in table.iterrows())
    cards = {path.stem for path in (repository.root / "data/report/model_cards").glob("*.md")}
    assert cards >= {*KEPT_MODELS, "continue_training"}


def test_a_second_repro_runs_publish_alone_and_replays_nothing(repository: Repository) -> None:
    before = len(repository.runs())
    output = repository.run("dvc", "repro")
    assert [line for line in output.splitlines() if line.startswith("Running stage")] == ["Running stage 'publish':"]
    assert "0 of them replayed" in output
    assert len(repository.runs()) == before
    assert repository.run("git", "status", "--porcelain") == ""


def test_the_status_is_clean_but_for_publish(repository: Repository) -> None:
    assert repository.run("dvc", "status").split() == ["publish:", "always", "changed"]


def test_a_forced_run_gives_the_same_bytes(repository: Repository) -> None:
    files = [f"data/{kind}/light_cnn.{end}" for kind, end in (("predictions", "csv"), ("models", "keras"))]
    before = [repository.read(name) for name in files]
    repository.run("dvc", "repro", "--force", "--single-item", "train@light_cnn")
    assert [repository.read(name) for name in files] == before
    assert repository.run("git", "status", "--porcelain", "dvc.lock") == ""


def test_a_lost_server_is_filled_again_and_the_table_is_the_same(repository: Repository) -> None:
    table, runs = repository.read("metrics/comparison.csv"), repository.runs("tags.`dvc.stage` = 'train'")
    epochs = {run.data.tags["content"]: results_of(run) for run in runs}
    (repository.root / "mlflow.db").unlink()
    repository.run("dvc", "repro")
    assert repository.read("metrics/comparison.csv") == table
    replayed = repository.runs("tags.`dvc.stage` = 'train'")
    assert {run.data.tags["content"]: results_of(run) for run in replayed} == epochs


def results_of(run: mlflow.entities.Run) -> dict[str, float]:
    """The metrics without those of the machine that ran it."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}


def test_a_queued_experiment_lands_in_the_same_store(repository: Repository) -> None:
    overrides = ["-S", "train.epochs=1", "-S", "models.light_cnn.learning_rate=0.001"]
    overrides += ["-S", "cross_validate.models=[]", "-S", "seeds.models=[]"]  # nothing of them is needed
    repository.run("dvc", "exp", "run", "--queue", "--name", "queued", *overrides)
    repository.run("dvc", "queue", "start")
    repository.run("dvc", "queue", "logs", "--follow", "queued")
    assert "Success" in repository.run("dvc", "queue", "status")
    runs = repository.runs("tags.`dvc.exp` = 'queued'")
    trained = [run for run in runs if run.data.tags["dvc.stage"] == "train" and run.data.tags["model"] == "light_cnn"]
    assert [run.data.params["learning_rate"] for run in trained] == ["0.001"]
    assert Path(trained[0].info.artifact_uri.removeprefix("file://")).is_dir()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 2", "epoch: 2", "unknown key 'train.epoch'"),
        ("source: demo", "source: nowhere", "src/mammo/sources/nowhere.py"),
        ("source: demo", "source: folder", "ingest.root is not set"),
    ],
)
def test_bad_parameters_end_in_one_message(old: str, new: str, message: str, repository: Repository) -> None:
    parameters = repository.root / "params.yaml"
    text = parameters.read_text()
    try:
        parameters.write_text(text.replace(old, new, 1))
        output = repository.run("dvc", "repro", expect=1)
        assert message in output
        assert "Traceback" not in output
    finally:
        parameters.write_text(text)
