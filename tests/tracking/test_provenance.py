"""Where a run came from can be had back: commit, patch and dvc.lock."""

import json
import subprocess
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
    provenance.patch.cache_clear()
    yield root
    provenance.patch.cache_clear()


def test_a_clean_workspace_has_an_empty_patch(repository):
    assert provenance.patch() == b""
    assert provenance.tags()["git.dirty"] == "false"
    assert provenance.tags()["git.commit"] == git("rev-parse", "HEAD").strip()


def test_the_patch_makes_the_workspace_from_its_commit(repository, tmp_path):
    Path("params.yaml").write_text("a: 2\n")
    Path("model.py").write_text("new = True\n")
    Path("scan.png").write_bytes(bytes(range(256)))
    status = git("status", "--porcelain")
    change = provenance.patch()
    assert provenance.tags()["git.dirty"] == "true"
    assert git("status", "--porcelain") == status  # the user's own index is as it was
    git("worktree", "add", "--quiet", "--detach", str(tmp_path / "copy"))
    subprocess.run(["git", "apply"], cwd=tmp_path / "copy", input=change, check=True)
    for name in ("params.yaml", "model.py", "scan.png"):
        assert (tmp_path / "copy" / name).read_bytes() == Path(name).read_bytes()


def test_what_the_pipeline_computes_is_no_change_of_the_workspace(repository):
    Path("dvc.lock").write_text("a: 2\n")
    Path("metrics/evaluation.json").write_text("{}")
    assert provenance.patch() == b""


def test_a_patch_too_large_for_code_is_not_kept(repository, monkeypatch):
    monkeypatch.setattr(provenance, "LARGEST_PATCH", 100)
    Path("dump.txt").write_text("x" * 1000)
    assert provenance.patch() is None
    assert provenance.tags()["git.dirty"] == "unknown"


def test_without_git_there_is_neither_commit_nor_patch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.delenv("DVC_EXP_BASELINE_REV", raising=False)
    provenance.patch.cache_clear()
    assert (provenance.commit(), provenance.patch()) == ("none", None)
    provenance.patch.cache_clear()


def test_the_hash_of_the_lock_hangs_on_every_stage_but_publish(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert provenance.lock_hash() is None

    def locked(train: str, publish: str) -> str | None:
        stages = {"train": {"outs": train}, "publish": {"outs": publish}}
        Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
        return provenance.lock_hash()

    assert locked("a", "b") == locked("a", "c") != locked("d", "c")
