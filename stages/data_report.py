"""The data that were taken in as one self-contained HTML page, and as Markdown without a film of any patient."""

import json
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mammo.core import schemas
from mammo.core.config import Config, load_config
from mammo.core.files import fresh_folder, read_splits, read_table
from mammo.core.paths import (
    BORDERS,
    CASES,
    CHECKS,
    DATA_REPORT,
    DROPPED,
    EXCLUDED,
    LEAK_AUDIT,
    MANIFEST,
    PIXELS,
    RAW,
    SPLITS,
    data_fingerprint,
)
from mammo.core.records import Record, read_record, record_path
from mammo.data import sources
from mammo.data.cohort import summary
from mammo.data.cohort.summary import DataTables
from mammo.data.images import preprocess
from mammo.evaluation import border_scores, shortcut_probe
from mammo.metrics.resampling import Resampling
from mammo.reporting import data_report
from mammo.reporting.data_report.content import DataReport
from mammo.reporting.data_report.examples import Films, draw_examples
from mammo.reporting.data_report.odd_samples import draw_odd_samples
from mammo.reporting.figures import contact_sheets, png
from mammo.reporting.figures.contact_sheets import Mask, Pixels
from mammo.tracking import live_run
from stages import run

RECORDED = ("ingest", "split", "preprocess")
SHEET_SAMPLES = 8
FILM_PX = 400  # of the films on the contact sheet

Case = dict[str, object]


def main() -> None:
    """Write data.html, data.md, figures/ and preprocess.png; the same inputs give the same bytes."""
    config = load_config()
    index = read_table(PIXELS / "index.csv", schemas.INDEX)
    images, masks = (np.load(PIXELS / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))
    records = {stage: read_record(record_path(stage)) for stage in RECORDED}
    tables = _read_tables(summary.intensities(images, index["split"]), records["ingest"])
    probe, quartiles = _probe_shortcuts(index, images, tables, config)
    checks = read_table(CHECKS, schemas.CHECKS)
    report = DataReport(
        _summarize(tables, config), config, data_fingerprint(), list(records.values()), probe, quartiles, checks
    )
    cases = index[["sample_id", "split"]].merge(tables.cases, on="sample_id", validate="one_to_one")
    examples = draw_examples(cases, images, masks, config.seed)
    root = sources.load_source(config.ingest.source).root(config.ingest, RAW)
    sheet = png.encode_png(_draw_sheet(cases, images, masks, config), png.PHOTO_COLOURS)
    odd = draw_odd_samples(root, checks, tables.excluded, config.ingest.checks)
    films = Films(examples, sheet, odd)
    with fresh_folder(DATA_REPORT) as folder:
        data_report.write(folder, report, films)
    _track(config, report)


def _read_tables(histograms: pd.DataFrame, ingested: Record) -> DataTables:
    return DataTables(
        cases=read_table(CASES, schemas.CASES),
        splits=read_splits(SPLITS),
        excluded=read_table(EXCLUDED, schemas.EXCLUDED),
        dropped=read_table(DROPPED, schemas.EXCLUDED),
        manifest=read_table(MANIFEST, schemas.MANIFEST),
        sizes=read_table(PIXELS / "sizes.csv", schemas.SIZES),
        histograms=histograms,
        leak_audit=json.loads(LEAK_AUDIT.read_text(encoding="utf-8")),
        published_rows=_count_published(ingested),
    )


def _count_published(ingested: Record) -> int | None:
    """Return the rows that ingest counted in the data set's own tables; None where it counts something else."""
    counts = [ingested.metrics.get(f"found/{split} rows") for split in ("train", "test")]
    rows = [int(count) for count in counts if count is not None]
    return sum(rows) if len(rows) == len(counts) else None


def _summarize(tables: DataTables, config: Config) -> summary.DataSummary:
    return summary.summarise(tables, Resampling.from_config(config.evaluate, config.seed))


def _probe_shortcuts(
    index: pd.DataFrame, images: Pixels, tables: DataTables, config: Config
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what parts of a film without its lesion know of the label, and the malignant share by border score."""
    cases = tables.splits.merge(tables.cases, on=["sample_id", "patient_id"], validate="one_to_one")
    scores = border_scores.score_borders(cases, read_table(BORDERS, schemas.BORDERS), config.seed)
    arrays = {"images": images, "without_lesion": np.load(PIXELS / "without_lesion.npy", mmap_mode="r")}
    resampling = Resampling.from_config(config.evaluate, config.seed)
    by_sample = scores.set_index("sample_id")["border_score"]
    probe = shortcut_probe.probe_shortcuts(index, arrays, by_sample, resampling)
    return probe, border_scores.share_by_quartile(cases.merge(scores, on="sample_id"), resampling)


def _draw_sheet(cases: pd.DataFrame, images: Pixels, masks: Mask, config: Config) -> Figure:
    """Draw random training samples: the films as scanned, and the models' input of them."""
    root = sources.load_source(config.ingest.source).root(config.ingest, RAW)
    train = np.flatnonzero(cases["split"] == "train")
    positions = np.sort(np.random.default_rng(config.seed).permutation(train)[:SHEET_SAMPLES])
    rows = cases.iloc[positions]
    films = [preprocess.overview(case, root, FILM_PX) for case in cast(list[Case], rows.to_dict(orient="records"))]
    titles = [f"{row.sample_id}\n{row.pathology}" for row in rows.itertuples()]
    return contact_sheets.draw_before_after(films, images[positions], masks[positions], titles)


def _track(config: Config, report: DataReport) -> None:
    counts, flow = summary.counts_of(report.summary.counts, summary.ALL), report.summary.flow
    with live_run.tracked_run(
        "data_report",
        experiment=config.tracking.experiment,
        parameters={"confidence": config.evaluate.confidence, "resamples": config.evaluate.resamples},
        tags={"data": report.fingerprint, "unit": config.ingest.unit},
    ) as run_log:
        run_log.log_metrics(counts | {"excluded_rows": flow.excluded_rows, "dropped_samples": flow.dropped_samples})
        run_log.log_artifact(DATA_REPORT)


if __name__ == "__main__":
    run(main)
