"""`python -m mammo report`: where the report is, whether it is up to date, and how it gets there."""

import json
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.core.files import write_text
from mammo.core.paths import DATA_REPORT_PAGE, MODEL_CARDS, REPORT_PAGE
from mammo.pipeline import dvc

STAGE = """stages:
  {name}:
    cmd: mkdir -p {folder} && cp made.txt {out}
    deps: [made.txt]
    outs: [{folder}]
"""
STATUS = {"train@light_cnn": [{"changed deps": {"params.yaml": {"seed": "modified"}}}], "report": ["changed command"]}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_text(tmp_path / REPORT_PAGE, "<html></html>")
    write_text(tmp_path / MODEL_CARDS / "light_cnn.md", "# card")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dvc_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What DVC is asked; it says that two stages would run again."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(dvc, "run_dvc", lambda *words, show=False: calls.append(words) or json.dumps(STATUS))
    return calls


def test_it_says_where_the_report_is_and_what_is_stale(workspace: Path, dvc_calls, capsys) -> None:
    main.main(["report"])
    place, stale, cure = capsys.readouterr().out.splitlines()
    assert place == str(workspace / REPORT_PAGE)
    assert "train@light_cnn, report would run again" in stale
    assert cure == "`python -m mammo report --update` brings it up to date"
    main.main(["report", "--json"])
    content = json.loads(capsys.readouterr().out)
    assert content["stale"] == list(STATUS)
    assert content["model_cards"] == ["data/report/model_cards/light_cnn.md"]
    assert {words[0] for words in dvc_calls} == {"status"}


def test_it_says_that_the_report_is_up_to_date(workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(dvc, "run_dvc", lambda *words, show=False: "{}")
    main.main(["report"])
    assert capsys.readouterr().out.splitlines() == [str(workspace / REPORT_PAGE), "it is up to date"]


def test_open_opens_it(workspace: Path, dvc_calls, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    main.main(["report", "--open"])
    assert opened == [(workspace / REPORT_PAGE).as_uri()]


def test_a_missing_report_is_an_error_with_its_cure(workspace: Path, dvc_calls) -> None:
    (workspace / REPORT_PAGE).unlink()
    with pytest.raises(SystemExit, match=r"error: data/report/report\.html does not exist; run `dvc repro report`"):
        main.main(["report"])


def test_outside_of_a_repository_dvc_is_quoted(workspace: Path) -> None:
    with pytest.raises(InputError, match=r"dvc status .* failed:\n(.|\n)*not inside of a DVC repository"):
        dvc.stale_stages("report")


@pytest.mark.slow
def test_update_makes_what_is_missing_and_what_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    outs = {"report": REPORT_PAGE, "data_report": DATA_REPORT_PAGE}
    stages = [STAGE.format(name=name, folder=out.parent, out=out) for name, out in outs.items()]
    (tmp_path / "dvc.yaml").write_text(stages[0] + stages[1].removeprefix("stages:\n"))
    (tmp_path / "made.txt").write_text("first")
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    with pytest.raises(SystemExit, match="does not exist"):
        main.main(["report"])
    main.main(["report", "--update"])
    assert REPORT_PAGE.read_text() == "first"
    (tmp_path / "made.txt").write_text("second")
    capfd.readouterr()
    main.main(["report"])
    assert "it is stale: " in capfd.readouterr().out
    main.main(["report", "--update", "--json"])
    assert json.loads(capfd.readouterr().out)["stale"] == []
    assert REPORT_PAGE.read_text() == "second"
