"""The pages Add a model, a data set, a metric, an augmentation, a stage, done word for word in a copy of the code."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imports
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

ROOT = imports.ROOT
HOW_TO = ROOT / "docs" / "how-to"
COPIED = ("src", "stages", "tests", "params.yaml", "dvc.yaml", "pyproject.toml")


def blocks(page: str, language: str = "") -> list[str]:
    """Return the fenced blocks of a page in a language, in their order."""
    text = (HOW_TO / f"{page}.md").read_text()
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


def pytest_words(page: str) -> tuple[str, str]:
    """Return the file and the keyword of the page's pytest command."""
    (line,) = [line for block in blocks(page) for line in block.splitlines() if line.startswith("pytest ")]
    _, file, option, keyword = line.split()
    assert option == "-k"
    return file, keyword


def apply_diff(file: Path, diff: str) -> None:
    """Add the lines of a diff that begin with + behind its other lines, which the file must hold once."""
    lines = diff.splitlines()
    context = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    added = "\n".join(line[1:] for line in lines if line.startswith("+"))
    insert_after(file, rf"^{re.escape(context)}$", added)


def insert_after(file: Path, anchor: str, text: str) -> None:
    """Put text behind the only match of a pattern."""
    content = file.read_text()
    matches = list(re.finditer(anchor, content, flags=re.MULTILINE))
    assert len(matches) == 1, f"{file.name} has {len(matches)} places like {anchor}"
    end = matches[0].end()
    file.write_text(f"{content[:end]}\n{text.rstrip()}{content[end:]}")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code in which all pages were followed."""
    root = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    for follow in (add_augmentation, add_model, add_metric, add_data_set, add_stage):
        follow(root)
    return root


def run_python(copy: Path, words: Sequence[str], folder: Path) -> str:
    """Run Python on the copied code and return what it prints; fail with all of its output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_"))}
    environment |= {"PYTHONPATH": imports.python_path(copy / "src", copy)}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def add_model(root: Path) -> None:
    (code,) = blocks("add-a-model", "python")
    (root / "src/mammo/models/architectures/my_net.py").write_text(code)
    (entry,) = blocks("add-a-model", "yaml")
    merge_params(root, entry)


def merge_params(root: Path, text: str) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    for section, values in yaml.safe_load(text).items():
        params[section] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def add_metric(root: Path) -> None:
    (function,) = blocks("add-a-metric", "python")
    (entry,) = blocks("add-a-metric", "diff")
    classification = root / "src/mammo/metrics/classification.py"
    apply_diff(classification, entry)
    above, table, below = classification.read_text().partition("\nAT_THRESHOLD: ")
    classification.write_text(f"{above}\n{function}\n{table}{below}")


def add_data_set(root: Path) -> None:
    (code,) = blocks("add-a-data-set", "python")
    (root / "src/mammo/data/datasets/my_clinic.py").write_text(code)
    (section,) = blocks("add-a-data-set", "yaml")
    merge_params(root, section)


def add_augmentation(root: Path) -> None:
    field, layer, nothing, alone = blocks("add-an-augmentation", "diff")
    (amount,) = blocks("add-an-augmentation", "yaml")
    apply_diff(root / "src/mammo/core/config.py", field)
    insert_after(root / "params.yaml", r"^    artifacts: .*$", amount)
    apply_diff(root / "src/mammo/training/augmentation.py", layer)
    apply_diff(root / "tests/training/test_augmentation.py", nothing)
    apply_diff(root / "tests/training/test_augmentation.py", alone)


def add_stage(root: Path) -> None:
    (path,) = blocks("add-a-stage", "diff")
    (code,) = blocks("add-a-stage", "python")
    (block,) = blocks("add-a-stage", "yaml")
    apply_diff(root / "src/mammo/core/paths.py", path)
    (root / "stages/count_samples.py").write_text(code)
    insert_after(root / "dvc.yaml", r"^stages:$", block)


@pytest.fixture(scope="module")
def passed(copy: Path) -> list[str]:
    """The pytest commands of all pages in one process: the tests that passed."""
    asked = [pytest_words(page) for page in ("add-a-model", "add-an-augmentation", "add-a-stage")]
    keywords = " or ".join(keyword for _, keyword in asked)
    words = ["-m", "pytest", *(file for file, _ in asked), "-k", keywords, "-vv", "-p", "no:cacheprovider"]
    return re.findall(r"^(\S+) PASSED", run_python(copy, words, copy), flags=re.MULTILINE)


