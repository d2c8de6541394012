"""The code that the bytes of a stage's outputs rest on, derived from the imports, as dvc.yaml should name it.

Neutral is what changes no byte of a result: configuration (its values are parameters), paths, files, records, resuming,
errors, MLflow and the bookkeeping of the pipeline. What could change a result must lie elsewhere.
"""

from pathlib import Path

import imports

SOURCE = imports.ROOT / "src" / "mammo"
NEUTRAL = [
    SOURCE / "__init__.py",
    SOURCE / "core",
    SOURCE / "tracking",
    SOURCE / "pipeline",
    imports.ROOT / "stages" / "__init__.py",
]
IN_CORE = {SOURCE / "core" / "schemas.py", SOURCE / "core" / "row_names.py"}  # these do change results
PACKAGES = [
    SOURCE / name
    for name in (
        *("data/sources", "data/datasets", "data/images", "data/cohort", "metrics", "models/layers"),
        *("training", "explain", "evaluation", "reporting", "reporting/data_report", "reporting/figures"),
    )
]
PLUGINS = [SOURCE / "data/sources", SOURCE / "data/datasets"]  # chosen by a name: all of them
ARCHITECTURES = SOURCE / "models/architectures"  # chosen by a name: file by file


def dependencies(stage: str, uses_architecture: bool = False) -> set[str]:
    """Return the code dependencies of a stage as paths of dvc.yaml, but for the architecture's file.

    A package is named as a whole where the stage uses half of its files or more, else by these files.
    """
    files = {file for file in _reached(stage, uses_architecture) if not is_neutral(file)}
    paths = {_package_of(file, files) or file for file in files}
    return {path.relative_to(imports.ROOT).as_posix() for path in paths}


def _reached(stage: str, uses_architecture: bool) -> set[Path]:
    """Return the files that a stage imports; where it builds a model, those that any architecture imports as well."""
    chosen = set(ARCHITECTURES.glob("*.py")) if uses_architecture else set()
    reached = imports.closure({imports.ROOT / "stages" / f"{stage}.py"} | chosen)
    plugins = {file for folder in PLUGINS if folder / "__init__.py" in reached for file in folder.rglob("*.py")}
    return imports.closure(reached | plugins) - chosen


def _package_of(file: Path, used: set[Path]) -> Path | None:
    """Return the package of a file if half of it or more is used."""
    for package in PACKAGES:
        if package in file.parents:
            files = {other for other in package.rglob("*.py") if not is_neutral(other)}
            if 2 * len(files & used) >= len(files):
                return package
    return None


def is_neutral(file: Path) -> bool:
    """Return whether no code of a file can change the bytes of a result."""
    if file in IN_CORE:
        return False
    return imports.is_only_docstring(file) or any(place == file or place in file.parents for place in NEUTRAL)
