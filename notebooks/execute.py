"""Execute the notebook in a fresh copy of this repository, and keep its outputs: `python notebooks/execute.py`."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = Path("notebooks/breast_cancer_classification.ipynb")
SECONDS_PER_CELL = 900


def main() -> None:
    """Execute and store."""
    with tempfile.TemporaryDirectory() as folder:
        executed = execute(copy_repository(Path(folder) / "repository"))
    nbformat.write(executed, ROOT / NOTEBOOK)


def copy_repository(target: Path) -> Path:
    """A copy of what git knows here, and of what it does not ignore, under a git history of its own."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    subprocess.run(["git", "init", "--quiet"], cwd=target, check=True)
    return target


def execute(repository: Path) -> NotebookNode:
    """The notebook of `repository`, executed there from its first cell; an error in a cell is raised.

    What is printed on the way (progress, TensorFlow's remarks on the machine) and when a cell ran is not kept.
    """
    notebook = nbformat.read(repository / NOTEBOOK, as_version=4)
    foreign = ("DVC_", "MLFLOW_", "GIT_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONPATH"] = str(repository / "src")
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        record_timing=False,
        resources={"metadata": {"path": str(repository / NOTEBOOK.parent)}},
    )
    client.execute(env=environment)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.output_type != "stream"]
    return notebook


def structure(notebook: NotebookNode) -> list[list[dict[str, Any]]]:
    """What the outputs of every code cell consist of: kinds, headings of tables, number of pictures; no values."""
    return [[_outline(output) for output in cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]


def _outline(output: NotebookNode) -> dict[str, Any]:
    data = output.get("data", {})
    page = data.get("text/html", "")
    return {
        "kind": output.output_type,
        "formats": sorted(data),
        "headings": re.findall(r"<th>(.*?)</th>", page),
        "pictures": page.count("data:image/png"),
    }


if __name__ == "__main__":
    main()
