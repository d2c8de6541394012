"""A cached result is right only if `deps` of dvc.yaml name all code that it rests on, and quick only if no more."""

import configparser
import re
from typing import Any

import dependencies
import imports
import pytest
import yaml
from dvc_render.vega import VegaRenderer

from mammo.core import plugins
from mammo.core.config import load_config

DVC = yaml.safe_load((imports.ROOT / "dvc.yaml").read_text())
CONFIG = load_config(imports.ROOT / "params.yaml")
STAGES: dict[str, dict[str, Any]] = {name: stage.get("do", stage) for name, stage in DVC["stages"].items()}
MAX_LINES = 170
ARCHITECTURE = "src/mammo/models/architectures/${{{}}}.py"
TEMPLATE = "src/mammo/reporting/templates/"
TRAININGS = ["train", "seeds", "cross_validate", "retrained_maps"]  # they build a model; continue_training loads one
BEFORE_THE_MODELS = ["ingest", "split", "preprocess"]
REPORTS = ["data_report", "report"]


def code_of(stage: str) -> set[str]:
    """The code dependencies as dvc.yaml names them, but for architectures and templates."""
    paths = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("src/", "stages/"))}
    return {path for path in paths if "${" not in path and not path.startswith(TEMPLATE)}


def stages_of(path: str) -> list[str]:
    """The stages that an edit of a file reruns, those behind them not counted."""
    return [
        stage for stage in STAGES if any(path == dep or path.startswith(f"{dep}/") for dep in STAGES[stage]["deps"])
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_code_that_the_stage_imports(stage: str) -> None:
    assert code_of(stage) == dependencies.dependencies(stage, uses_architecture=stage in TRAININGS)


@pytest.mark.parametrize("stage", STAGES)
def test_each_code_dependency_is_missed(stage: str) -> None:
    needed = dependencies.dependencies(stage, uses_architecture=stage in TRAININGS)
    for dependency in code_of(stage):
        assert code_of(stage) - {dependency} != needed


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_rests_on_the_architecture_that_it_builds(stage: str) -> None:
    named = [dep for dep in STAGES[stage]["deps"] if "architectures/" in dep]
    item = "item.architecture" if stage == "train" else "item"
    assert named == ([ARCHITECTURE.format(item)] if stage in TRAININGS else [])


def test_what_no_stage_rests_on_is_neutral() -> None:
    """The bookkeeping that reruns nothing is small and known; every other module belongs to a stage or to a command."""
    commands = imports.closure({*(dependencies.SOURCE / "cli").glob("*.py"), dependencies.SOURCE / "api.py"})
    for file in sorted(dependencies.SOURCE.rglob("*.py")):
        path = file.relative_to(imports.ROOT).as_posix()
        is_architecture = dependencies.ARCHITECTURES in file.parents
        if not (dependencies.is_neutral(file) or is_architecture or file == dependencies.SOURCE / "__main__.py"):
            assert stages_of(path) or file in commands, f"{path} is no dependency of a stage"


@pytest.mark.parametrize(
    ("edited", "rerun"),
    [
        ("src/mammo/core/errors.py", []),
        ("src/mammo/core/config.py", []),
        ("src/mammo/core/records.py", []),
        ("src/mammo/core/paths.py", []),
        ("src/mammo/tracking/live_run.py", []),
        ("src/mammo/pipeline/train_run.py", []),
        ("src/mammo/metrics/classification.py", ["data_report", "evaluate", "external", "report"]),
        (
            "src/mammo/training/augmentation.py",
            ["train", "continue_training", "seeds", "cross_validate", "retrained_maps"],
        ),
        ("src/mammo/data/images/dicom.py", ["ingest", "preprocess", "data_report", "external", "report"]),
    ],
)
def test_an_edit_reruns_what_it_can_alter(edited: str, rerun: list[str]) -> None:
    assert (imports.ROOT / edited).is_file()
    assert stages_of(edited) == rerun


def test_a_plot_reruns_the_reports_alone() -> None:
    for file in (imports.ROOT / "src/mammo/reporting/figures").glob("*.py"):
        if not dependencies.is_neutral(file):
            rerun = stages_of(file.relative_to(imports.ROOT).as_posix())
            assert set(rerun) <= {*REPORTS, "publish"}, file


def test_dvc_yaml_can_be_read_top_to_bottom() -> None:
    assert len((imports.ROOT / "dvc.yaml").read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("stage", STAGES)
def test_the_stage_has_its_entry_point(stage: str) -> None:
    assert STAGES[stage]["cmd"].split()[:3] == ["python", "-m", f"stages.{stage}"]
    assert (imports.ROOT / "stages" / f"{stage}.py").is_file()


def test_stages_hold_exactly_the_entry_points_and_nothing_imports_them() -> None:
    assert {path.stem for path in (imports.ROOT / "stages").glob("*.py")} == {"__init__", *STAGES}
    for file in dependencies.SOURCE.rglob("*.py"):
        assert not [path for path in imports.direct(file) if imports.ROOT / "stages" in path.parents], file


def test_every_model_in_params_has_an_architecture() -> None:
    architectures = plugins.plugin_names("mammo.models.architectures")
    assert {model.architecture for model in CONFIG.models.values()} <= set(architectures)


def test_the_lock_holds_every_stage_of_the_default() -> None:
    lock = yaml.safe_load((imports.ROOT / "dvc.lock").read_text())["stages"]
    expected = set()
    for name, stage in DVC["stages"].items():
        keys = {
            "${models}": CONFIG.models,
            "${seeds.models}": CONFIG.seeds.models,
            "${cross_validate.models}": CONFIG.cross_validate.models,
            "${external}": CONFIG.external,
        }.get(stage.get("foreach", ""), [""])
        expected |= {f"{name}@{key}" if key else name for key in keys}
    assert set(lock) == expected


def test_the_page_of_dvc_plots_holds_what_dvc_would_load_from_the_internet() -> None:
    config = configparser.ConfigParser()
    config.read(imports.ROOT / ".dvc/config")
    page = (imports.ROOT / ".dvc" / config["plots"]["html_template"]).read_text(encoding="utf-8")
    held = re.findall(r"<script>/\*! ([\w-]+@[\d.]+) \*/", page)
    assert held == re.findall(r"/npm/([\w-]+@[\d.]+)", VegaRenderer.SCRIPTS)
    assert len(held) == 3
    assert "{plot_divs}" in page and "{scripts}" not in page
    assert not re.search(r"<script[^>]+src=", page)


def test_every_plot_has_a_template_of_this_repository() -> None:
    """DVC's own have seven colours, and ticks at half epochs."""
    plots = [plot for stage in STAGES.values() for plot in stage.get("plots", [])] + DVC["plots"]
    named = {settings["template"] for plot in plots for settings in plot.values()}
    assert named == {path.stem for path in (imports.ROOT / ".dvc/plots").glob("*.json")}
