"""What the code imports is what requirements/*.in name, and what they name is pinned."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import imports

# A decoder that pydicom finds, and a parser that ruamel.yaml finds.
NOT_IMPORTED = {"python-gdcm", "python-multipart", "ruamel-yaml-clib"}
# Optional backends of Keras, imported only where KERAS_BACKEND names them; and requirements/onnx.in.
OPTIONAL = {"jax", "torch", "tf2onnx", "onnx", "onnxruntime"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named(path: Path) -> set[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return {normal(re.split(r"[=<>\[;~!]", line)[0].strip()) for line in lines if line and not line.startswith("-")}


def imported(folders: list[str]) -> list[set[str]]:
    """For every foreign module that the code under `folders` imports, the distributions that hold it."""
    modules: set[str] = set()
    for folder in folders:
        for file in (imports.ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    modules |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                    modules.add(node.module.split(".")[0])
    known = packages_distributions()
    foreign = modules - set(sys.stdlib_module_names) - {"mammo", "stages"} - OPTIONAL
    return [{normal(name) for name in known[module]} for module in foreign]


def test_the_code_imports_exactly_what_is_required() -> None:
    required = named(imports.ROOT / "requirements/base.in")
    used = imported(["src", "stages"])
    assert [names for names in used if not names & required] == []
    assert required - NOT_IMPORTED - set().union(*used) == set()


def test_one_package_alone_imports_mlflow() -> None:
    files = [*(imports.ROOT / "src").rglob("*.py"), *(imports.ROOT / "stages").glob("*.py")]
    knowing = {file.parent for file in files if re.search(r"^\s*(import|from) mlflow", file.read_text(), re.MULTILINE)}
    assert knowing == {imports.ROOT / "src/mammo/tracking"}


def test_everything_named_is_pinned() -> None:
    for name in ("base", "dev", "docs", "onnx"):
        pins = (imports.ROOT / ("requirements.txt" if name == "base" else f"requirements/{name}.txt")).read_text()
        pinned = {normal(line.split("==")[0]) for line in pins.splitlines() if "==" in line}
        assert named(imports.ROOT / f"requirements/{name}.in") <= pinned


def test_stages_without_a_model_do_not_import_keras() -> None:
    with_model = {"train", "seeds", "continue_training", "cross_validate", "search"}
    with_model |= {"gradcam", "retrained_maps", "external"}
    for stage in (
        {file.stem for file in (imports.ROOT / "stages").glob("*.py")}
        - with_model
        - {"outcome", "explaining", "fitting", "folds"}
    ):
        for file in imports.closure({imports.ROOT / "stages" / f"{stage}.py"}):
            tree = ast.parse(file.read_text())
            top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
            names |= {node.module for node in top if isinstance(node, ast.ImportFrom) and node.module}
            assert not {name.split(".")[0] for name in names} & {"keras", "tensorflow"}, f"{stage}: {file}"
