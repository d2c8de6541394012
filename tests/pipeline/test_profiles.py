"""`python -m mammo profile NAME`."""

import shutil
from collections.abc import Container
from pathlib import Path

import imports
import pytest

from mammo.core.config import load_config
from mammo.core.errors import InputError
from mammo.pipeline import profiles

REAL = sorted(path.stem for path in (imports.ROOT / "profiles").glob("*.yaml"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return Path(shutil.copy(imports.ROOT / "params.yaml", tmp_path / "params.yaml"))


def write_profile(folder: Path, text: str) -> None:
    (folder / "mine.yaml").write_text(text)


def comments(path: Path, without: Container[str] = ()) -> list[str]:
    """All comments but those in the models' sections that are named."""
    kept, model = [], ""
    for line in path.read_text().splitlines():
        if not line.startswith("   "):
            model = line.strip().split(":")[0]
        if "#" in line and model not in without:
            kept.append(line.split("#", 1)[1].strip())
    return kept


@pytest.mark.parametrize("name", REAL)
def test_every_profile_gives_valid_parameters_and_keeps_all_comments(name: str, target: Path) -> None:
    models, whole = set(load_config(target).models), target.with_name("whole.yaml")
    shutil.copy(target, whole)
    assert profiles.apply_profile(name, imports.ROOT / "profiles", target)
    removed = models - set(load_config(target).models)
    assert comments(target) == comments(whole, removed)


def test_null_takes_a_section_out(tmp_path: Path, target: Path) -> None:
    write_profile(tmp_path, "models:\n  medical_vgg16: null\ningest:\n  root: null\n")
    assert profiles.apply_profile("mine", tmp_path, target) == ["models.medical_vgg16"]
    assert list(load_config(target).models) == ["basic_vgg16", "efficientnet_b0", "light_cnn"]
    assert profiles.apply_profile("mine", tmp_path, target) == []


@pytest.mark.parametrize("name", REAL)
def test_merging_twice_changes_nothing_more(name: str, target: Path) -> None:
    profiles.apply_profile(name, imports.ROOT / "profiles", target)
    once = target.read_text()
    assert profiles.apply_profile(name, imports.ROOT / "profiles", target) == []
    assert target.read_text() == once


def test_only_the_lines_of_the_profile_change(tmp_path: Path, target: Path) -> None:
    write_profile(tmp_path, "train:\n  epochs: 99\n")
    before = target.read_text().splitlines()
    assert profiles.apply_profile("mine", tmp_path, target) == ["train.epochs"]
    after = target.read_text().splitlines()
    assert sum(old != new for old, new in zip(before, after, strict=True)) == 1


def test_an_unknown_profile_lists_the_others(tmp_path: Path, target: Path) -> None:
    write_profile(tmp_path, "seed: 1\n")
    with pytest.raises(InputError, match=r"unknown profile 'nope'.*mine"):
        profiles.apply_profile("nope", tmp_path, target)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  epoch: 3\n", "unknown key 'train.epoch'"),
        ("train:\n  epochs: none\n", "train.epochs"),
        ("- 1\n", "no mapping"),
        ("a: [\n", "not valid YAML"),
    ],
)
def test_a_wrong_profile_changes_nothing(text: str, message: str, tmp_path: Path, target: Path) -> None:
    write_profile(tmp_path, text)
    before = target.read_bytes()
    with pytest.raises(InputError, match=message):
        profiles.apply_profile("mine", tmp_path, target)
    assert target.read_bytes() == before
