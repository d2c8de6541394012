"""Which files of this repository a module imports, directly or through others, read from the source."""

import ast
import os
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {"mammo": ROOT / "src" / "mammo", "stages": ROOT / "stages"}
PROCESSES = ROOT / "tests" / "processes"


def python_path(*folders: Path | str) -> str:
    """PYTHONPATH of a process that imports from `folders`, and has no JAX (tests/processes)."""
    return os.pathsep.join(map(str, (*folders, PROCESSES)))


def file_of(module: str) -> Path | None:
    """The file of a module of this repository; None for one from elsewhere."""
    package, *parts = module.split(".")
    if package not in PLACES:
        return None
    path = PLACES[package].joinpath(*parts)
    found = [file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()]
    return found[0] if found else None


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def direct(file: Path) -> set[Path]:
    """Files that `file` imports, and the __init__ files of the packages on the way."""
    modules: set[str] = set()
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    prefixes = {".".join(module.split(".")[:end]) for module in modules for end in range(1, module.count(".") + 2)}
    return {found for module in prefixes if (found := file_of(module))}


def closure(files: set[Path]) -> set[Path]:
    """`files`, what they import, what those import, and so on."""
    known: set[Path] = set()
    waiting = set(files)
    while waiting:
        file = waiting.pop()
        known.add(file)
        waiting |= direct(file) - known
    return known


def is_only_docstring(file: Path) -> bool:
    """Whether a module holds no code."""
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in _tree(file).body)
