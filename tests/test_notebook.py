"""The notebook runs from its first cell to its last in a fresh copy, and what it shows is what is stored in it."""

import json
import sys
from pathlib import Path

import imports
import nbformat
import pytest

sys.path.insert(0, str(imports.ROOT / "notebooks"))
import execute

STORED = nbformat.read(imports.ROOT / execute.NOTEBOOK, as_version=4)
MEGABYTE = 2**20


def test_the_stored_notebook_was_executed_in_order_and_shows_pictures() -> None:
    code = [cell for cell in STORED.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(output["pictures"] for cell in execute.structure(STORED) for output in cell) >= 6
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)


def test_the_stored_notebook_stays_small() -> None:
    assert len(json.dumps(STORED)) < MEGABYTE


def test_every_notebook_function_is_walked_through() -> None:
    source = "\n".join(cell.source for cell in STORED.cells if cell.cell_type == "code")
    functions = ("prepare_data_only", "create_robust_dataset", "simple_train", "run_enhanced_training")
    functions += ("continue_training", "evaluate_only", "compare_models", "run_working_gradcam")
    for name in (*functions, "run_complete_improvement"):
        assert f"api.{name}(" in source


@pytest.mark.slow
def test_it_executes_and_shows_what_is_stored(tmp_path: Path) -> None:
    executed = execute.execute(execute.copy_repository(tmp_path / "repository"))
    assert execute.structure(executed) == execute.structure(STORED)
