"""Fetch the data and write a table of cases; every published row is a case or an excluded row."""

import logging

import pandas as pd

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.files import fresh_folder, write_table
from mammo.core.paths import CASES, CHECKS, EXCLUDED, MANIFEST, RAW
from mammo.data import datasets, lesions, plausibility, sources
from mammo.data.cohort import manifest
from mammo.data.datasets import Located
from mammo.tracking import live_run
from stages import run

MAX_REASONS = 5
_log = logging.getLogger(__name__)


def main() -> None:
    """Write the cases, the excluded rows with their reasons, what was measured, and the manifest of all files."""
    config = load_config()
    ingest = config.ingest
    source, dataset = sources.load_source(ingest.source), datasets.load_dataset(ingest.dataset)
    types: list[str] = list(ingest.abnormality_types)
    with fresh_folder(RAW) as unfinished:
        source.fetch(ingest, unfinished, config.seed)
    root = source.root(ingest, RAW)
    located = dataset.locate(root, ingest.unit, types, config.compute.workers)
    _write_tables(located)
    # Before the files are hashed, which takes an hour for 160 GB.
    if ingest.expect == "full":
        datasets.assert_full(located.counts, dataset.published(types), str(root))
    _check_excluded(located, ingest.on_error)
    doubts = plausibility.find_doubts(root, located, config.ingest.checks, config.compute.workers)
    write_table(CHECKS, doubts.checks, schemas.CHECKS)
    usable = manifest.exclude_samples(located, doubts.reasons)
    located, files = manifest.examine(root, usable, config.compute.workers)
    _write_tables(located)
    _check_excluded(located, ingest.on_error)
    write_table(MANIFEST, files, schemas.MANIFEST)
    contradictions = _warn_of_contradictions(located.cases)
    with live_run.tracked_run(
        "ingest",
        experiment=config.tracking.experiment,
        parameters=ingest.model_dump(),
        tags={
            "unit": ingest.unit,
            "excluded": _summarize_reasons(located.excluded),
            "contradicting_views": "; ".join(contradictions) or "none",
        },
    ) as run_log:
        run_log.log_metrics(_count_rows(located))
        for path in (CASES, EXCLUDED, MANIFEST):
            run_log.log_artifact(path)


def _write_tables(located: Located) -> None:
    write_table(CASES, located.cases, schemas.CASES)
    write_table(EXCLUDED, located.excluded, schemas.EXCLUDED)


def _check_excluded(located: Located, on_error: str) -> None:
    if on_error == "fail":
        datasets.refuse_excluded(located.excluded, str(EXCLUDED))


def _warn_of_contradictions(cases: pd.DataFrame) -> list[str]:
    """Warn of lesions whose views differ in pathology, and return them in words."""
    if not lesions.are_single_lesions(cases):
        return []  # the ids of an image or a breast stand together, without a pathology of each
    described = lesions.describe_contradictions(lesions.find_contradictions(cases))
    for text in described:
        _log.warning("the views of a lesion contradict each other: %s", text)
    return described


def _summarize_reasons(excluded: pd.DataFrame) -> str:
    """Return the most frequent reasons with their numbers of rows; `none` where no row is excluded."""
    reasons = excluded.groupby("reason").size().sort_values(ascending=False, kind="stable")
    most_frequent = [f"{count} x {reason}" for reason, count in reasons.head(MAX_REASONS).items()]
    more = [f"{len(reasons) - MAX_REASONS} more reasons"] if len(reasons) > MAX_REASONS else []
    return "; ".join(most_frequent + more) or "none"


def _count_rows(located: Located) -> dict[str, float]:
    cases = located.cases
    counts: dict[str, float] = {
        "samples": len(cases),
        "patients": cases["patient_id"].nunique(),
        "excluded_rows": len(located.excluded),
    }
    if lesions.are_single_lesions(cases):
        counts |= lesions.count_views(cases)
    for split, rows in cases.groupby("official_split"):
        counts |= {f"official_{split}": len(rows), f"official_{split}_malignant": rows["label"].sum()}
    return counts | {f"found/{name}": count for name, count in located.counts.items()}


if __name__ == "__main__":
    run(main)
