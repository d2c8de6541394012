"""Combine the predictions of models and of views; what is fitted sees validation rows only."""

from mammo import ensembling, params, tables, tracking
from stages import members, run
from stages.paths import CASES, ENSEMBLES, PREDICTIONS, fingerprint


def main() -> None:
    """Write a prediction table per method in `ensemble.methods`, over all models and their further seeds, and per name
    in `ensemble.two_views`."""
    loaded = params.load()
    predictions = {
        name: tables.read(PREDICTIONS / f"{name}.csv", tables.PREDICTIONS)
        for name in members.names(loaded.models, loaded.seed, loaded.seeds)
    }
    combined = {method: ensembling.combine(predictions, method) for method in loaded.ensemble.methods}
    found = {members.of_method(method): table for method, (table, _) in combined.items()}
    cases = tables.read(CASES, tables.CASES)
    two_views = {
        members.of_two_views(name): ensembling.over_views((predictions | found)[name], cases, loaded.ingest.unit)
        for name in loaded.ensemble.two_views
    }
    with tables.fresh_folder(ENSEMBLES) as folder:
        for name, table in (found | two_views).items():
            tables.write(folder / f"{name}.csv", table, tables.PREDICTIONS)
    with tracking.run(
        "ensemble",
        experiment=loaded.tracking.experiment,
        parameters=loaded.ensemble.model_dump() | {"members": list(predictions)},
        tags={"data": fingerprint()},
    ) as tracked:
        for method, (_, weights) in combined.items():
            tracked.log_metrics({f"{method}_weight_{name}": weight for name, weight in weights.items()})
        tracked.log_artifact(ENSEMBLES)


if __name__ == "__main__":
    run(main)
