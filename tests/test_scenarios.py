"""docs/scenarios.md: its tests exist, and its table is that of tests/scenarios.py, all green."""

import ast
from pathlib import Path

import pytest

from tests import scenarios
from tests.scenarios import ALL, POSTGRESQL, SQLITE, Scenario

ROOT = Path(__file__).resolve().parent


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.title)
def test_every_test_of_a_scenario_exists(scenario: Scenario) -> None:
    for file, names in scenario.tests.items():
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert set(names) <= functions, file


def test_the_page_has_every_scenario_and_none_failed() -> None:
    page = scenarios.PAGE.read_text(encoding="utf-8")
    cells = scenarios.read_cells(page)
    assert scenarios.render(cells) == page
    states = {cell.split(" (")[0] for (title, _), cell in cells.items() if title != "scenario"}
    assert states <= {"passed", "-", "not run"}, cells


def test_a_failure_a_skip_and_a_lost_test_are_seen() -> None:
    scenario = Scenario("x", {"a.py": ("test_b", "test_c")})
    passed = {"a.py::test_b": ["passed"] * 2, "a.py::test_c": ["passed"]}
    assert scenarios._cell(scenario, SQLITE, passed) == "passed (3)"
    assert scenarios._cell(scenario, SQLITE, passed | {"a.py::test_c": ["passed", "failed"]}) == "failed (4)"
    assert scenarios._cell(scenario, SQLITE, passed | {"a.py::test_c": ["skipped"]}) == "skipped (3)"
    assert scenarios._cell(scenario, SQLITE, {}) == "not run (2)"
    assert scenarios._cell(Scenario("x", {}, (SQLITE,)), POSTGRESQL, {}) == "-"


def test_missing_chooses_what_was_not_run_on_that_store() -> None:
    cells = {(scenario.title, store): "passed (1)" for scenario in ALL for store in (SQLITE, POSTGRESQL)}
    cells[scenarios.GOOD[0].title, POSTGRESQL] = "not run (1)"
    assert scenarios.choose(SQLITE, cells, quick=False, missing=True) == []
    assert scenarios.choose(POSTGRESQL, cells, quick=False, missing=True) == [scenarios.GOOD[0]]
    assert scenarios.choose(POSTGRESQL, cells, quick=True, missing=True) == []
    assert scenarios.choose(SQLITE, {}, quick=False, missing=True) == list(ALL)
