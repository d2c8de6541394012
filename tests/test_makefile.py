"""What make says on a machine that lacks something."""

import subprocess
from pathlib import Path

import imports
import pytest


def make_environment(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Ask for the environment's Python below `folder`."""
    words = ["make", f"PYTHON={python}", f"VENV={folder / 'venv'}", f"{folder / 'venv'}/bin/python"]
    return subprocess.run(words, cwd=imports.ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def without_ensurepip(tmp_path: Path) -> str:
    """A Python as Debian has it before python3-venv is installed."""
    path = tmp_path / "python3"
    path.write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec python3 "$@"\n')
    path.chmod(0o755)
    return str(path)


def test_a_python_that_makes_no_environment_names_the_missing_package(tmp_path: Path, without_ensurepip: str) -> None:
    ended = make_environment(tmp_path, without_ensurepip)
    assert ended.returncode != 0
    assert "apt install python3." in ended.stderr and "-venv" in ended.stderr
    assert not (tmp_path / "venv").exists(), "half an environment would count as made"


def test_a_machine_without_python_is_told_what_to_install(tmp_path: Path) -> None:
    ended = make_environment(tmp_path, "")
    assert ended.returncode != 0
    assert "there is no python3.11; on Debian and Ubuntu: apt install python3.11-venv" in ended.stderr
