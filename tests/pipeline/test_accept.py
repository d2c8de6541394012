"""`mammo accept` on a real, tiny DVC project: two data stages, a group of trainings, a stage that always runs."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo

from mammo.core.errors import InputError
from mammo.pipeline import accept as module
from mammo.pipeline.accept import Reason, Result, accept
from mammo.pipeline.code_history import History, hash_like_dvc, md5

PIPELINE = """
stages:
  prepare:
    cmd: {python} stages/prepare.py
    deps: [data/raw.csv, src/tables.py, stages/prepare.py]
    outs: [data/prepared.csv]
  train:
    foreach: ${{models}}
    do:
      cmd: {python} stages/train.py ${{key}}
      params: [rate, 'models.${{key}}']
      deps: [data/prepared.csv, src/network, stages/train.py]
      outs: ['data/${{key}}.txt']
      metrics: [{{'data/${{key}}.json': {{cache: false}}}}]
  publish:
    cmd: {python} stages/publish.py
    always_changed: true
    deps: [data/small.txt, src/network]
"""
RUN = """
import os, sys, pathlib
with open(os.environ["RUNS"], "a") as runs:
    print(*sys.argv, file=runs)
for name in {outs}:
    pathlib.Path("data", name).write_text("1")
"""
MODEL = '''"""A network."""

RATE = 3


def build(size, depth=2):
    """Build it."""
    return size * depth  # layers
'''
FILES = {
    ".dvcignore": "__pycache__\n.gitignore\n*.unfinished\n",
    ".gitignore": "__pycache__\n*.unfinished\n",
    "dvc.yaml": PIPELINE.format(python=sys.executable),
    "params.yaml": "rate: 3\nmodels:\n  small: {size: 1}\n  large: {size: 2}\n",
    "data/raw.csv": "a\n1\n",
    "src/tables.py": "COLUMNS = ['a']\n",
    "src/network/__init__.py": "",
    "src/network/model.py": MODEL,
    "src/network/.gitignore": "*.h5\n",  # DVC ignores it, git does not
    "src/network/page.html": "<p>\n",
    "src/network/layers/norm.py": "EPSILON = 1e-3\n",
    "stages/prepare.py": RUN.format(outs='["prepared.csv"]'),
    "stages/train.py": RUN.format(outs='[f"{sys.argv[1]}.txt", f"{sys.argv[1]}.json"]'),
    "stages/publish.py": RUN.format(outs="[]"),
}
MODEL_PATH = "src/network/model.py"
TRAININGS = ["train@large", "train@small"]


def git(*words: str, folder: str | Path = ".") -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(message: str = "change") -> None:
    git("add", "-A")
    git("commit", "-qm", message, "--allow-empty")


def edit(path: str, change: Callable[[str], str]) -> None:
    file = Path(path)
    file.write_text(change(file.read_text()))


def comment(path: str = MODEL_PATH) -> None:
    edit(path, lambda text: f"{text}# a comment\n")


def replace(path: str, old: str, new: str) -> None:
    assert old in Path(path).read_text()
    edit(path, lambda text: text.replace(old, new))


def status() -> dict[str, Any]:
    with Repo() as repo:
        return {stage: state for stage, state in repo.status().items() if stage != "publish"}


def lock() -> dict[str, Any]:
    return yaml.safe_load(Path("dvc.lock").read_text())["stages"]


def names(verdicts: Any) -> list[str]:
    return sorted(verdict.stage for verdict in verdicts)


def reasons(result: Result, stage: str) -> list[Reason]:
    return [reason for verdict in result.refused for reason in verdict.reasons if verdict.stage == stage]


def repro() -> None:
    with Repo() as repo:
        repo.reproduce()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after `dvc repro`, everything committed; copy it before changing it."""
    root = tmp_path_factory.mktemp("prepared") / "project"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("site")))
        patch.setenv("RUNS", str(root.parent / "runs"))
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        patch.chdir(root)
        git("init", "-q")
        Repo.init().close()
        commit("code")
        repro()
        commit("dvc.lock")
    return root


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the prepared project, and the current folder; RUNS lists the commands that ran in it."""
    root = tmp_path / "project"
    shutil.copytree(prepared, root, symlinks=True)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(root)
    return root


def outputs() -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in Path("data").iterdir()}


def test_a_comment_is_accepted_and_only_the_hashes_of_the_code_change(project: Path, tmp_path: Path):
    before, files = lock(), outputs()
    comment()
    assert sorted(status()) == TRAININGS
    result = accept()
    assert names(result.accepted) == TRAININGS
    assert [verdict.dependencies for verdict in result.accepted] == 2 * [("src/network",)]
    assert (result.refused, result.up_to_date) == ((), 1)
    assert status() == {}
    assert outputs() == files
    assert not (tmp_path / "runs").exists()

    after = lock()
    for name in TRAININGS:
        (old,), (new,) = (
            [dep for dep in stages[name]["deps"] if dep["path"] == "src/network"] for stages in (before, after)
        )
        assert old["md5"] != new["md5"]
        assert (old["nfiles"], new["nfiles"], new["hash"]) == (4, 4, "md5")
        old.update(new)
    assert before == after


def test_dvc_says_nothing_on_standard_output(project: Path):
    """The result goes there. DVC's handlers of lesser messages write to the standard output of its first import."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger("dvc").addHandler(handler)
    comment()
    accept()
    logging.getLogger("dvc").removeHandler(handler)
    assert records == []


