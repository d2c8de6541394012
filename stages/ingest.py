"""Get the data and turn what lies on disk into a table of cases; every published row is a case or an excluded row."""

from pathlib import Path

import pandas as pd

from mammo import compute, datasets, params, sources, tables, tracking
from stages import run
from stages.paths import CASES, EXCLUDED, MANIFEST, RAW


def main() -> None:
    """Write the cases, the excluded rows with their reasons, and the hash of every file they rest on."""
    loaded = params.load()
    ingest = loaded.ingest
    source, dataset = sources.get(ingest.source), datasets.get(ingest.dataset)
    with tables.fresh_folder(RAW) as unfinished:
        source.fetch(ingest, unfinished, loaded.seed)
    root = source.root(ingest, RAW)
    located = dataset.locate(root, ingest.unit, list(ingest.abnormality_types), loaded.compute.workers)
    tables.write(CASES, located.cases, tables.CASES)
    tables.write(EXCLUDED, located.excluded, tables.EXCLUDED)
    tables.write(MANIFEST, _manifest(root, located.files, loaded.compute.workers), tables.MANIFEST)
    with tracking.run(
        "ingest", experiment=loaded.tracking.experiment, parameters=ingest.model_dump(), tags={"unit": ingest.unit}
    ) as tracked:
        tracked.log_metrics(_counts(located.cases, located.excluded))
        for path in (CASES, EXCLUDED, MANIFEST):
            tracked.log_artifact(path)


def _manifest(root: Path, files: list[str], workers: int) -> pd.DataFrame:
    digests = compute.run(lambda path: tables.sha256(root / path), files, workers, "hashing files")
    sizes = [(root / path).stat().st_size for path in files]
    return pd.DataFrame({"path": files, "bytes": sizes, "sha256": list(digests)})


def _counts(cases: pd.DataFrame, excluded: pd.DataFrame) -> dict[str, float]:
    counts: dict[str, float] = {
        "samples": len(cases),
        "patients": cases["patient_id"].nunique(),
        "excluded_rows": len(excluded),
    }
    for split, rows in cases.groupby("official_split"):
        counts |= {f"official_{split}": len(rows), f"official_{split}_malignant": rows["label"].sum()}
    return counts


if __name__ == "__main__":
    run(main)
