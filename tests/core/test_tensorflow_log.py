"""TensorFlow's C++ code is quiet where there is no GPU; its errors are printed where there is one."""

import os
from pathlib import Path

import pytest

from mammo.core import tensorflow_log


@pytest.mark.parametrize(("device", "level"), [(None, "3"), ("nvidiactl", "3"), ("nvidia0", "2"), ("kfd", "2")])
def test_errors_are_printed_where_there_is_a_gpu(
    device: str | None, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tensorflow_log.VARIABLE, raising=False)
    if device:
        (tmp_path / device).touch()
    tensorflow_log.set_log_level(tmp_path)
    assert os.environ[tensorflow_log.VARIABLE] == level


def test_the_users_level_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tensorflow_log.VARIABLE, "0")
    tensorflow_log.set_log_level(tmp_path)
    assert os.environ[tensorflow_log.VARIABLE] == "0"
