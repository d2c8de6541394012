"""What DVC finds changed of a stage since dvc.lock was written, and the files behind it. Stages: dvc.stage.Stage."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mammo.pipeline.code_history import Files


def list_changes(stage: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield what DVC finds changed: kind, name, state ("modified", "deleted", "new"; of parameters: state by name)."""
    for change in stage.status().get(stage.addressing, []):
        if isinstance(change, str):
            yield change, "dvc.yaml", ""
        else:
            for kind, states in change.items():
                yield from ((kind, name, state) for name, state in states.items())


def path_below_root(repo: Any, item: Any) -> str:
    """Return the path of a dependency or output below the root of the project, of what lies elsewhere its address."""
    return Path(item.fs_path).relative_to(repo.root_dir).as_posix() if item.is_in_repo else str(item)


def read_files(repo: Any, dependency: Any) -> Files:
    """Return the files that DVC hashes of a dependency."""
    top = dependency.fs_path
    paths = repo.dvcignore.find(repo.fs, top) if Path(top).is_dir() else [top]
    files = {Path(path).relative_to(top).as_posix(): Path(path) for path in paths}
    return {"" if name == "." else name: file.read_bytes() for name, file in files.items()}
