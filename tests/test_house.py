"""The house's own rules: small functions with few parameters, and one place for every path of the workspace."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import imports
import pytest

MAX_PARAMETERS = 5
MAX_LINES = 46
FILES = [*(imports.ROOT / "src").rglob("*.py"), *(imports.ROOT / "stages").glob("*.py")]
PATHS = imports.ROOT / "src/mammo/core/paths.py"
NOTEBOOK = imports.ROOT / "src/mammo/api.py"  # its functions' names and parameters are those of the notebooks
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file: Path) -> Iterator[Function]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def parameters(function: Function) -> list[str]:
    words = function.args
    named = [*words.posonlyargs, *words.args, *words.kwonlyargs]
    return [word.arg for word in named if word.arg not in ("self", "cls")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(imports.ROOT).as_posix())
def test_a_function_takes_at_most_five_parameters_and_fits_on_a_screen(file: Path) -> None:
    for function in functions(file):
        assert len(parameters(function)) <= MAX_PARAMETERS, f"{function.name}{parameters(function)}"
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno < MAX_LINES, function.name


def test_paths_of_the_workspace_stand_in_one_module() -> None:
    literal = re.compile(r"""["'](data|metrics|docs/results|docs/data)/""")
    for file in FILES:
        if file != PATHS:
            lines = file.read_text(encoding="utf-8").splitlines()
            code = [line for line in lines if literal.search(line) and "Path(" in line]
            assert not code, f"{file}: {code}"
