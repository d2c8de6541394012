"""The content of a data report."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mammo.core.config import Config
from mammo.core.records import Record
from mammo.data.cohort.summary import DataSummary


@dataclass(frozen=True)
class DataReport:
    """The content of a data report: SHA-256 of the pixel store, and the records of ingest, split and preprocess.

    probe: shortcut_probe.probe_shortcuts; quartiles: border_scores.share_by_quartile; checks: schemas.CHECKS. None
    where they were not made.
    """

    summary: DataSummary
    params: Config
    fingerprint: str
    records: Sequence[Record]
    probe: pd.DataFrame | None = None
    quartiles: pd.DataFrame | None = None
    checks: pd.DataFrame | None = None

    @property
    def unit(self) -> str:
        """The unit of a sample: lesion, image or breast."""
        return self.params.ingest.unit

    @property
    def synthetic(self) -> bool:
        """Whether the films are drawn by the program."""
        return self.params.ingest.source == "demo"

    @property
    def percent(self) -> str:
        """The confidence of all intervals, as `95 %`."""
        return f"{100 * self.params.evaluate.confidence:g} %"
