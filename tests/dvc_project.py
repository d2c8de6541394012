"""A tiny DVC project in git with two real stages that `cp` and `printf` run, for tests of what is read from DVC."""

import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

DVC_YAML = """stages:
  prepare:
    cmd: mkdir -p data && cp raw.csv data/table.csv
    deps: [raw.csv, src/tables]
    outs: [data/table.csv]
  fit:
    cmd: mkdir -p data/model && cp data/table.csv data/model/weights && cp params.yaml metrics.yaml
    params: [rate, net]
    deps: [data/table.csv]
    outs: [data/model]
    metrics: [metrics.yaml: {cache: false}]
  publish:
    cmd: "true"
    always_changed: true
    deps: [data/model]
"""
FILES = {
    ".gitignore": "/mlflow.db\n/mlartifacts\n",
    "dvc.yaml": DVC_YAML,
    "params.yaml": "rate: 3\nnet: {depth: 2, width: 8}\n",
    "raw.csv": "a\n1\n",
    "src/tables/read.py": "COLUMNS = ['a']\n",
    "src/tables/write.py": "",
}


def git(*words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(message: str = "change") -> str:
    """Commit everything; return the commit."""
    git("add", "--all")
    git("commit", "--quiet", "--allow-empty", "--message", message)
    return git("rev-parse", "HEAD")


def repro() -> None:
    with Repo() as repo:
        repo.reproduce()


def make(root: Path) -> None:
    """Write the project to `root`, run it, and commit everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(root.with_name("site")))
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        patch.chdir(root)
        git("init", "--quiet")
        git("config", "user.name", "a")
        git("config", "user.email", "a@example.org")
        Repo.init().close()
        commit("code")
        repro()
        commit("dvc.lock")
