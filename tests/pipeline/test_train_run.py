"""The folder of an unfinished training depends on the training's inputs alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from mammo.core.config import Config, load_config
from mammo.core.paths import FINGERPRINT
from mammo.pipeline import train_run
from mammo.pipeline.train_run import TrainingTask

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    FINGERPRINT.parent.mkdir(parents=True)
    FINGERPRINT.write_text("the data\n")
    return load_config(ROOT / "params.yaml")


def interrupted(task: TrainingTask) -> Path:
    """Return the folder of an interrupted training."""
    with pytest.raises(KeyboardInterrupt), train_run.resume_folder(task) as folder:
        (folder / "begun").touch()
        raise KeyboardInterrupt
    return folder


def test_the_same_training_finds_its_work_again_and_removes_it_when_done(config: Config) -> None:
    task = train_run.task_for("train", "light_cnn", config)
    assert (interrupted(task) / "begun").is_file()
    with train_run.resume_folder(task) as folder:
        assert (folder / "begun").is_file()
    assert not folder.exists()


def test_another_stage_setting_seed_or_start_is_another_training(config: Config) -> None:
    task = train_run.task_for("train", "light_cnn", config)
    settings = task.config
    folders = {
        interrupted(task),
        interrupted(replace(task, stage="cross_validate")),
        interrupted(replace(task, foundations=("another checkpoint",))),
        interrupted(replace(task, config=replace(settings, train=settings.train.model_copy(update={"epochs": 99})))),
        interrupted(replace(task, config=replace(settings, seed=settings.seed + 1))),
    }
    assert len(folders) == 5


def test_other_data_are_another_training(config: Config) -> None:
    task = train_run.task_for("train", "light_cnn", config)
    before = interrupted(task)
    FINGERPRINT.write_text("other data\n")
    assert interrupted(task) != before


@pytest.mark.parametrize("source", ["none", "imagenet"])
def test_weights_that_are_no_file_have_no_path(config: Config, source: str) -> None:
    assert train_run.find_weights(config.model("light_cnn").model_copy(update={"weights": source})) is None


def test_weights_by_path_start_at_the_users_repository(config: Config, tmp_path: Path) -> None:
    model_config = config.model("light_cnn").model_copy(update={"weights": "weights/base.keras"})
    assert train_run.find_weights(model_config) == tmp_path / "weights/base.keras"