def test_nothing_runs_after_it(project: Path, tmp_path: Path):
    comment()
    comment("src/tables.py")
    assert names(accept().accepted) == ["prepare", *TRAININGS]
    repro()
    assert (tmp_path / "runs").read_text().splitlines() == ["stages/publish.py"]


def test_the_run_cache_knows_an_accepted_stage(project: Path, tmp_path: Path):
    """Another parameter and back again: the accepted code needs no run for the first value."""
    comment("src/tables.py")
    accept()
    Path("data/raw.csv").write_text("b\n")
    repro()
    Path("data/raw.csv").write_text(FILES["data/raw.csv"])
    repro()
    runs = (tmp_path / "runs").read_text().splitlines()
    assert runs == ["stages/prepare.py", *2 * ["stages/publish.py"]]


def test_a_real_edit_is_refused_with_its_line(project: Path):
    before = Path("dvc.lock").read_bytes()
    edit(MODEL_PATH, lambda text: "# first\n" + text.replace("depth=2", "depth=3"))
    result = accept()
    assert names(result.refused) == TRAININGS
    message = "`def build(size, depth=3):`, was `def build(size, depth=2):`"
    assert reasons(result, "train@small") == [Reason(MODEL_PATH, message, 7)]
    assert Path("dvc.lock").read_bytes() == before
    assert sorted(status()) == TRAININGS


def test_stages_are_judged_one_by_one(project: Path):
    before = lock()
    comment("src/tables.py")
    replace(MODEL_PATH, "RATE = 3", "RATE = 4")
    result = accept()
    assert (names(result.accepted), names(result.refused)) == (["prepare"], TRAININGS)
    assert sorted(status()) == TRAININGS
    assert {name: lock()[name] for name in TRAININGS} == {name: before[name] for name in TRAININGS}


def test_one_bad_file_refuses_a_stage_with_harmless_ones(project: Path):
    comment("stages/train.py")
    replace("src/network/layers/norm.py", "1e-3", "1e-4")
    result = accept()
    assert names(result.accepted) == []
    assert [(reason.path, reason.line) for reason in reasons(result, "train@small")] == [
        ("src/network/layers/norm.py", 1)
    ]
    assert sorted(status()) == TRAININGS


def test_a_parameter_of_one_model_refuses_that_model_alone(project: Path):
    comment()
    replace("params.yaml", "size: 1", "size: 5")
    result = accept()
    assert names(result.accepted) == ["train@large"]
    assert reasons(result, "train@small") == [Reason("params.yaml", "parameter models.small is modified")]
    assert list(status()) == ["train@small"]


