"""Combine the predictions of models and of views; what is fitted sees held-out training rows only."""

from mammo.core import row_names, schemas
from mammo.core.config import load_config
from mammo.core.files import fresh_folder, read_splits, read_table, write_table, write_text
from mammo.core.paths import CASES, ENSEMBLES, PREDICTIONS, SPLITS, data_fingerprint
from mammo.evaluation import ensembling
from mammo.tracking import live_run
from stages import run


def main() -> None:
    """Write a prediction table per method in `ensemble.methods`, with the combination as JSON beside it; and a table
    per name in `ensemble.two_views`."""
    config = load_config()
    members = row_names.ensemble_member_names(config)
    viewed = [name for name in config.ensemble.two_views if not row_names.is_ensemble(name)]
    predictions = {
        name: read_table(PREDICTIONS / f"{name}.csv", schemas.PREDICTIONS)
        for name in dict.fromkeys([*members, *viewed])
    }
    folds = read_splits(SPLITS).set_index("sample_id")["fold"]
    ensembles = {
        method: ensembling.combine({name: predictions[name] for name in members}, method, folds)
        for method in config.ensemble.methods
    }
    combined = {row_names.ensemble_name(method): table for method, (table, _) in ensembles.items()}
    cases = read_table(CASES, schemas.CASES)
    two_views = {
        row_names.two_views_name(name): ensembling.average_views(
            (predictions | combined)[name], cases, config.ingest.unit
        )
        for name in config.ensemble.two_views
    }
    with fresh_folder(ENSEMBLES) as folder:
        for name, table in (combined | two_views).items():
            write_table(folder / f"{name}.csv", table, schemas.PREDICTIONS)
        for method, (_, combination) in ensembles.items():
            write_text(folder / f"{row_names.ensemble_name(method)}.json", combination.to_json())
    with live_run.tracked_run(
        "ensemble",
        experiment=config.tracking.experiment,
        parameters=config.ensemble.model_dump() | {"members": members},
        tags={"data": data_fingerprint()},
    ) as stage_run:
        for method, (_, combination) in ensembles.items():
            weights = combination.by_member()
            stage_run.log_metrics({f"{method}_weight_{name}": weight for name, weight in weights.items()})
        stage_run.log_artifact(ENSEMBLES)


if __name__ == "__main__":
    run(main)
