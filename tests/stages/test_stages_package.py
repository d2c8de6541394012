"""The package of the stages: what it does before and after a stage's imports."""

import gc
import importlib
import sys

import pytest

import stages


def test_a_stage_imports_without_looking_for_garbage_and_runs_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["-m"])
    enabled: list[bool] = []
    try:
        importlib.reload(stages)
        enabled.append(gc.isenabled())
        stages.run(lambda: enabled.append(gc.isenabled()))
    finally:
        gc.enable()
    assert enabled == [False, True]


def test_who_imports_a_stage_keeps_its_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["pytest"])
    importlib.reload(stages)
    assert gc.isenabled()
