"""The notebook runs from its first cell to its last in a fresh copy, and what it shows is what is stored in it."""

import json
import re
import sys
from pathlib import Path

import imports
import nbformat
import pytest
import yaml

from tests import arrays

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


def shorten(repository: Path) -> None:
    """Fewer patients, resamples and epochs, on which the kinds of outputs that are compared do not depend."""
    params = repository / "params.yaml"
    content = yaml.safe_load(params.read_text(encoding="utf-8"))
    content["ingest"]["demo"] |= {"patients": 60, "height_px": 160}
    content["preprocess"]["size_px"] = 32
    content["evaluate"]["resamples"] = 100
    params.write_text(yaml.safe_dump(content), encoding="utf-8")
    arrays.make_shallow(repository)
    notebook = repository / execute.NOTEBOOK
    text = notebook.read_text(encoding="utf-8")
    assert re.search(r"epochs=[248]\b", text)
    notebook.write_text(re.sub(r"epochs=[248]\b", "epochs=1", text), encoding="utf-8")


@pytest.mark.slow
def test_it_executes_and_shows_what_is_stored(tmp_path: Path) -> None:
    repository = execute.copy_repository(tmp_path / "repository")
    shorten(repository)
    executed = execute.execute(repository)
    pairs = zip(execute.structure(executed), execute.structure(STORED), strict=True)
    differing = {cell: pair for cell, pair in enumerate(pairs) if pair[0] != pair[1]}
    assert differing == {}, f"{differing}\n`make notebook` stores what it shows now"
