"""TensorFlow's C++ code is quiet where there is no GPU; its errors are printed where there is one."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mammo.core import tensorflow_log


@pytest.mark.parametrize(("device", "level"), [(None, "3"), ("nvidiactl", "3"), ("nvidia0", "2"), ("kfd", "2")])
def test_errors_are_printed_where_there_is_a_gpu(
    device: str | None, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(tensorflow_log.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    if device:
        (tmp_path / device).touch()
    tensorflow_log.set_log_level(tmp_path)
    assert os.environ[tensorflow_log.VARIABLE] == level


def test_the_users_level_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tensorflow_log.VARIABLE, "0")
    tensorflow_log.set_log_level(tmp_path)
    assert os.environ[tensorflow_log.VARIABLE] == "0"


NOISY = """import os
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
os.write(2, b"I0000 00:00:1795872488.222841 20814 port.cc:153] oneDNN custom operations are on.\\n")
os.write(2, b"E0000 00:00:1795872488.3 20814 cpu.cc:1] no AVX\\n")
VALUE = 1
"""


def test_the_import_prints_errors_and_no_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noisy_module.py").write_text(NOISY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [tensorflow_log.QuietFinder("noisy_module"), *sys.meta_path])
    module = importlib.import_module("noisy_module")
    assert module.VALUE == 1
    assert capfd.readouterr().err == "E0000 00:00:1795872488.3 20814 cpu.cc:1] no AVX\n"
    os.write(2, b"I0000 later\n")
    assert capfd.readouterr().err == "I0000 later\n", "standard error is as it was"
    assert not any(isinstance(finder, tensorflow_log.QuietFinder) for finder in sys.meta_path)


def test_the_last_words_of_a_crash_come_through(tmp_path: Path) -> None:
    crash = "import os\nwith tensorflow_log.drop_notes():\n os.write(2, b'F0000 no AVX\\n')\n os.abort()\n"
    ended = subprocess.run(
        [sys.executable, "-c", f"from mammo.core import tensorflow_log\n{crash}"], capture_output=True, text=True
    )
    assert ended.returncode != 0
    assert ended.stderr == "F0000 no AVX\n"
