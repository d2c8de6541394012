"""Time a `dvc repro` with nothing to do: `python benchmarks/nothing_to_do.py` after `make run` (a minute, one core).

Prints the seconds of `dvc status`, of `python -m stages.publish` (the one stage that always runs, because the server's
state is no file) and of `dvc repro`, as medians over rounds in which each is asked once, and the ratio of the last to
the first two together.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 7
COMMANDS = {
    "dvc status": ["dvc", "status"],
    "publish": [sys.executable, "-m", "stages.publish"],
    "dvc repro": ["dvc", "repro"],
}


def output(command: list[str]) -> str:
    """Return the output of a command of this environment, run in the repository."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    completed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return completed.stdout


def main() -> None:
    """Print the seconds of each and the ratio; exit where `dvc status` names more than publish."""
    if output(COMMANDS["dvc status"]).split() != ["publish:", "always", "changed"]:
        sys.exit("error: `dvc status` names more than publish; `make run` first")
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            start = perf_counter()
            output(command)
            seconds[name].append(perf_counter() - start)
    status, publish, repro = (median(seconds[name]) for name in COMMANDS)
    for name, median_seconds in zip(COMMANDS, (status, publish, repro), strict=True):
        print(f"{name:<12}{median_seconds:6.2f} s")
    print(f"ratio       {repro / (status + publish):6.2f}")


if __name__ == "__main__":
    main()
