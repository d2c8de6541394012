"""The whole DAG on the smallest cohort, driven through the real dvc, with a real MLflow server process.

All in a copy of this repository. The tests are in the order of a day's work; each leaves the workspace at its last
commit, or says what it changes.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imports
import mlflow
import pandas as pd
import pytest
import yaml
from dvc.repo import Repo

from mammo.reporting import comparison
from mammo.tracking import publishing
from tests import arrays, mlflow_server
from tests.recorded_reads import StageReads, stage_reads

pytestmark = pytest.mark.slow

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
    "tracking": {"champion": {"sensitivity_floor": 0.0, "specificity_floor": 0.0}},  # two epochs reach none
}
KEPT_MODELS = ["basic_vgg16", "light_cnn"]
TRAININGS = {
    *(f"train@{name}" for name in KEPT_MODELS),
    *(f"{stage}@light_cnn" for stage in ("seeds", "cross_validate", "retrained_maps")),
    "continue_training",
}


class Repository:
    """A copy of this repository with its own git history and DVC cache; its runs go to `server`, or stay with it."""

    def __init__(self, root: Path, server: str | None = None):
        self.root = root
        foreign = {name for name in os.environ if name.startswith(("DVC_", "MLFLOW_", "GIT_"))}
        self.environment = {key: value for key, value in os.environ.items() if key not in foreign}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        if server is not None:
            self.environment["MLFLOW_TRACKING_URI"] = server

    def run(self, *words: str, expect: int = 0) -> str:
        done = subprocess.run(words, cwd=self.root, env=self.environment, capture_output=True, text=True)
        output = done.stdout + done.stderr
        assert (done.returncode == 0) == (expect == 0), f"{' '.join(words)} gave {done.returncode}:\n{output[-4000:]}"
        return output

    @property
    def recorded(self) -> Path:
        """Where the stages of run_recorded left what they read."""
        return self.root.parent.parent / "reads"

    def run_recorded(self, *words: str) -> None:
        """Run and record what each stage reads (tests/recording)."""
        self.recorded.mkdir()
        path = imports.python_path(imports.ROOT / "tests" / "recording")
        recorder = {"PYTHONPATH": path, "RECORD_READS": str(self.recorded)}
        plain, self.environment = self.environment, self.environment | recorder
        self.run(*words)
        self.environment = plain

    def reads(self) -> dict[str, StageReads]:
        """What each stage of the recorded run read, beside what dvc.lock says."""
        lock = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        del lock["publish"]  # it runs always, whatever is declared
        return {name: stage_reads(name, self.recorded, locked) for name, locked in lock.items()}

    def changed_stages(self) -> set[str]:
        """Names of the stages that `dvc repro` would run, by their own dependencies."""
        with Repo(self.root) as repo:  # `dvc status` takes seconds to start
            return {name.rpartition(":")[2] for name in repo.status()} - {"publish"}

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message", "x")

    def runs(self, condition: str = "") -> list[mlflow.entities.Run]:
        experiment = self.client().get_experiment_by_name("mammo")
        assert experiment is not None
        return list(self.client().search_runs([experiment.experiment_id], condition))

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.environment["MLFLOW_TRACKING_URI"])

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def stages_run(self, *words: str) -> list[str]:
        """Names of the stages that `dvc repro` runs, and does not restore or find unchanged."""
        lines = self.run("dvc", "repro", *words).splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage")]

    def reset(self) -> None:
        """The last commit, with its data."""
        self.run("git", "checkout", "--quiet", ".")
        self.run("dvc", "checkout", "--quiet")


def copy_repository(target: Path, server: str) -> Repository:
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
    repository = Repository(target, server)
    repository.run("git", "init", "--quiet")
    return repository


def change(path: Path, values: dict[str, dict[str, Any]]) -> None:
    """Merge values into the sections of params.yaml."""
    content = yaml.safe_load(path.read_text())
    for section, changed in values.items():
        for key, value in changed.items():
            content[section][key] = content[section][key] | value if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def shrink(path: Path) -> None:
    change(path, TINY)
    content = yaml.safe_load(path.read_text())
    content["models"] = {name: content["models"][name] for name in KEPT_MODELS}
    content["models"]["basic_vgg16"]["cut_after"] = "block2_pool"
    content["cross_validate"]["models"] = {"light_cnn": "light_cnn"}
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Repository]:
    store = tmp_path_factory.mktemp("server")
    with mlflow_server.serving(mlflow_server.new_store(store / "mlflow.db", empty_store), store) as server:
        copy = copy_repository(tmp_path_factory.mktemp("day") / "repository", server.url)
        shrink(copy.root / "params.yaml")
        arrays.make_shallow(copy.root)
        (copy.root / "dvc.lock").unlink()
        copy.commit()
        copy.run_recorded("dvc", "repro")
        copy.commit()
        yield copy
    shutil.rmtree(copy.root.parent, ignore_errors=True)
    shutil.rmtree(store, ignore_errors=True)


def test_stages_declare_the_parameters_that_they_read_and_no_others(repository: Repository) -> None:
    for name, reads in repository.reads().items():
        assert not reads.undeclared_params(reads.params), name
        assert not reads.unread_params(), name


def test_stages_declare_the_data_that_they_read_and_no_others(repository: Repository) -> None:
    for name, reads in repository.reads().items():
        assert not reads.undeclared_files(reads.deps), name
        assert not reads.unread_deps(), name


def test_each_declared_parameter_and_each_dependency_is_missed(repository: Repository) -> None:
    for name, reads in repository.reads().items():
        for param in reads.params:
            assert reads.undeclared_params(reads.params - {param}), f"{name} without {param}"
        for dep in reads.deps:
            assert reads.undeclared_files(reads.deps - {dep}), f"{name} without {dep}"


EDITS = {
    "an error's text": ("src/mammo/core/errors.py", set()),
    "an MLflow call": ("src/mammo/tracking/live_run.py", set()),
    "a record's format": ("src/mammo/core/records.py", set()),
    "a log message of a training run": ("src/mammo/pipeline/train_run.py", set()),
    "a plot's colour": ("src/mammo/reporting/figures/evaluation.py", {"data_report", "report"}),
    "a clinical metric": ("src/mammo/metrics/classification.py", {"data_report", "evaluate", "report"}),
    "an augmentation": ("src/mammo/training/augmentation.py", TRAININGS),
    "an architecture": (
        "src/mammo/models/architectures/light_cnn.py",
        TRAININGS - {"train@basic_vgg16", "continue_training"},
    ),
    "the decoding of DICOM": ("src/mammo/data/images/dicom.py", {"ingest", "preprocess", "data_report", "report"}),
}


def test_an_edit_reruns_only_what_it_can_alter(repository: Repository) -> None:
    reruns = {}
    for edit, (path, _) in EDITS.items():
        with (repository.root / path).open("a") as file:
            file.write("EDITED = True\n")
        reruns[edit] = repository.changed_stages()
        repository.run("git", "checkout", "--quiet", path)
    assert reruns == {edit: expected for edit, (_, expected) in EDITS.items()}


def test_the_table_has_a_row_per_model_ensemble_baseline_and_cross_validation(repository: Repository) -> None:
    table = pd.read_csv(repository.root / "metrics/comparison.csv")
    assert list(table["model"]) == [
        "basic_vgg16",
        "light_cnn",
        "continue_training",
        "members_light_cnn",
        "ensemble_mean",
        "ensemble_weighted",
        "ensemble_stacked",
        "two_views_ensemble_stacked",
        "baseline_birads",
        "baseline_density_type",
        "baseline_border",
        "baseline_prevalence",
        "reader_with_ensemble_stacked",
        "cross_validate_light_cnn",
    ]
    cases = pd.read_csv(repository.root / "data/cases.csv")
    assert set(table["n"][:-1]) == {(cases["official_split"] == "test").sum()}


def test_further_seeds_and_draws_of_the_folds_tell_how_far_the_auc_varies(repository: Repository) -> None:
    table = pd.read_csv(repository.root / "metrics/comparison.csv").set_index("model")
    rows = ["light_cnn", "cross_validate_light_cnn", "members_light_cnn"]
    assert table.loc[rows, "retrained"].to_list() == [2, 2, 4]
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
        "pipeline",
    }
    stages = [run for run in runs if run.data.tags["dvc.stage"] != "pipeline"]
    assert all(run.data.params for run in stages)
    commit = repository.run("git", "rev-parse", "HEAD~1").strip()
    assert {(run.data.tags["git.commit"], run.data.tags["git.dirty"]) for run in runs} == {(commit, "false")}
    assert all(run.data.tags["hardware"] and run.data.tags["packages"] for run in runs)


def test_runs_are_nested_as_pipeline_stage_and_fold_or_seed(repository: Repository) -> None:
    runs = {run.info.run_id: run for run in repository.runs()}
    (pipeline,) = (run for run in runs.values() if run.data.tags["dvc.stage"] == "pipeline")
    parents = {run.info.run_name: run.data.tags.get("mlflow.parentRunId") for run in runs.values()}
    assert parents.pop(pipeline.info.run_name) is None
    above = {name: runs[parent].info.run_name for name, parent in parents.items()}
    assert above["train@light_cnn"] == above["report"] == pipeline.info.run_name
    assert above["cross_validate@light_cnn repeat1_fold0"] == "cross_validate@light_cnn"
    assert above["seeds@light_cnn seed21"] == "seeds@light_cnn"
    table = pd.read_csv(repository.root / "metrics/comparison.csv").set_index("model")
    assert pipeline.data.metrics["light_cnn/auc"] == pytest.approx(table.loc["light_cnn", "auc"], abs=1e-6)


def test_the_best_model_on_validation_is_the_registered_champion(repository: Repository) -> None:
    version = repository.client().get_model_version_by_alias("mammo-demo-lesion", "champion")
    stages = ("train", "continue_training")
    trained = {run.info.run_name: run for run in repository.runs() if run.data.tags["dvc.stage"] in stages}
    aucs = {name: run.data.metrics["val_auc"] for name, run in trained.items()}
    (best,) = (name for name, run in trained.items() if run.info.run_id == version.run_id)
    assert aucs[best] == max(aucs.values())
    assert version.tags["val_auc"] == f"{aucs[best]:.4f}"


def test_the_report_shows_the_very_numbers_of_the_table(repository: Repository) -> None:
    page = (repository.root / "data/report/report.html").read_text()
    table = pd.read_csv(repository.root / "metrics/comparison.csv")
    assert all(comparison.format_interval(row, "auc").split(" ")[0] in page for _, row in table.iterrows())
    cards = {path.stem for path in (repository.root / "data/report/model_cards").glob("*.md")}
    assert cards >= {*KEPT_MODELS, "continue_training"}


def test_a_second_repro_runs_publish_alone_and_replays_nothing(repository: Repository) -> None:
    before = len(repository.runs())
    assert repository.stages_run() == ["publish"]
    assert len(repository.runs()) == before
    assert repository.run("git", "status", "--porcelain") == ""


def test_the_status_is_clean_but_for_publish(repository: Repository) -> None:
    assert repository.run("dvc", "status").split() == ["publish:", "always", "changed"]


def start_killable(repository: Repository, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a command in a process group of its own, so that it can be killed with all its processes."""
    return subprocess.Popen(
        command,
        cwd=repository.root,
        env=repository.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def results_of(run: mlflow.entities.Run) -> dict[str, float]:
    """The metrics without those of the machine that ran it."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith("system/")}


def test_a_killed_training_goes_on_as_the_same_run(repository: Repository) -> None:
    change(repository.root / "params.yaml", {"models": {"light_cnn": {"epochs": 25}}})
    condition = "attributes.run_name = 'train@light_cnn' AND attributes.status = 'RUNNING'"
    training = ["dvc", "repro", "--single-item", "train@light_cnn"]
    with start_killable(repository, training) as process:
        deadline = time.monotonic() + 120
        while not any("val_auc" in run.data.metrics for run in repository.runs(condition)):
            assert process.poll() is None
            assert time.monotonic() < deadline, "no epoch within 120 s"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    (killed,) = repository.runs(condition)
    repository.run(*training)
    assert repository.runs(condition) == []
    finished = repository.client().get_run(killed.info.run_id)
    assert (finished.info.status, finished.data.tags["resumed"]) == ("FINISHED", "1")
    steps = [entry.step for entry in repository.client().get_metric_history(killed.info.run_id, "val_auc")]
    epochs = len(pd.read_csv(repository.root / "metrics/history/light_cnn.csv"))
    assert sorted(steps)[:epochs] == list(range(epochs))
    repository.reset()


# What each changes, and the rest of its words: a stage is seconds of imports, so `slow` ends with the training.
EXPERIMENTS = {
    "slow": ("continue_training", "continue_training.learning_rate=0.001", ["continue_training"]),
    "fast": (
        "train@light_cnn",
        "models.light_cnn.learning_rate=0.01",
        ["-S", "~cross_validate.models.light_cnn", "-S", "~seeds.models.light_cnn"],
    ),
}


def test_two_queued_experiments_and_a_repro_at_once_land_in_the_same_store(repository: Repository) -> None:
    before = {run.info.run_id for run in repository.runs()}
    for name, (_, value, others) in EXPERIMENTS.items():
        repository.run("dvc", "exp", "run", "--queue", "--name", name, "-S", value, *others)
    repository.run("dvc", "queue", "start", "--jobs", "2")
    change(repository.root / "params.yaml", {"evaluate": {"resamples": 110}})
    assert {"evaluate", "report", "publish"} <= set(repository.stages_run())
    rows = len(pd.read_csv(repository.root / "metrics/comparison.csv"))
    for name in EXPERIMENTS:
        repository.run("dvc", "queue", "logs", "--follow", name)
    assert repository.run("dvc", "queue", "status").count("Success") == 2
    repository.reset()
    runs = [run for run in repository.runs() if run.info.run_id not in before]
    assert {run.info.status for run in runs} == {"FINISHED"}
    names = [(run.data.tags.get("dvc.exp"), run.info.run_name) for run in runs]
    assert len(set(names)) == len(names)
    assert sum(name.startswith("evaluate@") for experiment, name in names if experiment is None) == rows
    for name, (run_name, value, _) in EXPERIMENTS.items():
        (trained,) = (run for run in runs if (name, run_name) == (run.data.tags.get("dvc.exp"), run.info.run_name))
        assert trained.data.params["learning_rate"] == value.partition("=")[2]
        assert trained.data.tags["git.dirty"] == "true"
        assert repository.client().list_artifacts(trained.info.run_id)


def test_an_applied_experiment_is_the_workspace_and_back_again_trains_nothing(repository: Repository) -> None:
    """The experiment's stages were run in a copy, the first ones before it: both are restored, and both tables hold."""
    before, runs = repository.read("metrics/comparison.csv"), len(repository.runs())
    repository.run("dvc", "exp", "apply", "fast")
    applied = repository.read("metrics/comparison.csv")
    assert applied != before
    assert repository.stages_run() == ["publish"]
    assert repository.read("metrics/comparison.csv") == applied
    repository.run("git", "checkout", "--quiet", "params.yaml")  # a parameter changed back: dvc.lock knows the other
    assert repository.stages_run() == ["publish"]
    assert repository.read("metrics/comparison.csv") == before
    assert len(repository.runs()) == runs
    repository.reset()


def test_a_branch_of_an_experiment_and_a_checkout_of_the_commit_before_it(repository: Repository) -> None:
    before = repository.read("metrics/comparison.csv")
    home = repository.run("git", "branch", "--show-current").strip()
    repository.run("dvc", "exp", "branch", "fast", "fast-branch")
    repository.run("git", "checkout", "--quiet", "fast-branch")
    repository.run("dvc", "checkout", "--quiet")
    assert repository.stages_run() == ["publish"]
    assert repository.read("metrics/comparison.csv") != before
    assert "light_cnn" in repository.run("dvc", "metrics", "diff", home)
    assert "Validation AUC" in repository.run("dvc", "plots", "diff", home, "--json")
    repository.reset()
    repository.run("git", "checkout", "--quiet", home)
    repository.run("dvc", "checkout", "--quiet")
    assert repository.stages_run() == ["publish"]
    assert repository.read("metrics/comparison.csv") == before


def test_a_run_of_an_experiment_is_reproduced_from_its_commit_and_patch(repository: Repository, tmp_path: Path) -> None:
    """Another process trains it again, in another folder: model and predictions have the same bytes."""
    (run,) = repository.runs("tags.`dvc.exp` = 'fast' AND attributes.run_name = 'train@light_cnn'")
    record = json.loads(
        Path(repository.client().download_artifacts(run.info.run_id, "record.json", tmp_path)).read_text()
    )
    assert {"data/models/light_cnn.keras", "data/predictions/light_cnn.csv"} <= set(record["artifacts"])
    output = repository.run(sys.executable, "-m", "mammo", "reproduce", run.info.run_id)
    assert "reproduced: 1 run, with the same bytes" in " ".join(output.split())
    assert "Running stage 'train@light_cnn'" in output
    assert repository.run("git", "status", "--porcelain") == ""
    assert [path.name for path in repository.root.parent.iterdir()] == ["repository"]


def test_a_clone_that_pulls_computes_nothing_and_fills_a_store_of_its_own(repository: Repository) -> None:
    remote, copy = repository.root.parent / "remote", repository.root.parent / "clone"
    repository.run("dvc", "remote", "add", "--default", "--force", "shared", str(remote))
    repository.run("dvc", "push", "--quiet")
    repository.run("git", "clone", "--quiet", str(repository.root), str(copy))
    clone = Repository(copy)
    (clone.root / ".dvc/config").write_bytes(repository.read(".dvc/config"))
    clone.run("dvc", "pull", "--quiet")
    output = clone.run("dvc", "repro")
    assert [line for line in output.splitlines() if line.startswith("Running stage")] == ["Running stage 'publish':"]
    assert clone.read("metrics/comparison.csv") == repository.read("metrics/comparison.csv")
    clone.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{clone.root}/mlflow.db"
    there = {run.data.tags["content"]: run for run in repository.runs() if "content" in run.data.tags}
    here = [run for run in clone.runs() if "content" in run.data.tags]
    assert len(here) > 20
    for run in here:
        assert results_of(run) == results_of(there[run.data.tags["content"]])
    repository.reset()


def test_three_processes_at_once_that_publish_to_a_lost_store_send_each_run_once(repository: Repository) -> None:
    environment = {name: value for name, value in repository.environment.items() if name != "MLFLOW_TRACKING_URI"}
    publish = [sys.executable, "-m", "stages.publish"]
    processes = [subprocess.Popen(publish, cwd=repository.root, env=environment) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    own = Repository(repository.root, f"sqlite:///{repository.root}/mlflow.db")
    contents = [run.data.tags["content"] for run in own.runs() if "content" in run.data.tags]
    assert len(contents) > 20
    assert len(set(contents)) == len(contents)


KILLED = ("train@light_cnn", "cross_validate@light_cnn", "preprocess", "ensemble", "publish")
KILLS = 4  # of each


@pytest.mark.skipif(mlflow_server.SCENARIOS not in os.environ, reason="takes minutes: python -m tests.scenarios")
def test_stages_that_are_killed_at_random_moments_end_with_the_same_bytes(repository: Repository) -> None:
    """Each stage is begun again and killed four times, with all its processes, and then left to end."""
    before, chance = repository.read("metrics/comparison.csv"), random.Random(20)
    for stage in KILLED:
        again = ["dvc", "repro", "--force", "--single-item", stage]
        start = time.monotonic()
        repository.run(*again)
        seconds = time.monotonic() - start
        for _ in range(KILLS):
            kill_after(repository, again, chance.uniform(0, seconds))
        repository.run(*again)
    assert repository.stages_run() == ["publish"]
    assert repository.read("metrics/comparison.csv") == before
    assert repository.run("git", "status", "--porcelain") == ""
    (pipeline,) = repository.runs("tags.`dvc.stage` = 'pipeline'")
    named = publishing.named_runs(pipeline.data.tags)
    assert {repository.client().get_run(run_id).info.status for run_id in named} == {"FINISHED"}


def kill_after(repository: Repository, command: list[str], seconds: float) -> None:
    """Start a command, and kill it with all its processes after so many seconds if it has not ended."""
    with start_killable(repository, command) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 2", "epoch: 2", "unknown key 'train.epoch'"),
        ("source: demo", "source: nowhere", "ingest.source: unknown name 'nowhere'; there are: demo, folder"),
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
