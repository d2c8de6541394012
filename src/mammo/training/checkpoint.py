"""The state of a training between two epochs, on disk: killed at any moment, it resumes from the last whole epoch.

`state.json` names the snapshots that count. A snapshot is complete before it is named, and is deleted when it no longer
is.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from mammo.core.files import atomic_write, write_text

Epoch = dict[str, float]
Arrays = list[npt.NDArray[Any]]


@dataclass(frozen=True)
class State:
    """The state of one phase of a training after its last whole epoch; epochs count from 1, 0 is none.

    epoch: the last epoch. good: the last epoch to restart from. best: the epoch of the best validation AUC.
    best_row: its row of the history, from 0. rows: the history, with the epochs that a restart discarded.
    """

    epoch: int = 0
    good: int = 0
    best: int = 0
    best_row: int = -1
    restarts: int = 0
    finished: bool = False
    rows: list[Epoch] = field(default_factory=list)


class Checkpoints:
    """A folder with the state of a training and the snapshots of the variables that the state names."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def read_state(self) -> State | None:
        """Return the state after the last whole epoch; None before the first."""
        path = self.folder / "state.json"
        return State(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def save(self, state: State, variables: Sequence[keras.Variable] | None = None) -> None:
        """Write `state`, preceded by a snapshot of `variables` (weights, optimizer) where there are some."""
        if variables is not None:
            with atomic_write(self._snapshot(state.epoch)) as unfinished, unfinished.open("wb") as file:
                np.savez(file, *[keras.ops.convert_to_numpy(variable.value) for variable in variables])
        write_text(self.folder / "state.json", json.dumps(asdict(state)))
        named = {self._snapshot(epoch) for epoch in (state.epoch, state.good, state.best)}
        for path in set(self.folder.glob("*.npz")) - named:
            path.unlink()

    def restore(self, epoch: int, variables: Sequence[keras.Variable]) -> None:
        """Put the snapshot of `epoch` into `variables`."""
        with np.load(self._snapshot(epoch)) as snapshot:
            for number, variable in enumerate(variables):
                variable.assign(snapshot[f"arr_{number}"])

    def _snapshot(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.npz"
