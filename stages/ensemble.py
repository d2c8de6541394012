"""Combine the models' predictions; what is fitted sees validation rows only."""

from mammo import ensembling, params, tables, tracking
from stages import run
from stages.paths import ENSEMBLES, PREDICTIONS, fingerprint


def main() -> None:
    """Write one prediction table per method in `ensemble.methods`, over all models and the continued one."""
    loaded = params.load()
    members = {
        name: tables.read(PREDICTIONS / f"{name}.csv", tables.PREDICTIONS)
        for name in [*loaded.models, "continue_training"]
    }
    combined = {method: ensembling.combine(members, method) for method in loaded.ensemble.methods}
    with tables.fresh_folder(ENSEMBLES) as folder:
        for method, (predictions, _) in combined.items():
            tables.write(folder / f"ensemble_{method}.csv", predictions, tables.PREDICTIONS)
    with tracking.run(
        "ensemble",
        experiment=loaded.tracking.experiment,
        parameters=loaded.ensemble.model_dump() | {"members": list(members)},
        tags={"data": fingerprint()},
    ) as tracked:
        for method, (_, weights) in combined.items():
            tracked.log_metrics({f"{method}_weight_{name}": weight for name, weight in weights.items()})
        tracked.log_artifact(ENSEMBLES)


if __name__ == "__main__":
    run(main)
