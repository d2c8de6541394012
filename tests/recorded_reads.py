"""What stages read in a recorded run (tests/recording), held against what dvc.lock says that they rest on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNTRACKED = ("tracking", "compute")  # sections that change no result
PROXIES = {"requirements.txt"}  # it stands for the installed packages, whose versions are read
REPORTING = "src/mammo/reporting"  # code, and the templates that are read as files


@dataclass(frozen=True)
class StageReads:
    """The keys of params.yaml and the files that a stage read, and those that dvc.lock declares."""

    keys: set[str]
    files: set[str]
    params: set[str]
    deps: set[str]

    def undeclared_params(self, params: set[str]) -> set[str]:
        """Keys that were read and that `params` do not cover."""
        keys = {key for key in self.keys if key.split(".")[0] not in UNTRACKED}
        return {key for key in keys if not _covered(key, params, ".")}

    def undeclared_files(self, deps: set[str]) -> set[str]:
        """Files that were read and that `deps` do not cover."""
        return {file for file in self.files if not _covered(file, deps, "/")}

    def unread_params(self) -> set[str]:
        """Declared parameters that the stage did not read."""
        return {param for param in self.params if not any(_covered(key, {param}, ".") for key in self.keys)}

    def unread_deps(self) -> set[str]:
        """Declared data that the stage did not read."""
        return {dep for dep in self.deps if not any(_covered(file, {dep}, "/") for file in self.files)}


def stage_reads(name: str, recorded: Path, locked: dict[str, Any]) -> StageReads:
    """Read the recording of one stage beside its entry in dvc.lock."""
    content = json.loads((recorded / f"{name}.json").read_text())
    outs = {out["path"] for out in locked["outs"]}
    params = {key for keys in locked.get("params", {}).values() for key in keys}
    data = {dep["path"] for dep in locked["deps"] if not dep["path"].startswith(("stages/", "src/"))}
    templates = {dep["path"] for dep in locked["deps"] if _covered(f"{dep['path']}/", {f"{REPORTING}/templates"}, "/")}
    templates |= {dep["path"] for dep in locked["deps"] if dep["path"] == REPORTING}
    files = {file for file in content["read"] if not _covered(file, outs, "/")}
    return StageReads(set(content["keys"]), files, params, (data | templates) - PROXIES)


def _covered(name: str, declared: set[str], separator: str) -> bool:
    return any(name == other or name.startswith(f"{other}{separator}") for other in declared)
