"""Where a run came from can be had back: commit, patch and dvc.lock."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from mammo.tracking import provenance


def git(*words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    return subprocess.run(["git", *identity, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A commit with parameters, a lock and a metric, as the current folder."""
    for variable in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(variable, raising=False)
    root = tmp_path / "repository"
    (root / "metrics").mkdir(parents=True)
    monkeypatch.chdir(root)
    for name in ("params.yaml", "dvc.lock", "metrics/evaluation.json"):
        Path(name).write_text("a: 1\n")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "x")
    provenance.changes.cache_clear()
    yield root
    provenance.changes.cache_clear()


def patch() -> bytes:
    changes = provenance.changes()
    assert changes is not None
    assert changes.patch is not None
    return changes.patch


def objects(root: Path) -> int:
    return len([path for path in (root / ".git" / "objects").rglob("*") if path.is_file()])


def test_a_clean_workspace_has_an_empty_patch(repository):
    assert patch() == b""
    tags = provenance.tags()
    assert (tags["git.dirty"], tags["git.patch"], tags["git.untracked"]) == ("false", "none", "0")
    assert tags["git.commit"] == git("rev-parse", "HEAD").strip()


def test_the_patch_makes_code_and_parameters_from_their_commit(repository, tmp_path):
    new_code = "src/mammo/models/new.py"
    Path("params.yaml").write_text("a: 2\n")
    Path(new_code).parent.mkdir(parents=True)
    Path(new_code).write_text("new = True\n")
    Path("scan.png").write_bytes(bytes(range(256)))  # tracked from here on
    git("add", "scan.png")
    status = git("status", "--porcelain")
    before = objects(repository)
    change = patch()
    assert provenance.tags()["git.dirty"] == "true"
    assert git("status", "--porcelain") == status  # the user's own index is as it was
    assert objects(repository) == before
    git("worktree", "add", "--quiet", "--detach", str(tmp_path / "copy"))
    subprocess.run(["git", "apply"], cwd=tmp_path / "copy", input=change, check=True)
    for name in ("params.yaml", new_code, "scan.png"):
        assert (tmp_path / "copy" / name).read_bytes() == Path(name).read_bytes()


def test_of_what_git_does_not_track_the_number_alone_leaves_the_workspace(repository):
    secrets = (".env", "patient Meier.dcm", "src/.env", "src/film.png", "films/a.dcm", "films/b.dcm", "notes.py")
    for name in secrets:
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("TOKEN=of the test only")
    before = objects(repository)
    assert patch() == b""
    tags = provenance.tags()
    assert (tags["git.dirty"], tags["git.untracked"]) == ("false", "5")  # a folder without tracked files counts once
    assert not [name for name in (*secrets, "TOKEN") if name in str(tags)]
    assert objects(repository) == before


def test_what_can_show_films_or_hold_passwords_stays_here_also_where_git_tracks_it(repository):
    for name in (".dvc/config", "notebooks/a.ipynb", "docs/page.png"):
        Path(name).parent.mkdir()
        Path(name).write_text("a")
    git("add", "--all")
    git("commit", "--quiet", "--message", "y")
    for name in (".dvc/config", "notebooks/a.ipynb", "docs/page.png"):
        Path(name).write_text("a password or a film")
    assert patch() == b""


def test_many_large_untracked_files_cost_nothing(repository):
    Path("films").mkdir()
    for number in range(500):
        with Path(f"films/{number}.dcm").open("wb") as film:
            film.truncate(1_000_000)  # sparse; to hash them takes seconds
    before, times = objects(repository), []
    for _ in range(3):
        provenance.changes.cache_clear()
        start = time.perf_counter()
        assert patch() == b""
        times.append(time.perf_counter() - start)
    assert min(times) < 0.2
    assert objects(repository) == before


def test_what_the_pipeline_computes_is_no_change_of_the_workspace(repository):
    Path("dvc.lock").write_text("a: 2\n")
    Path("metrics/evaluation.json").write_text("{}")
    assert patch() == b""


def test_a_patch_too_large_for_code_is_named_and_not_kept(repository, monkeypatch, caplog):
    monkeypatch.setattr(provenance, "LARGEST_PATCH", 100)
    Path("params.yaml").write_text("x" * 1000)
    changes = provenance.changes()
    assert changes is not None
    assert changes.patch is None
    tags = provenance.tags()
    assert (tags["git.dirty"], tags["git.patch"]) == ("true", f"too large ({changes.size} bytes)")
    (message,) = caplog.messages
    assert "too large to be kept" in message
    assert "Commit them first" in message


def test_without_git_there_is_neither_commit_nor_patch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)
    provenance.changes.cache_clear()
    assert (provenance.commit(), provenance.changes()) == ("none", None)
    assert provenance.tags()["git.dirty"] == "unknown"
    provenance.changes.cache_clear()


def test_the_hash_of_the_lock_hangs_on_every_stage_but_publish(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert provenance.lock_hash() is None

    def locked(train: str, publish: str) -> str | None:
        stages = {"train": {"outs": train}, "publish": {"outs": publish}}
        Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
        return provenance.lock_hash()

    assert locked("a", "b") == locked("a", "c") != locked("d", "c")
