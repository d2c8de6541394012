"""What TensorFlow's C++ code prints on standard error; set before Keras is imported."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
ERRORS, FATAL = "2", "3"  # the least severe level that is printed
GPU_DEVICES = ("nvidia[0-9]*", "kfd")  # of NVIDIA and AMD, in /dev
# Printed before TensorFlow reads the level: "oneDNN custom operations are on", "Could not find cuda drivers".
NOTES = r"I\d{4} |WARNING: All log messages before absl::InitializeLog"
FORWARD = """import re, sys
for line in sys.stdin.buffer:
    if not re.match(sys.argv[1].encode(), line):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
"""


def set_log_level(devices: Path = Path("/dev")) -> None:
    """Print errors where there is a GPU; elsewhere they say that there is none, and only fatal ones are printed.

    An error that matters is raised as a Python exception as well. A level that the user has set stays. Without one the
    notes of the import are left out, too.
    """
    if VARIABLE in os.environ:
        return
    has_gpu = any(next(devices.glob(pattern), None) for pattern in GPU_DEVICES)
    os.environ[VARIABLE] = ERRORS if has_gpu else FATAL
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, QuietFinder("tensorflow"))


class QuietFinder(MetaPathFinder):
    """Finds one module and imports it without its notes; then it is gone."""

    def __init__(self, module: str):
        self.module = module

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of the module; of others None."""
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            _make_quiet(spec.loader)
        return spec


def _make_quiet(loader: Loader) -> None:
    execute = loader.exec_module

    def execute_quietly(module: ModuleType) -> None:
        with drop_notes():
            execute(module)

    loader.exec_module = execute_quietly  # type: ignore[method-assign]


@contextmanager
def drop_notes() -> Iterator[None]:
    """Leave NOTES out of what is printed on standard error, by C++ code too.

    Another process forwards the rest: the last words of a crash come through.
    """
    original = os.dup(2)
    command = [sys.executable, "-IS", "-c", FORWARD, NOTES]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=original) as forwarder:
        assert forwarder.stdin is not None
        os.dup2(forwarder.stdin.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)
