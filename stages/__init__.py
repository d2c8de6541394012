"""Thin entry points, one per DVC stage: `python -m stages.train light_cnn`.

A queued experiment runs in a copy of the repository and must import that copy's code, not the installed `mammo`: the
copy's own src comes first on the path.
"""

import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path

# TensorFlow and pandas import a million objects that live as long as the process. Looking for garbage among them is a
# quarter of their import's time; `run` takes it up again. "-m": Python is about to run a stage of this package.
if sys.argv[0] == "-m":
    gc.disable()

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.core.durations import note_duration
from mammo.core.errors import InputError
from mammo.core.files import describe_refused_write
from mammo.core.tensorflow_log import set_log_level

set_log_level()


def run(main: Callable[..., None]) -> None:
    """Call a stage's `main` with the command line's arguments; print what a user can correct, and exit with code 1."""
    gc.freeze()
    gc.enable()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        main(*sys.argv[1:])
        note_duration()
    except InputError as error:
        sys.exit(f"\nerror: {error}")
    except OSError as error:  # of shutil and NumPy as well
        message = describe_refused_write(error)
        if not message:
            raise
        sys.exit(f"\nerror: {message}")
