"""How long stages took, by their runs on the server."""

from collections.abc import Iterable

import mlflow

from mammo.tracking.failures import FAILURES, is_outage_known
from mammo.tracking.mlflow_client import is_missing, search_finished, use_store

N_RUNS = 20  # of a stage that are looked at, the newest first


def read_run_times(experiment: str, names: Iterable[str]) -> dict[str, float]:
    """Return the seconds of the newest finished run of each stage of that name, where there is one.

    A run that was replayed, or that went on after a kill, does not count. Empty where there is no server, or none that
    answers.
    """
    address = use_store()
    if is_outage_known() or is_missing(address):
        return {}
    try:
        found = mlflow.get_experiment_by_name(experiment)
        times = {} if found is None else {name: _newest(found.experiment_id, name) for name in names}
    except FAILURES:
        return {}
    return {name: seconds for name, seconds in times.items() if seconds is not None}


def _newest(experiment_id: str, name: str) -> float | None:
    runs = search_finished(experiment_id, f"attributes.run_name = '{name}'", N_RUNS)
    whole = [run.info for run in runs if not {"replayed", "resumed"} & set(run.data.tags)]
    return (whole[0].end_time - whole[0].start_time) / 1000 if whole else None
