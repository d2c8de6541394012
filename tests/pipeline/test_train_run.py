"""A training's unfinished work is found again by what it rests on, and by nothing else."""

from pathlib import Path

import pytest

from mammo.core.config import Config, load_config
from mammo.core.paths import FINGERPRINT
from mammo.pipeline import train_run
from tests import arrays

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    FINGERPRINT.parent.mkdir(parents=True)
    FINGERPRINT.write_text("the data\n")
    return load_config(ROOT / "params.yaml")


def place(loaded: Config, stage: str = "train light_cnn", more: str = "", **changes: object) -> Path:
    """Where the work of an interrupted training lies."""
    recipe = loaded.train.model_copy(update=changes)
    with pytest.raises(KeyboardInterrupt), train_run.workplace(stage, arrays.LIGHT, recipe, loaded, more) as folder:
        (folder / "begun").touch()
        raise KeyboardInterrupt
    return folder


def test_the_same_training_finds_its_work_again_and_removes_it_when_done(loaded: Config) -> None:
    assert (place(loaded) / "begun").is_file()
    with train_run.workplace("train light_cnn", arrays.LIGHT, loaded.train, loaded, "") as folder:
        assert (folder / "begun").is_file()
    assert not folder.exists()


def test_another_stage_recipe_seed_or_start_is_another_training(loaded: Config) -> None:
    other_seed = loaded.model_copy(update={"seed": loaded.seed + 1})
    places = {
        place(loaded),
        place(loaded, stage="cross_validate light_cnn"),
        place(loaded, more="another checkpoint"),
        place(loaded, epochs=99),
        place(other_seed),
    }
    assert len(places) == 5


def test_other_data_are_another_training(loaded: Config) -> None:
    before = place(loaded)
    FINGERPRINT.write_text("other data\n")
    assert place(loaded) != before
