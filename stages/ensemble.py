"""Combine the predictions of models and of views; what is fitted sees validation rows only."""

from mammo.core import row_names, schemas
from mammo.core.config import load_config
from mammo.core.files import fresh_folder, read_table, write_table
from mammo.core.paths import CASES, ENSEMBLES, PREDICTIONS, data_fingerprint
from mammo.evaluation import ensembling
from mammo.tracking import live_run
from stages import run


def main() -> None:
    """Write a prediction table per method in `ensemble.methods`, over all models and their further seeds, and per name
    in `ensemble.two_views`."""
    loaded = load_config()
    predictions = {
        name: read_table(PREDICTIONS / f"{name}.csv", schemas.PREDICTIONS)
        for name in row_names.ensemble_member_names(loaded.models, loaded.seed, loaded.seeds)
    }
    combined = {method: ensembling.combine(predictions, method) for method in loaded.ensemble.methods}
    found = {row_names.ensemble_name(method): table for method, (table, _) in combined.items()}
    cases = read_table(CASES, schemas.CASES)
    two_views = {
        row_names.two_views_name(name): ensembling.over_views((predictions | found)[name], cases, loaded.ingest.unit)
        for name in loaded.ensemble.two_views
    }
    with fresh_folder(ENSEMBLES) as folder:
        for name, table in (found | two_views).items():
            write_table(folder / f"{name}.csv", table, schemas.PREDICTIONS)
    with live_run.tracked_run(
        "ensemble",
        experiment=loaded.tracking.experiment,
        parameters=loaded.ensemble.model_dump() | {"members": list(predictions)},
        tags={"data": data_fingerprint()},
    ) as tracked:
        for method, (_, weights) in combined.items():
            tracked.log_metrics({f"{method}_weight_{name}": weight for name, weight in weights.items()})
        tracked.log_artifact(ENSEMBLES)


if __name__ == "__main__":
    run(main)