def test_changed_data_refuse(project: Path):
    comment("src/tables.py")
    Path("data/raw.csv").write_text("a\n2\n")
    assert reasons(accept(), "prepare") == [Reason("data/raw.csv", "input is modified")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "output is deleted"),
        (lambda path: (path.chmod(0o644), path.write_text("2")), "output is modified"),
    ],
)
def test_a_missing_or_changed_output_refuses(project: Path, change: Callable[[Path], None], message: str):
    comment()
    change(Path("data/small.txt"))
    result = accept()
    assert names(result.accepted) == ["train@large"]
    assert reasons(result, "train@small") == [Reason("data/small.txt", message)]


def test_an_output_that_is_not_in_the_cache_refuses(project: Path):
    comment("src/tables.py")
    shutil.rmtree(".dvc/cache/files")
    assert reasons(accept(["prepare"]), "prepare") == [Reason("data/prepared.csv", "output is not in cache")]


def test_a_changed_command_refuses(project: Path):
    comment("src/tables.py")
    replace("dvc.yaml", "stages/prepare.py\n", "stages/prepare.py --fast\n")
    assert reasons(accept(["prepare"]), "prepare") == [Reason("dvc.yaml", "changed command")]


def test_a_dependency_that_dvc_yaml_gained_or_lost_refuses(project: Path):
    comment("src/tables.py")
    replace("dvc.yaml", "[data/raw.csv, src/tables.py", "[src/tables.py, src/network/model.py")
    found = {reason.path: reason.message for reason in reasons(accept(["prepare"]), "prepare")}
    assert found == {
        "data/raw.csv": "dvc.lock names it among deps, dvc.yaml no longer does",
        MODEL_PATH: "dvc.lock does not name it; run `dvc repro prepare`",
    }


def test_blank_files_may_come_and_go(project: Path):
    Path("src/network/layers/__init__.py").write_text('"""Layers."""\n')
    Path("src/network/__init__.py").unlink()
    assert names(accept().accepted) == TRAININGS
    assert status() == {}


def test_files_with_code_may_not_come_or_go(project: Path):
    Path("src/network/new.py").write_text("# new\nx = 1\n")
    Path("src/network/layers/norm.py").unlink()
    assert reasons(accept(), "train@small") == [
        Reason("src/network/layers/norm.py", "was removed, and is not blank"),
        Reason("src/network/new.py", "was added, and is not blank", 2),
    ]


def test_a_removed_dependency_refuses(project: Path):
    Path("src/tables.py").unlink()
    assert reasons(accept(), "prepare") == [Reason("src/tables.py", "input is deleted")]


def test_files_that_are_not_python_must_be_equal(project: Path):
    Path("src/network/page.html").write_text("<p> \n")
    Path("src/network/style.css").write_text("")
    assert reasons(accept(), "train@small") == [
        Reason("src/network/page.html", "changed, and is not Python"),
        Reason("src/network/style.css", "was added, and is not Python"),
    ]


def test_a_syntax_error_refuses(project: Path):
    Path("src/tables.py").write_text("x = (\n")
    (reason,) = reasons(accept(), "prepare")
    assert (reason.path, reason.line) == ("src/tables.py", 1)
    assert reason.message.startswith("is not valid Python")


def test_docstrings_count_where_another_module_of_the_stage_reads_them(project: Path):
    edit("stages/train.py", lambda text: text + "print(sys.__doc__)\n")
    repro()
    commit()
    replace(MODEL_PATH, "Build it.", "Build the network.")
    assert [(reason.path, reason.line) for reason in reasons(accept(), "train@small")] == [(MODEL_PATH, 7)]


def test_twice_in_a_row(project: Path):
    comment()
    accept()
    before = Path("dvc.lock").read_bytes()
    assert accept() == Result((), (), 3)
    assert Path("dvc.lock").read_bytes() == before


def test_accepted_code_need_not_be_committed_first_but_then_it_must(project: Path):
    """Accepted from the working tree: dvc.lock names a version that git holds once it is committed."""
    comment()
    accept()
    comment()
    message = "no commit holds the version that dvc.lock names; run `dvc repro train@small`"
    assert reasons(accept(), "train@small") == [Reason("src/network", message)]
    edit(MODEL_PATH, lambda text: text.removesuffix("# a comment\n"))
    commit()
    comment()
    assert names(accept().accepted) == TRAININGS


