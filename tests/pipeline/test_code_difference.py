"""`mammo compare A B --code`: commits with the patches of their runs."""

import json
import subprocess
from pathlib import Path

import pytest
from dvc_project import commit, git

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.pipeline.code_difference import compare_code
from mammo.tracking import publishing
from mammo.tracking.publishing import Origin

CLEAN, DIRTY, LOST = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a clean run, one with changes beside the same commit, and one whose changes are lost."""
    root = tmp_path / "repository"
    (root / "src").mkdir(parents=True)
    monkeypatch.chdir(root)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    Path("src/train.py").write_text("RATE = 1\n")
    Path("params.yaml").write_text("epochs: 1\n")
    git("init", "--quiet")
    first = commit()
    Path("src/train.py").write_text("RATE = 2\n")
    Path("src/new.py").write_text("NEW = '\x1b[31m'\n")
    git("add", "--all")
    (tmp_path / "workspace.patch").write_text(git("diff", "--binary", "HEAD") + "\n")
    git("reset", "--quiet", "--hard")
    tags = {"git.commit": first, "git.dirty": "true"}
    origins = {
        CLEAN: Origin(CLEAN, tags | {"git.dirty": "false"}, None, []),
        DIRTY: Origin(DIRTY, tags, tmp_path / "workspace.patch", []),
        LOST: Origin(LOST, tags | {"git.patch": "too large (3000000 bytes)"}, None, []),
    }
    monkeypatch.setattr(publishing, "find_origin", origins.__getitem__)
    return root


def objects(root: Path) -> int:
    return len([path for path in (root / ".git").rglob("*") if path.is_file()])


def test_changes_beside_the_commit_are_code_of_the_run(runs):
    before = objects(runs)
    difference = compare_code(CLEAN, DIRTY, runs)
    assert "-RATE = 1\n+RATE = 2\n" in difference
    assert "+++ b/src/new.py" in difference
    assert "-RATE = 2\n+RATE = 1\n" in compare_code(DIRTY, CLEAN, runs)
    assert compare_code(DIRTY, DIRTY, runs) == ""
    assert objects(runs) == before
    assert git("status", "--porcelain") == ""


def test_a_difference_turns_one_code_into_the_other(runs, tmp_path):
    difference = compare_code(CLEAN, DIRTY, runs)
    subprocess.run(["git", "apply"], input=difference, text=True, check=True)
    assert Path("src/train.py").read_text() == "RATE = 2\n"
    assert Path("src/new.py").is_file()


def test_commits_and_experiments_stand_for_runs_and_results_are_no_code(runs):
    Path("params.yaml").write_text("epochs: 2\n")
    Path("dvc.lock").write_text("changed")
    second = commit()
    git("update-ref", "refs/exps/ab/abcdef/my-exp", second)
    git("reset", "--quiet", "--hard", "HEAD~1")
    difference = compare_code(CLEAN, "my-exp", runs)
    assert "-epochs: 1\n+epochs: 2\n" in difference
    assert "dvc.lock" not in difference
    assert compare_code("HEAD", second, runs) == difference


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (LOST, "its changes are too large"),
        ("nope", "nope is no run .*, commit or experiment"),
        ("--output=x", "--output=x is no run"),
    ],
)
def test_what_is_not_known_is_refused(runs, name, message):
    with pytest.raises(InputError, match=message):
        compare_code(CLEAN, name, runs)


def test_a_commit_that_is_not_here_and_a_patch_that_does_not_fit_are_refused(runs, monkeypatch):
    elsewhere = Origin(DIRTY, {"git.commit": "0" * 40, "git.dirty": "false"}, None, [])
    monkeypatch.setattr(publishing, "find_origin", lambda run_id: elsewhere)
    with pytest.raises(
        InputError, match=r"run b+ was made from the commit 0+, which is not here; `git fetch` it first"
    ):
        compare_code(DIRTY, "HEAD", runs)
    wrong = runs.parent / "wrong.patch"
    wrong.write_text("--- a/gone.py\n+++ b/gone.py\n@@ -1 +1 @@\n-a\n+b\n")
    unfit = Origin(DIRTY, {"git.commit": git("rev-parse", "HEAD"), "git.dirty": "true"}, wrong, [])
    monkeypatch.setattr(publishing, "find_origin", lambda run_id: unfit)
    with pytest.raises(InputError, match="do not fit its commit"):
        compare_code(DIRTY, "HEAD", runs)


def test_the_command_prints_a_diff_that_steers_no_terminal(runs, capsys):
    main.main(["compare", CLEAN, DIRTY, "--code"])
    printed = capsys.readouterr().out
    assert "+RATE = 2" in printed.splitlines()
    assert r"NEW = '\x1b[31m'" in printed
    main.main(["compare", CLEAN, CLEAN, "--code"])
    assert "the same code" in capsys.readouterr().out
    main.main(["compare", CLEAN, DIRTY, "--code", "--json"])
    assert "\x1b" in json.loads(capsys.readouterr().out)["difference"]
    main.main(["compare", CLEAN, DIRTY, "--code", "--out", "code.txt"])
    assert "+RATE = 2" in Path("code.txt").read_text()
    for words in ([CLEAN], [CLEAN, DIRTY, "--sort", "auc"], [CLEAN, DIRTY, "--format", "csv"]):
        with pytest.raises(SystemExit, match="--code takes two runs"):
            main.main(["compare", *words, "--code"])
