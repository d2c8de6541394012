"""How long each stage took when it last ran here: a small file per stage, which no result depends on."""

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

from mammo.core.files import write_text
from mammo.core.paths import DURATIONS, project_root

STAGE = "DVC_STAGE"  # set by DVC: the stage that this process is


def note_duration() -> None:
    """Write the seconds since this process started as those of the stage that it is; outside of DVC do nothing."""
    stage = os.environ.get(STAGE)
    if stage is None:
        return
    seconds = time.time() - psutil.Process().create_time()
    with suppress(OSError):  # a disk that is full or read-only: the stage itself is done
        write_text(_path(stage), f"{seconds:.1f}\n")


def read_duration(stage: str) -> float | None:
    """Return the seconds that a stage last took here; None where it has not run here."""
    path = _path(stage)
    return float(path.read_text(encoding="utf-8")) if path.is_file() else None


def _path(stage: str) -> Path:
    return project_root() / DURATIONS / stage
