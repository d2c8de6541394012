"""One reading of a film for its results: the columns of `predict`, and where the model looked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mammo.inference.films import Corners


@dataclass(frozen=True)
class Reading:
    """The answer about a film, or about one box in it; what is not known is None.

    heat: the film's (h, w) in 0..1; None where the model has no heat map of its own.
    """

    prob: float
    box: Corners | None = None
    calibrated: float | None = None
    threshold: float | None = None
    call: str | None = None
    set: str | None = None
    answer: str | None = None
    confidence: float | None = None
    doubt: str | None = None
    heat: npt.NDArray[np.float32] | None = None

    @property
    def place(self) -> str:
        """The box as text, empty for a whole film."""
        return ",".join(map(str, self.box)) if self.box else ""


def read_columns(columns: Mapping[str, Any], box: Corners | None, heat: npt.NDArray[np.float32] | None) -> Reading:
    """Return the reading in a row of `predict`, or in an answer of the service; a number that is nan is not known."""
    names = ("prob", "calibrated", "threshold", "call", "set", "answer", "confidence", "doubt")
    known = {name: columns[name] for name in names if not _is_missing(columns.get(name))}
    return Reading(box=box, heat=heat, **known)


def describe(reading: Reading) -> str:
    """Return a reading in one line of ASCII, as a picture shows it."""
    parts = [f"probability {reading.prob:.3f}"]
    if reading.calibrated is not None:
        parts.append(f"calibrated {reading.calibrated:.3f}")
    if reading.threshold is not None:
        parts.append(f"threshold {reading.threshold:.3f}: {reading.call}")
    if reading.set is not None:
        parts.append(f"set at {reading.confidence:.0%}: {reading.set}")
    return ", ".join(parts)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))
