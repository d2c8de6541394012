"""Assign patients to train, validation and test, and to folds; fail where patients or images leak."""

import json

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.files import read_table, write_table, write_text
from mammo.core.paths import CASES, DROPPED, LEAK_AUDIT, MANIFEST, SPLITS
from mammo.data.cohort import leakage, splits
from mammo.tracking import live_run
from stages import run


def main() -> None:
    """Write the split of every case, the training rows dropped because their patient is elsewhere, and the leak audit.

    Where the audit finds a leak, only the audit is written.
    """
    config = load_config()
    cases = read_table(CASES, schemas.CASES)
    manifest = read_table(MANIFEST, schemas.MANIFEST)
    shared_films = leakage.find_shared_films(cases, manifest)
    split = splits.split_cases(cases, shared_films, config.split.val_fraction, config.split.folds, config.seed)
    audit = leakage.audit(cases, split.splits, manifest)
    write_text(LEAK_AUDIT, json.dumps(audit, indent=1) + "\n")
    leakage.refuse_leaks(audit, str(LEAK_AUDIT))
    write_table(SPLITS, split.splits, schemas.SPLITS)
    write_table(DROPPED, split.dropped, schemas.EXCLUDED)
    labelled = split.splits.merge(cases[["sample_id", "label"]], on="sample_id")
    with live_run.tracked_run(
        "split",
        experiment=config.tracking.experiment,
        parameters=config.split.model_dump() | {"seed": config.seed},
        tags={},
    ) as run_log:
        run_log.log_metrics({"dropped_rows": len(split.dropped), "dropped_patients": audit["dropped"]["patients"]})
        run_log.log_metrics({name: audit[name] for name in ("leaks", "same_image_within_split")})
        for name, rows in labelled.groupby("split"):
            run_log.log_metrics(
                {
                    f"{name}": len(rows),
                    f"{name}_malignant": rows["label"].sum(),
                    f"{name}_patients": rows["patient_id"].nunique(),
                }
            )
        for path in (SPLITS, DROPPED, LEAK_AUDIT):
            run_log.log_artifact(path)


if __name__ == "__main__":
    run(main)
