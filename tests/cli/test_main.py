"""`python -m mammo`: what it prints, and how it refuses."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import imports
import pandas as pd
import pytest

from mammo.cli import main
from mammo.reporting import result_tables, results
from mammo.reporting.comparison import read_comparison


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with this repository's parameters, profiles and results, as a run leaves them."""
    shutil.copy(imports.ROOT / "params.yaml", tmp_path)
    for folder in ("profiles", "metrics"):
        shutil.copytree(imports.ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def test_the_summary_shows_every_row_and_where_to_look(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["summary"])
    printed = capsys.readouterr().out
    comparison = read_comparison()
    assert all(name in printed for name in comparison["model"])
    assert f"{comparison['auc'].iloc[0]:.3f}" in printed
    assert "data/report/report.html" in printed
    assert max(map(len, printed.split("\nTry it")[0].splitlines())) <= 80, "a terminal"


def test_without_a_run_there_is_nothing_to_show(workspace: Path) -> None:
    shutil.rmtree(workspace / "metrics")
    for words in (["summary"], ["results", "mine"]):
        with pytest.raises(SystemExit, match=r"metrics/comparison\.csv does not exist; run `dvc repro`"):
            main.main(words)


def test_an_unknown_profile_is_refused_with_the_others(workspace: Path) -> None:
    with pytest.raises(SystemExit, match=r"unknown profile 'nope'.*cbis-ddsm-mass"):
        main.main(["profile", "nope"])


@pytest.fixture
def reported(workspace: Path) -> Path:
    """The workspace with the files of its reports that pages of results show."""
    (workspace / "data/report/figures").mkdir(parents=True)
    for figure in ("roc", "auc"):
        (workspace / f"data/report/figures/{figure}.png").write_bytes(b"png")
    (workspace / "data/data_report").mkdir()
    (workspace / "data/data_report/data.md").write_text("## Counts\n")
    return workspace


def test_results_become_a_page_and_the_readme_table(reported: Path) -> None:
    (reported / "README.md").write_text("before\n<!-- results: mine -->\nstale\n<!-- /results -->\nafter\n")
    main.main(["results", "mine"])
    lines = (reported / "docs/results/mine.csv").read_text().splitlines()
    assert lines[0].startswith(",".join(results.COLUMNS))
    assert len(lines) == 1 + len(read_comparison())
    page = (reported / "docs/results/mine.md").read_text()
    assert "```\ndvc repro\n```" in page, "mine is no profile: its command would fail"
    assert "![AUC of every row" in page and (reported / "docs/results/mine-auc.png").is_file()
    assert "## Counts" in (reported / "docs/data/mine.md").read_text()
    readme = (reported / "README.md").read_text()
    assert readme.startswith("before\n<!-- results: mine -->\n\nOfficial test: ")
    assert "| model | AUC | sensitivity | specificity |" in readme
    assert readme.endswith("<!-- /results -->\nafter\n")
    assert "stale" not in readme


def test_results_of_a_profile_may_have_another_name(reported: Path) -> None:
    main.main(["results", "closed", "--profile", "cbis-ddsm-mass"])
    page = (reported / "docs/results/closed.md").read_text()
    assert "python -m mammo profile cbis-ddsm-mass && dvc repro" in page
    assert (reported / "docs/data/cbis-ddsm-mass.md").is_file()
    assert not (reported / "docs/data/closed.md").exists()
    with pytest.raises(SystemExit, match=r"--profile nope.*there are: .*cbis-ddsm-mass"):
        main.main(["results", "closed", "--profile", "nope"])


def test_the_block_of_readme_chooses_its_rows(workspace: Path) -> None:
    block = "<!-- results: mine: light_cnn baseline_birads -->\nstale\n<!-- /results -->\n"
    (workspace / "README.md").write_text(block)
    results._update_readme("mine", read_comparison())
    lines = (workspace / "README.md").read_text().splitlines()
    assert lines[0] == block.splitlines()[0]
    rows = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    assert rows == ["| model", "| baseline_birads", "| light_cnn"], "sorted by AUC"


def test_the_readme_shows_the_committed_results() -> None:
    text = (imports.ROOT / "README.md").read_text()
    table = text.split("<!-- results: cbis-ddsm-mass: ")[1].split("<!-- /results -->")[0]
    shown = [line.split(" | ")[0].strip("| ") for line in table.splitlines() if line.startswith("| ")][1:]
    committed = pd.read_csv(imports.ROOT / "docs/results/cbis-ddsm-mass.csv")
    assert 1 < len(shown) <= 6
    by_auc = committed.sort_values("auc", ascending=False, kind="stable")["model"]
    assert shown == [name for name in by_auc if name in shown]
    assert table.split("-->")[1].strip() == result_tables.render_tables(committed, shown).strip()


def test_the_ui_serves_the_store_of_the_workspace(
    workspace: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(empty_store, workspace / "mlflow.db")
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execvp", lambda program, words: started.append(words))
    main.main(["ui", "--port", "5055"])
    address = "http://127.0.0.1:5055/#/experiments/1/runs?viewStateShareKey="
    assert address in capsys.readouterr().out
    assert f"sqlite:///{workspace / 'mlflow.db'}" in started[0]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nope"],
        ["predict", "--model", "x"],
        ["predict", "a.png"],
        ["predict", "a.png", "--model", "x", "--box", "1,2,3"],
        ["predict", "a.png", "--model", "x", "--box", "1,2,3,4", "--boxes", "b.csv"],
        ["predict", "a.png", "--model", "x", "--workers", "0"],
        ["predict", "a.png", "--model", "x", "--pairs", "p.csv"],
        ["compare", "--format", "xml"],
        ["data"],
        ["data", "mend"],
        ["search"],
        ["export", "x"],
        ["clean"],
        ["clean", "--keep", "tagged", "--yes", "--dry-run"],
        ["runs"],
        ["runs", "pack"],
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main.main(words)
    assert error.value.code == 2


BAD_INPUT = pytest.mark.parametrize(
    "words",
    [
        ["predict", "a.png", "--model", "nobody"],
        ["export", "nobody", "--out", "x"],
        ["compare", "nobody"],
        ["report"],
        ["data", "check"],
        ["data", "describe"],
        ["search", "nobody"],
        ["profile", "nope"],
    ],
)


@BAD_INPUT
def test_bad_input_is_one_message(workspace: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Python turns a text as exit code into that text on standard error, and exit code 1."""
    with pytest.raises(SystemExit) as error:
        main.main(words)
    assert str(error.value.code).startswith("error: ")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [["compare", "nobody"]])
def test_bad_input_is_exit_code_1_and_one_message(workspace: Path, words: list[str]) -> None:
    """As a shell sees it."""
    environment = os.environ | {"PYTHONPATH": f"{imports.ROOT / 'src'}{os.pathsep}{imports.ROOT}"}
    done = subprocess.run([sys.executable, "-m", "mammo", *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_every_help_page_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("plan", "experiments", "compare", "report", "runs", "clean"):
        with pytest.raises(SystemExit):
            main.main([command, "--help"])
        printed = capsys.readouterr().out
        assert max(map(len, printed.splitlines())) <= 80, command
        assert "examples:\n  python -m mammo" in printed


def test_every_file_with_a_command_is_registered() -> None:
    files = {path for path in (imports.ROOT / "src/mammo/cli").glob("*.py") if "def add_parser" in path.read_text()}
    assert {Path(str(command.__file__)) for command in main.COMMANDS} == files


def test_help_and_refusals_import_neither_keras_nor_mlflow() -> None:
    code = (
        "import sys\nfrom mammo.cli import main\n"
        "for words in (['--help'], ['predict', '--help'], ['predict'], ['export', 'x']):\n"
        "    try:\n        main.main(words)\n    except SystemExit:\n        pass\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'jax', 'torch', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = os.environ | {"PYTHONPATH": str(imports.ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands by name."""
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(subparsers.choices)


@pytest.mark.parametrize("name", commands(main.build_parser()))
def test_the_help_of_a_command_ends_with_examples_that_it_understands(name: str) -> None:
    _, _, examples = commands(main.build_parser())[name].format_help().partition("examples:\n")
    lines = [line.strip() for line in examples.splitlines() if line.strip().startswith("python -m mammo")]
    assert lines
    for line in lines:
        command = re.split(r" && | > | \| |  +", line)[0]
        words = shlex.split(command)[3:]
        assert words[0] == name
        main.build_parser().parse_args(words)