def test_the_added_architecture_keeps_the_shared_contract(passed: list[str]) -> None:
    assert len([name for name in passed if "[my_net]" in name]) >= 8


def test_the_added_augmentation_is_tested_like_the_others(passed: list[str]) -> None:
    assert len([name for name in passed if "[brightness]" in name]) >= 2


def test_the_added_stage_has_the_right_dependencies(passed: list[str]) -> None:
    names = {name.split("::")[1] for name in passed if "[count_samples]" in name}
    assert {"test_deps_are_the_code_that_the_stage_imports[count_samples]"} <= names


def test_the_added_entries_make_stages_and_no_other_training_reads_them(copy: Path) -> None:
    params = yaml.safe_load((copy / "params.yaml").read_text())
    stages = yaml.safe_load((copy / "dvc.yaml").read_text())["stages"]
    assert {"my_net", "light_cnn"} <= set(params["models"])
    assert "my_clinic" in params["external"]
    for stage in ("train", "gradcam"):
        assert stages[stage]["foreach"] == "${models}"
        assert "models" not in stages[stage]["do"]["params"]
    assert stages["external"]["foreach"] == "${external}"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set page's own example (its table, and films of these names), and a table of splits."""
    folder = tmp_path_factory.mktemp("workspace")
    (table,) = blocks("add-a-data-set", "csv")
    (folder / "films.csv").write_text(table)
    for film in pd.read_csv(folder / "films.csv")["film"]:
        pixels = np.random.default_rng(0).integers(0, 256, (120, 100)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / film)
    (folder / "data").mkdir()
    splits = pd.DataFrame({"sample_id": ["a", "b", "c"], "patient_id": ["1", "2", "3"]})
    splits.assign(split=["train", "train", "test"], fold=[0, 1, None]).to_csv(folder / "data/splits.csv", index=False)
    return folder


FOLLOWED = """
import json
import runpy
from pathlib import Path

import numpy as np

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.data import datasets
from mammo.metrics.bootstrap import decision_intervals
from mammo.metrics.resampling import LabelledRows, Resampling

config = load_config(Path({params!r}))
label = np.arange(80) % 2
decision = np.where(np.random.default_rng(0).random(80) < 0.8, label, 1 - label)
intervals = decision_intervals(LabelledRows(label, np.arange(80) // 2), decision, Resampling(200, 0))
dataset, cases, excluded = datasets.load_dataset("my_clinic"), {{}}, {{}}
for unit in ("lesion", "image", "breast"):
    located = dataset.locate(Path("."), unit, ["mass", "calcification"], 1)
    datasets.assert_full(located.counts, dataset.published([]), "here")
    cases[unit] = schemas.check_table(located.cases, schemas.CASES, "cases")["label"].to_list()
    excluded[unit] = schemas.check_table(located.excluded, schemas.EXCLUDED, "excluded")["reason"].to_list()
runpy.run_module("stages.count_samples", run_name="__main__")
print(json.dumps({{
    "architecture": config.model("my_net").architecture,
    "brightness": config.train.augmentation.brightness,
    "youden": [intervals["youden"].low, intervals["youden"].value, intervals["youden"].high],
    "rates": intervals["sensitivity"].value + intervals["specificity"].value,
    "cases": cases,
    "excluded": excluded,
    "counts": json.loads(Path("metrics/sample_counts.json").read_text()),
}}))
"""


@pytest.fixture(scope="module")
def followed(copy: Path, workspace: Path) -> dict[str, Any]:
    """What the copied code does with the added parts."""
    code = FOLLOWED.format(params=str(copy / "params.yaml"))
    return dict(json.loads(run_python(copy, ["-c", code], workspace)))


def test_the_added_entries_are_valid_parameters(followed: dict[str, Any]) -> None:
    assert followed["architecture"] == "my_net"
    assert followed["brightness"] == 0.1


def test_the_added_metric_has_an_interval(followed: dict[str, Any]) -> None:
    low, value, high = followed["youden"]
    assert value == pytest.approx(followed["rates"] - 1)
    assert low < value < high


@pytest.mark.parametrize(("unit", "labels"), [("lesion", [0, 0, 1]), ("image", [0, 0, 1]), ("breast", [0, 1])])
def test_the_added_data_set_accounts_for_every_row(followed: dict[str, Any], unit: str, labels: list[int]) -> None:
    assert followed["cases"][unit] == labels
    assert followed["excluded"][unit] == ["unknown pathology 'UNCLEAR'"]


def test_the_added_stage_runs(followed: dict[str, Any]) -> None:
    assert followed["counts"] == {"test": 1, "train": 2}
