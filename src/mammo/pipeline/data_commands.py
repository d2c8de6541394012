"""Download, check and count the data that params.yaml names; no stage of dvc.yaml: only downloads are written."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo.core import schemas
from mammo.core.config import IngestConfig, load_config
from mammo.core.files import read_splits, read_table, sha256
from mammo.core.paths import CASES, EXCLUDED, MANIFEST, RAW, SPLITS
from mammo.data import datasets, plausibility, sources
from mammo.data.cohort import integrity, manifest, summary
from mammo.data.datasets import DatasetError, Located
from mammo.metrics.resampling import Resampling


@dataclass(frozen=True)
class Download:
    """Where the data of a source lie, and their size; generated: ingest makes them."""

    source: str
    dataset: str
    root: Path
    generated: bool
    files: int
    bytes: int


@dataclass(frozen=True)
class DataCheck:
    """The files and tables that were checked, and their problems. counts: of the copy, as its data set counts."""

    root: Path
    files: int
    counts: dict[str, int]
    compared: list[Path]
    problems: list[str]


@dataclass(frozen=True)
class DataDescription:
    """The samples of the splits: cohort.summary.counts, and cohort.summary.prevalence."""

    counts: pd.DataFrame
    composition: pd.DataFrame


def download() -> Download:
    """Download what `ingest.source` of params.yaml names, but for the files that are there already."""
    config = load_config()
    ingest = config.ingest
    source = sources.load_source(ingest.source)
    root = source.root(ingest, RAW)
    generated = root.resolve().is_relative_to(RAW.resolve())
    if not generated:
        source.fetch(ingest, RAW, config.seed)
    sizes = [file.stat().st_size for file in root.rglob("*") if file.is_file()]
    return Download(ingest.source, ingest.dataset, root, generated, len(sizes), sum(sizes))


def check() -> DataCheck:
    """Read every file of the data set, and compare with the tables of `ingest` and `split`, where they have run."""
    config = load_config()
    ingest = config.ingest
    root = sources.load_source(ingest.source).root(ingest, RAW)
    types: list[str] = list(ingest.abnormality_types)
    located = datasets.load_dataset(ingest.dataset).locate(root, ingest.unit, types, config.compute.workers)
    doubts = plausibility.find_doubts(root, located, config.ingest.checks, config.compute.workers)
    usable = manifest.exclude_samples(located, doubts.reasons)
    located, files = manifest.examine(root, usable, config.compute.workers)
    compared = [path for path in (EXCLUDED, MANIFEST, SPLITS) if path.is_file()]
    problems = [*_incomplete(located, ingest, root), *_changed(located, files, compared, root)]
    return DataCheck(root, len(files), located.counts, compared, problems)


def describe() -> DataDescription:
    """Count the samples of the splits."""
    config = load_config()
    samples = summary.join_splits(read_table(CASES, schemas.CASES), read_splits(SPLITS))
    resampling = Resampling.from_config(config.evaluate, config.seed)
    return DataDescription(summary.counts(samples), summary.prevalence(samples, resampling))


def _incomplete(located: Located, ingest: IngestConfig, root: Path) -> Iterator[str]:
    """Yield what is missing of the data set, where the whole of it is expected."""
    if ingest.expect == "full":
        published = datasets.load_dataset(ingest.dataset).published(list(ingest.abnormality_types))
        try:
            datasets.assert_full(located.counts, published, str(root))
        except DatasetError as error:
            yield str(error)


def _changed(located: Located, files: pd.DataFrame, compared: list[Path], root: Path) -> Iterator[str]:
    """Yield what is unusable or has changed since the stages ran, by their tables in `compared`."""
    accepted = read_table(EXCLUDED, schemas.EXCLUDED) if EXCLUDED in compared else None
    yield from integrity.describe_unusable(located.excluded, accepted)
    if MANIFEST in compared:
        recorded = read_table(MANIFEST, schemas.MANIFEST)
        yield from integrity.describe_changes(recorded, _digests(files, recorded, root))
        if SPLITS in compared:
            splits = read_table(SPLITS, schemas.SPLITS)
            yield from integrity.describe_leaks(read_table(CASES, schemas.CASES), splits, recorded)


def _digests(files: pd.DataFrame, recorded: pd.DataFrame, root: Path) -> dict[str, str]:
    """Return the SHA-256 by path of the files that are used now, and of the others of `recorded` that exist."""
    used = dict(zip(files["path"], files["sha256"], strict=True))
    unused = [path for path in recorded["path"] if path not in used and (root / path).is_file()]
    return used | {path: sha256(root / path) for path in unused}
