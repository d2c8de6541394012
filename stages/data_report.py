"""The data that were taken in as one self-contained HTML page, and as Markdown without a film of any patient."""

import json

import numpy as np
import pandas as pd

from mammo import data_report, data_summary, params, tables, tracking
from mammo.data_report import DataReport
from mammo.data_summary import DataTables
from mammo.params import Params
from mammo.record import Record, read_record, record_path
from stages import run
from stages.paths import (
    CASES,
    DATA_REPORT,
    DROPPED,
    EXCLUDED,
    LEAK_AUDIT,
    MANIFEST,
    PIXELS,
    SPLITS,
    fingerprint,
)

RECORDED = ("ingest", "split", "preprocess")


def main() -> None:
    """Write data.html, data.md and figures/; the same inputs give the same bytes."""
    loaded = params.load()
    index = tables.read(PIXELS / "index.csv", tables.INDEX)
    images, masks = (np.load(PIXELS / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))
    records = {stage: read_record(record_path(stage)) for stage in RECORDED}
    given = _tables(data_summary.intensities(images, index["split"]), records["ingest"])
    report = DataReport(_summary(given, loaded), loaded, fingerprint(), list(records.values()))
    shown = index[["sample_id", "split"]].merge(given.cases, on="sample_id", validate="one_to_one")
    examples = data_report.draw_examples(shown, images, masks, loaded.seed)
    with tables.fresh_folder(DATA_REPORT) as folder:
        data_report.write(folder, report, examples)
    _track(loaded, report)


def _tables(histograms: pd.DataFrame, ingested: Record) -> DataTables:
    return DataTables(
        cases=tables.read(CASES, tables.CASES),
        splits=tables.read_splits(SPLITS),
        excluded=tables.read(EXCLUDED, tables.EXCLUDED),
        dropped=tables.read(DROPPED, tables.EXCLUDED),
        manifest=tables.read(MANIFEST, tables.MANIFEST),
        sizes=tables.read(PIXELS / "sizes.csv", tables.SIZES),
        histograms=histograms,
        leak_audit=json.loads(LEAK_AUDIT.read_text(encoding="utf-8")),
        published_rows=_published_rows(ingested),
    )


def _published_rows(ingested: Record) -> int | None:
    """The rows that ingest counted in the data set's own tables; None where the data set counts something else."""
    counted = [ingested.metrics.get(f"found/{split} rows") for split in ("train", "test")]
    known = [int(rows) for rows in counted if rows is not None]
    return sum(known) if len(known) == len(counted) else None


def _summary(given: DataTables, loaded: Params) -> data_summary.DataSummary:
    evaluate = loaded.evaluate
    return data_summary.summarise(given, confidence=evaluate.confidence, resamples=evaluate.resamples, seed=loaded.seed)


def _track(loaded: Params, report: DataReport) -> None:
    whole, flow = data_summary.counts_of(report.summary.counts, data_summary.ALL), report.summary.flow
    with tracking.run(
        "data_report",
        experiment=loaded.tracking.experiment,
        parameters={"confidence": loaded.evaluate.confidence, "resamples": loaded.evaluate.resamples},
        tags={"data": report.fingerprint, "unit": loaded.ingest.unit},
    ) as tracked:
        tracked.log_metrics(whole | {"excluded_rows": flow.excluded_rows, "dropped_samples": flow.dropped_samples})
        tracked.log_artifact(DATA_REPORT)


if __name__ == "__main__":
    run(main)