def test_a_dry_run_writes_nothing(project: Path):
    comment()
    edit("stages/prepare.py", lambda text: text + "x = 1\n")
    before = Path("dvc.lock").read_bytes()
    runs = sorted(Path(".dvc/cache/runs").rglob("*"))
    result = accept(dry_run=True)
    assert (names(result.accepted), names(result.refused)) == (TRAININGS, ["prepare"])
    assert Path("dvc.lock").read_bytes() == before
    assert sorted(Path(".dvc/cache/runs").rglob("*")) == runs
    assert sorted(status()) == ["prepare", *TRAININGS]


def test_named_stages_and_groups(project: Path):
    comment()
    comment("src/tables.py")
    assert names(accept(["train@small"]).accepted) == ["train@small"]
    assert sorted(status()) == ["prepare", "train@large"]
    result = accept(["train", "train@small"])
    assert (names(result.accepted), result.up_to_date) == (["train@large"], 1)
    assert list(status()) == ["prepare"]
    with pytest.raises(InputError, match="nonesuch"):
        accept(["nonesuch"])


def test_edits_over_several_commits(project: Path):
    """The lock names a version many commits ago, some of which changed the code and took it back."""
    comment()
    commit()
    replace(MODEL_PATH, "RATE = 3", "RATE = 4")
    commit()
    replace(MODEL_PATH, "RATE = 4", "RATE = 3")
    commit()
    replace(MODEL_PATH, "(size, depth=2)", "(size: int, depth: int = 2) -> int")
    commit()
    Path("README.md").write_text("unrelated\n")
    commit()
    assert names(accept().accepted) == TRAININGS
    assert status() == {}


def test_a_version_on_another_branch(project: Path):
    git("checkout", "-qb", "side")
    comment("src/tables.py")
    commit()
    repro()
    commit()
    git("checkout", "-q", "-")
    git("checkout", "-q", "side", "--", "dvc.lock")
    assert names(accept().accepted) == ["prepare"]


def test_a_merged_version(project: Path):
    """A merge that takes the other side hides a branch from plain `git log`."""
    git("checkout", "-qb", "side")
    comment("src/tables.py")
    repro()
    commit()
    git("checkout", "-q", "-")
    comment()
    commit()
    git("merge", "-q", "-s", "ours", "side")
    git("checkout", "-q", "side", "--", "dvc.lock")
    git("branch", "-qD", "side")
    assert names(accept().accepted) == ["prepare", *TRAININGS]


def test_code_that_ran_uncommitted_is_refused(project: Path):
    replace("src/tables.py", "'a'", "'b'")
    repro()
    replace("src/tables.py", "'b'", "'c'")
    message = "no commit holds the version that dvc.lock names; run `dvc repro prepare`"
    assert reasons(accept(), "prepare") == [Reason("src/tables.py", message)]


