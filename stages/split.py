"""Assign patients to train, validation and test, and to folds; refuse a split that leaks."""

import json

from mammo import leaks, params, splits, tables, tracking
from stages import run
from stages.paths import CASES, DROPPED, LEAK_AUDIT, MANIFEST, SPLITS


def main() -> None:
    """Write the split of every case, the training rows dropped because their patient is elsewhere, and the leak audit.

    Where the audit finds a leak it is all that is written.
    """
    loaded = params.load()
    cases = tables.read(CASES, tables.CASES)
    manifest = tables.read(MANIFEST, tables.MANIFEST)
    shared_films = leaks.shared_films(cases, manifest)
    split = splits.split(cases, shared_films, loaded.split.val_fraction, loaded.split.folds, loaded.seed)
    audit = leaks.audit(cases, split.splits, manifest)
    tables.write_text(LEAK_AUDIT, json.dumps(audit, indent=1) + "\n")
    leaks.refuse(audit, str(LEAK_AUDIT))
    tables.write(SPLITS, split.splits, tables.SPLITS)
    tables.write(DROPPED, split.dropped, tables.EXCLUDED)
    labelled = split.splits.merge(cases[["sample_id", "label"]], on="sample_id")
    with tracking.run(
        "split",
        experiment=loaded.tracking.experiment,
        parameters=loaded.split.model_dump() | {"seed": loaded.seed},
        tags={},
    ) as tracked:
        tracked.log_metrics({"dropped_rows": len(split.dropped), "dropped_patients": audit["dropped"]["patients"]})
        tracked.log_metrics({name: audit[name] for name in ("leaks", "same_image_within_split")})
        for name, rows in labelled.groupby("split"):
            tracked.log_metrics(
                {
                    f"{name}": len(rows),
                    f"{name}_malignant": rows["label"].sum(),
                    f"{name}_patients": rows["patient_id"].nunique(),
                }
            )
        for path in (SPLITS, DROPPED, LEAK_AUDIT):
            tracked.log_artifact(path)


if __name__ == "__main__":
    run(main)
