"""The data that were taken in as one self-contained HTML page, and as Markdown without a film of any patient."""

import json

import numpy as np
import pandas as pd

from mammo.core import schemas
from mammo.core.config import Config, load_config
from mammo.core.files import fresh_folder, read_splits, read_table
from mammo.core.paths import (
    CASES,
    DATA_REPORT,
    DROPPED,
    EXCLUDED,
    LEAK_AUDIT,
    MANIFEST,
    PIXELS,
    SPLITS,
    data_fingerprint,
)
from mammo.core.records import Record, read_record, record_path
from mammo.data.cohort import summary
from mammo.data.cohort.summary import DataTables
from mammo.metrics.resampling import Resampling
from mammo.reporting import data_report
from mammo.reporting.data_report import DataReport
from mammo.tracking import live_run
from stages import run

RECORDED = ("ingest", "split", "preprocess")


def main() -> None:
    """Write data.html, data.md and figures/; the same inputs give the same bytes."""
    loaded = load_config()
    index = read_table(PIXELS / "index.csv", schemas.INDEX)
    images, masks = (np.load(PIXELS / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))
    records = {stage: read_record(record_path(stage)) for stage in RECORDED}
    given = _tables(summary.intensities(images, index["split"]), records["ingest"])
    report = DataReport(_summary(given, loaded), loaded, data_fingerprint(), list(records.values()))
    shown = index[["sample_id", "split"]].merge(given.cases, on="sample_id", validate="one_to_one")
    examples = data_report.draw_examples(shown, images, masks, loaded.seed)
    with fresh_folder(DATA_REPORT) as folder:
        data_report.write(folder, report, examples)
    _track(loaded, report)


def _tables(histograms: pd.DataFrame, ingested: Record) -> DataTables:
    return DataTables(
        cases=read_table(CASES, schemas.CASES),
        splits=read_splits(SPLITS),
        excluded=read_table(EXCLUDED, schemas.EXCLUDED),
        dropped=read_table(DROPPED, schemas.EXCLUDED),
        manifest=read_table(MANIFEST, schemas.MANIFEST),
        sizes=read_table(PIXELS / "sizes.csv", schemas.SIZES),
        histograms=histograms,
        leak_audit=json.loads(LEAK_AUDIT.read_text(encoding="utf-8")),
        published_rows=_published_rows(ingested),
    )


def _published_rows(ingested: Record) -> int | None:
    """The rows that ingest counted in the data set's own tables; None where the data set counts something else."""
    counted = [ingested.metrics.get(f"found/{split} rows") for split in ("train", "test")]
    known = [int(rows) for rows in counted if rows is not None]
    return sum(known) if len(known) == len(counted) else None


def _summary(given: DataTables, loaded: Config) -> summary.DataSummary:
    return summary.summarise(given, Resampling.from_config(loaded.evaluate, loaded.seed))


def _track(loaded: Config, report: DataReport) -> None:
    whole, flow = summary.counts_of(report.summary.counts, summary.ALL), report.summary.flow
    with live_run.tracked_run(
        "data_report",
        experiment=loaded.tracking.experiment,
        parameters={"confidence": loaded.evaluate.confidence, "resamples": loaded.evaluate.resamples},
        tags={"data": report.fingerprint, "unit": loaded.ingest.unit},
    ) as tracked:
        tracked.log_metrics(whole | {"excluded_rows": flow.excluded_rows, "dropped_samples": flow.dropped_samples})
        tracked.log_artifact(DATA_REPORT)


if __name__ == "__main__":
    run(main)
