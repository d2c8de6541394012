"""A cached result is right only if `deps` and `params` of dvc.yaml name all that a stage rests on."""

import re
from pathlib import Path

import imports
import pytest
import yaml

from mammo import models
from mammo.core import plugins
from mammo.core.config import load_config
from mammo.data import datasets, sources

DVC = yaml.safe_load((imports.ROOT / "dvc.yaml").read_text())
LOADED = load_config(imports.ROOT / "params.yaml")
STAGES = {name: stage.get("do", stage) for name, stage in DVC["stages"].items()}
# Packages whose modules are chosen by a name in params.yaml, and how dvc.yaml writes that name.
CHOSEN = {"sources": sources, "datasets": datasets, "models": models}
# Sections that change no result.
UNTRACKED = {"tracking", "compute"}


def chosen_files(dep: str) -> set[Path]:
    """The files that a templated dependency such as src/mammo/models/${key}.py may stand for."""
    package = Path(dep).parent.name
    return {imports.file_of(f"mammo.{package}.{name}") for name in plugins.plugin_names(CHOSEN[package])}


def code_deps(stage: str) -> list[str]:
    return [dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")]


@pytest.mark.parametrize("stage", STAGES)
def test_deps_name_every_imported_module(stage: str) -> None:
    templated = [dep for dep in code_deps(stage) if "${" in dep]
    plain = {imports.ROOT / dep for dep in code_deps(stage)} - {imports.ROOT / dep for dep in templated}
    optional = set().union(*map(chosen_files, templated)) if templated else set()
    imported = imports.closure({imports.ROOT / "stages" / f"{stage}.py"} | optional)
    assert plain == imported - optional


@pytest.mark.parametrize("stage", STAGES)
def test_params_name_every_section_that_the_stage_reads(stage: str) -> None:
    source = (imports.ROOT / "stages" / f"{stage}.py").read_text()
    read = {name if name != "model" else "models" for name in re.findall(r"loaded\.(\w+)", source)}
    declared = {name.split(".")[0] for name in STAGES[stage]["params"]}
    assert read - UNTRACKED <= declared


@pytest.mark.parametrize("stage", STAGES)
def test_the_stage_has_its_entry_point(stage: str) -> None:
    assert STAGES[stage]["cmd"].split()[:3] == ["python", "-m", f"stages.{stage}"]
    assert (imports.ROOT / "stages" / f"{stage}.py").is_file()


def test_every_model_in_params_has_a_file() -> None:
    assert set(LOADED.models) <= set(plugins.plugin_names("mammo.models.architectures"))


def test_the_lock_holds_every_stage_of_the_default() -> None:
    lock = yaml.safe_load((imports.ROOT / "dvc.lock").read_text())["stages"]
    expected = set()
    for name, stage in DVC["stages"].items():
        keys = {
            "${models}": LOADED.models,
            "${seeds.models}": LOADED.seeds.models,
            "${cross_validate.models}": LOADED.cross_validate.models,
            "${external}": LOADED.external,
        }
        expected |= {f"{name}@{key}" for key in keys[stage["foreach"]]} if "foreach" in stage else {name}
    assert set(lock) == expected
