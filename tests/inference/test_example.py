"""What `make run` ends with works: a film, the true box of its lesion, and the probability that it prints."""

import shlex
import shutil
from pathlib import Path

import finished
import pytest

from mammo.cli import main
from mammo.core.paths import MODELS
from mammo.inference.example import find_example


def test_the_example_is_a_malignant_test_film_with_the_box_of_its_lesion(
    finished_lesions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished_lesions)
    example = find_example()
    assert example is not None and not example.film.is_absolute()
    films = finished.films(finished_lesions)
    here = films[films["path"] == (finished_lesions / example.film)]
    row = here[here["box"] == example.box].iloc[0]
    assert (row["split"], row["label"]) == ("test", 1)
    malignant = films[(films["split"] == "test") & (films["label"] == 1)]["prob"]
    assert malignant.min() < example.prob < malignant.max(), "neither the worst nor the best"


def test_an_example_of_whole_films_has_no_box(finished_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished_images)
    example = find_example()
    assert example is not None and example.box is None
    assert "--box" not in example.command


def test_without_models_there_is_no_example(
    finished_lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(finished_lesions / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert find_example() is None
    (tmp_path / MODELS).mkdir(parents=True)
    (tmp_path / MODELS / f"{finished.NAME}.keras").touch()
    assert find_example() is None


@pytest.mark.parametrize("folder", ["evaluate", "train"])
def test_a_run_that_is_not_finished_has_no_example(
    folder: str, finished_lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command would fail: `predict` needs the record of the training, and that of the evaluation."""
    shutil.copytree(finished_lesions, tmp_path / "run", copy_function=shutil.copyfile)
    monkeypatch.chdir(tmp_path / "run")
    shutil.rmtree(tmp_path / "run/metrics/records" / folder)
    assert find_example() is None


def test_the_command_works_and_prints_what_was_announced(
    finished_lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished_lesions, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    example = find_example()
    assert example is not None
    words = shlex.split(example.command)
    assert words[:3] == ["python", "-m", "mammo"]
    main.main(words[3:])
    printed = capsys.readouterr().out
    assert f"{example.prob:.3f}" in printed
    assert all(column in printed for column in ("threshold", "call", "set", "answer"))
    assert example.heat_map.is_file()
