"""Where a training stands between two epochs, on disk: killed at any moment, it goes on from the last whole epoch.

`state.json` names the snapshots that count; a snapshot is whole before it is named, and goes when no longer named.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
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
    """epoch: epochs done; good: the last that no monitor objected to; best: of the best validation AUC, 0 for none.

    rows: one of the history per epoch trained, those that a restart threw away included; best_row: the row of `best`.
    """

    epoch: int = 0
    good: int = 0
    best: int = 0
    best_row: int = -1
    restarts: int = 0
    finished: bool = False
    rows: list[Epoch] = field(default_factory=list)

    def but(self, **changes: Any) -> "State":
        """The same with some fields changed."""
        return replace(self, **changes)


class Checkpoints:
    """The state in `folder` and the snapshots of `variables` (weights and optimiser) that it names."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def state(self) -> State | None:
        """What the last whole epoch left; None before the first."""
        path = self.folder / "state.json"
        return State(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def save(self, state: State, variables: Sequence[keras.Variable] | None = None) -> None:
        """Make `state` the one that counts, with a snapshot of `variables` as its epoch where given."""
        if variables is not None:
            with atomic_write(self._snapshot(state.epoch)) as unfinished, unfinished.open("wb") as file:
                np.savez(file, *[keras.ops.convert_to_numpy(variable.value) for variable in variables])
        write_text(self.folder / "state.json", json.dumps(asdict(state)))
        named = {self._snapshot(epoch) for epoch in (state.epoch, state.good, state.best)}
        for path in set(self.folder.glob("*.npz")) - named:
            path.unlink()

    def restore(self, epoch: int, variables: Sequence[keras.Variable]) -> None:
        """Put the snapshot of that epoch into `variables`."""
        with np.load(self._snapshot(epoch)) as snapshot:
            for number, variable in enumerate(variables):
                variable.assign(snapshot[f"arr_{number}"])

    def _snapshot(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.npz"
