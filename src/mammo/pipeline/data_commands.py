"""The data by hand: `python -m mammo data`. No stage of dvc.yaml: it writes nothing but downloads."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo.core import schemas
from mammo.core.config import IngestConfig, load_config
from mammo.core.files import read_splits, read_table, sha256
from mammo.core.paths import CASES, EXCLUDED, MANIFEST, RAW, SPLITS
from mammo.data import datasets, sources
from mammo.data.cohort import integrity, manifest, summary
from mammo.data.datasets import DatasetError, Located


@dataclass(frozen=True)
class Fetched:
    """Where a source's data lie, and how much it is. made_by_ingest: there is nothing to download."""

    source: str
    dataset: str
    root: Path
    made_by_ingest: bool
    files: int
    bytes: int


@dataclass(frozen=True)
class Checked:
    """What was looked at, and what is wrong with it. counts: what the copy holds, as its data set counts."""

    root: Path
    files: int
    counts: dict[str, int]
    compared: list[Path]
    problems: list[str]


@dataclass(frozen=True)
class Described:
    """The samples of the splits: data_summary.counts, and data_summary.prevalence."""

    counts: pd.DataFrame
    composition: pd.DataFrame


def download() -> Fetched:
    """Fetch what `ingest.source` of params.yaml names; what is there already is not fetched again."""
    loaded = load_config()
    ingest = loaded.ingest
    source = sources.get(ingest.source)
    root = source.root(ingest, RAW)
    made = root.resolve().is_relative_to(RAW.resolve())
    if not made:
        source.fetch(ingest, RAW, loaded.seed)
    sizes = [file.stat().st_size for file in root.rglob("*") if file.is_file()]
    return Fetched(ingest.source, ingest.dataset, root, made, len(sizes), sum(sizes))


def check() -> Checked:
    """Read every file of the data set, and compare with what `ingest` and `split` left, as far as they have run."""
    loaded = load_config()
    ingest = loaded.ingest
    root = sources.get(ingest.source).root(ingest, RAW)
    types: list[str] = list(ingest.abnormality_types)
    located = datasets.get(ingest.dataset).locate(root, ingest.unit, types, loaded.compute.workers)
    located, files = manifest.examine(root, located, loaded.compute.workers)
    compared = [path for path in (EXCLUDED, MANIFEST, SPLITS) if path.is_file()]
    problems = [*_incomplete(located, ingest, root), *_changed(located, files, compared, root)]
    return Checked(root, len(files), located.counts, compared, problems)


def describe() -> Described:
    """Count the samples that the split stage left."""
    loaded = load_config()
    used = summary.of_splits(read_table(CASES, schemas.CASES), read_splits(SPLITS))
    confidence, resamples = loaded.evaluate.confidence, loaded.evaluate.resamples
    return Described(summary.counts(used), summary.prevalence(used, confidence, resamples, loaded.seed))


def _incomplete(located: Located, ingest: IngestConfig, root: Path) -> Iterator[str]:
    """Where the whole data set is expected, what of it is not there."""
    if ingest.expect == "full":
        published = datasets.get(ingest.dataset).published(list(ingest.abnormality_types))
        try:
            datasets.assert_full(located.counts, published, str(root))
        except DatasetError as error:
            yield str(error)


def _changed(located: Located, files: pd.DataFrame, compared: list[Path], root: Path) -> Iterator[str]:
    """What is unusable or no longer as the stages saw it, by their tables in `compared`."""
    accepted = read_table(EXCLUDED, schemas.EXCLUDED) if EXCLUDED in compared else None
    yield from integrity.unusable(located.excluded, accepted)
    if MANIFEST in compared:
        recorded = read_table(MANIFEST, schemas.MANIFEST)
        yield from integrity.changed(recorded, _digests(files, recorded, root))
        if SPLITS in compared:
            splits = read_table(SPLITS, schemas.SPLITS)
            yield from integrity.leaking(read_table(CASES, schemas.CASES), splits, recorded)


def _digests(files: pd.DataFrame, recorded: pd.DataFrame, root: Path) -> dict[str, str]:
    """SHA-256 by path of the files that are used now, and of those of `recorded` that are there, but not used now."""
    used = dict(zip(files["path"], files["sha256"], strict=True))
    left = [path for path in recorded["path"] if path not in used and (root / path).is_file()]
    return used | {path: sha256(root / path) for path in left}