def test_a_shallow_clone_says_so(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    comment("src/tables.py")
    commit()
    git("clone", "-q", "--depth", "1", f"file://{project}", "shallow", folder=tmp_path)
    monkeypatch.chdir(tmp_path / "shallow")
    shutil.copytree(project / ".dvc" / "cache", ".dvc/cache")
    with Repo() as repo:
        repo.checkout()
    assert "this clone is shallow: try `git fetch --unshallow`" in reasons(accept(["prepare"]), "prepare")[0].message


def test_ignored_files_do_not_count(project: Path):
    Path("src/network/__pycache__").mkdir()
    Path("src/network/__pycache__/model.cpython-311.pyc").write_bytes(b"\0")
    Path("src/network/x.py.unfinished").write_text("x")
    comment()
    assert names(accept().accepted) == TRAININGS


def test_a_stage_that_never_ran_is_refused(project: Path):
    replace("params.yaml", "small:", "tiny: {size: 0}\n  small:")
    assert reasons(accept(), "train@tiny") == [
        Reason("dvc.lock", "holds no run of this stage; run `dvc repro train@tiny`")
    ]


def test_a_frozen_stage_is_left_alone(project: Path):
    replace("dvc.yaml", "  prepare:\n", "  prepare:\n    frozen: true\n")
    replace("src/tables.py", "'a'", "'b'")
    assert accept() == Result((), (), 3)


def test_code_that_changes_while_it_is_compared_is_not_accepted(project: Path, monkeypatch: pytest.MonkeyPatch):
    comment()
    before = Path("dvc.lock").read_bytes()
    commit_ = module._Workspace.commit

    def late(self: Any, accepted: Any) -> None:
        replace(MODEL_PATH, "RATE = 3", "RATE = 4")
        commit_(self, accepted)

    monkeypatch.setattr(module._Workspace, "commit", late)
    with pytest.raises(InputError, match="changed while it was compared"):
        accept()
    assert Path("dvc.lock").read_bytes() == before


def test_no_lock_no_git_no_dvc(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Path("dvc.lock").unlink()
    with pytest.raises(InputError, match=r"has no dvc\.lock.*run `dvc repro`"):
        accept()
    shutil.rmtree(".git")
    with pytest.raises(InputError, match="is in no git repository"):
        accept()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is in no DVC project"):
        accept()


def test_another_process_holds_the_lock(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0)
    with Repo() as repo, repo.lock, pytest.raises(InputError, match="another DVC process works here"):
        accept()


def test_a_stage_that_runs_now(project: Path):
    """`dvc repro` hands its lock back while a command runs, and notes what that command writes."""
    busy = {str(project / "data" / "small.txt"): {"pid": os.getppid(), "cmd": "dvc repro"}}
    Path(".dvc/tmp/rwlock").write_text(json.dumps({"write": busy, "read": {}}))
    comment()
    with pytest.raises(InputError, match="another DVC process works here"):
        accept()


def test_a_subfolder(project: Path, monkeypatch: pytest.MonkeyPatch):
    comment()
    Path("data/raw.csv").write_text("a\n2\n")
    monkeypatch.chdir("src/network")
    result = accept()
    assert [verdict.dependencies for verdict in result.accepted] == 2 * [("src/network",)]
    assert result.refused[0].reasons == (Reason("data/raw.csv", "input is modified"),)
    monkeypatch.chdir(project)
    assert list(status()) == ["prepare"]


def test_a_project_below_the_root_of_the_repository(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    outer = tmp_path / "outer"
    outer.mkdir()
    shutil.rmtree(".git")
    shutil.move(project, outer / "a project")
    monkeypatch.chdir(outer)
    git("init", "-q")
    commit()
    monkeypatch.chdir(outer / "a project")
    comment()
    assert names(accept().accepted) == TRAININGS


def test_hashes_are_those_of_dvc(project: Path):
    with Repo() as repo, History(project, lambda path: path.endswith(".gitignore")) as history:
        for stage in repo.index.stages:
            for dependency in stage.deps:
                if str(dependency).startswith(("src", "stages")):
                    version = history.find(str(dependency), dependency.hash_info.value)
                    assert version is not None
                    md5s = {path: md5(content) for path, content in version.files.items()}
                    assert hash_like_dvc(md5s) == dependency.get_hash().value


def test_five_hundred_commits_take_less_than_five_seconds(project: Path):
    """The worst case: every commit changed the dependency, and none holds the version that is looked for."""
    base = git("rev-parse", "HEAD").strip()
    branch = git("symbolic-ref", "HEAD").strip()
    stream = [f"reset {branch}", f"from {base}", ""]
    for number in range(500):
        text = f"RATE = {number}\n"
        stream += [f"commit {branch}", f"committer a <a@example.org> {1_700_000_000 + number} +0000", "data 1", "c"]
        stream += [f"M 100644 inline {MODEL_PATH}", f"data {len(text)}", text]
    subprocess.run(["git", "fast-import", "--quiet", "--force"], input="\n".join(stream), check=True, text=True)
    started = time.perf_counter()
    with History(project, lambda path: path.endswith(".gitignore")) as history:
        assert history.find("src/network", 32 * "0" + ".dir") is None
        assert history.find("src/network", lock()["train@small"]["deps"][1]["md5"]) is not None
    assert time.perf_counter() - started < 5
