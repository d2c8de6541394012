"""Assign patients to train, validation and test, and to folds."""

from mammo import params, splits, tables, tracking
from stages import run
from stages.paths import CASES, DROPPED, SPLITS


def main() -> None:
    """Write the split of every case, and the training rows dropped because their patient is in the test set."""
    loaded = params.load()
    cases = tables.read(CASES, tables.CASES)
    split = splits.split(cases, loaded.split.val_fraction, loaded.split.folds, loaded.seed)
    tables.write(SPLITS, split.splits, tables.SPLITS)
    tables.write(DROPPED, split.dropped, tables.EXCLUDED)
    labelled = split.splits.merge(cases[["sample_id", "label"]], on="sample_id")
    with tracking.run(
        "split",
        experiment=loaded.tracking.experiment,
        parameters=loaded.split.model_dump() | {"seed": loaded.seed},
        tags={},
    ) as tracked:
        tracked.log_metrics({"dropped_rows": len(split.dropped)})
        for name, rows in labelled.groupby("split"):
            tracked.log_metrics(
                {
                    f"{name}": len(rows),
                    f"{name}_malignant": rows["label"].sum(),
                    f"{name}_patients": rows["patient_id"].nunique(),
                }
            )
        tracked.log_artifact(SPLITS)
        tracked.log_artifact(DROPPED)


if __name__ == "__main__":
    run(main)
