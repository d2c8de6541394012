"""A checkpoint is complete or absent, and restores exactly the values that were saved."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from mammo.training.checkpoint import Checkpoints, State


def variables(value: float) -> list[keras.Variable]:
    return [keras.Variable(np.full((2, 3), value, np.float32)), keras.Variable(np.array(int(value), np.int32))]


def test_state_and_values_come_back(tmp_path: Path) -> None:
    state = State(epoch=3, good=3, best=3, best_row=4, restarts=1, rows=[{"loss": 0.5}, {"loss": float("nan")}])
    Checkpoints(tmp_path / "new").save(state, variables(7))
    again = Checkpoints(tmp_path / "new")
    read, restored_state = variables(0), again.read_state()
    assert restored_state is not None
    again.restore(3, read)
    assert [np.asarray(variable.value).tolist() for variable in read] == [[[7.0] * 3] * 2, 7]
    assert replace(restored_state, rows=[]) == replace(state, rows=[])
    assert restored_state.rows[0] == {"loss": 0.5}
    assert np.isnan(restored_state.rows[1]["loss"])


def test_there_is_no_state_before_the_first(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).read_state() is None


def test_only_named_snapshots_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for epoch in range(5):
        checkpoints.save(State(epoch=epoch, good=min(epoch, 2), best=min(epoch, 1)), variables(epoch))
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == [
        "epoch-0001.npz",
        "epoch-0002.npz",
        "epoch-0004.npz",
    ]


def test_a_snapshot_that_was_cut_short_leaves_the_last_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(State(epoch=1, good=1), variables(1))

    def cut(file: object, *arrays: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", cut)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(State(epoch=2, good=2), variables(2))
    state = Checkpoints(tmp_path).read_state()
    assert state == State(epoch=1, good=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0001.npz", "state.json"]
