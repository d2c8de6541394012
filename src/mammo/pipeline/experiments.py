"""DVC's experiments beside their baselines: changed parameters, and the metrics of the row that validation selects.

No choice here sees a test score: the row is that with the best AUC on validation rows among the models that could
become champion, as in evaluation/promotion_rule.py.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mammo.core import row_names, schemas
from mammo.core.config import PARAMS_FILE, parse_config
from mammo.core.errors import InputError
from mammo.core.paths import COMPARISON, PREDICTIONS, SPLITS
from mammo.evaluation import promotion_rule
from mammo.metrics import discrimination
from mammo.pipeline.dvc_project import open_project
from mammo.pipeline.revisions import Revision, changed_parameters, open_revision

BASELINE, FINISHED = "baseline", "success"


@dataclass(frozen=True)
class Selected:
    """The row of a comparison table that validation selects. metrics: its columns in metrics/comparison.csv.

    reaches_floors: whether it could be registered (tracking.champion).
    """

    row: str
    val_auc: float
    reaches_floors: bool
    metrics: Mapping[Any, Any]


@dataclass(frozen=True)
class Experiment:
    """A baseline or an experiment. changes: by dotted key the value of its baseline and its own, None where unset.

    state: BASELINE, or as DVC says: success, queued, running, failed. selected: None where problem says why.
    """

    name: str
    commit: str
    state: str
    changes: dict[str, tuple[Any, Any]]
    selected: Selected | None
    problem: str | None


def list_experiments(all_commits: bool = False) -> list[Experiment]:
    """Return the baseline at HEAD with its experiments, the newest first; all_commits: all baselines that have any."""
    with open_project(logging.ERROR, locked=False) as repo:
        states = repo.experiments.show(all_commits=all_commits, hide_workspace=True)
    return [row for state in states if not all_commits or state.experiments for row in _group(state)]


def _group(baseline: Any) -> Iterator[Experiment]:
    """Yield a baseline and its experiments; states: dvc.repo.experiments.serialize.ExpState."""
    parameters = _parameters(baseline)
    yield _describe(baseline.name or baseline.rev[:7], baseline, BASELINE, {})
    for experiments in baseline.experiments or []:
        newest = experiments.revs[0]
        state = experiments.executor.state if experiments.executor else FINISHED
        name = experiments.name or newest.name or newest.rev[:7]
        yield _describe(name, newest, state, changed_parameters(parameters, _parameters(newest)))


def _parameters(state: Any) -> dict[str, Any]:
    """Return params.yaml as nested values; none where DVC could not read them."""
    content = state.data.params.get(PARAMS_FILE.as_posix(), {}) if state.data else {}
    return content.get("data") or {}


def _describe(name: str, state: Any, kind: str, changes: dict[str, tuple[Any, Any]]) -> Experiment:
    if kind not in (BASELINE, FINISHED):
        return Experiment(name, state.rev, kind, changes, None, kind)
    try:
        with open_revision(state.rev) as revision:
            return Experiment(name, state.rev, kind, changes, select_row(revision), None)
    except InputError as error:
        return Experiment(name, state.rev, kind, changes, None, str(error).replace(state.rev, name))


def select_row(revision: Revision) -> Selected:
    """Return the row that validation selects of a finished commit; raise InputError where it is not finished."""
    config = parse_config(revision.read_parameters(), f"{PARAMS_FILE} of {revision.name}")
    table = revision.read_csv(COMPARISON).set_index("model")
    rows = {name: _validation_rows(revision, name) for name in row_names.candidate_names(config)}
    folds = revision.read_table(SPLITS, schemas.SPLITS)
    rates = {name: promotion_rule.measure_rates(table, folds, config.evaluate) for name, table in rows.items()}
    aucs = {name: float(discrimination.auc(table["label"], table["prob"])) for name, table in rows.items()}
    contender = promotion_rule.choose_contender(rows, rates, config.tracking.champion)
    name = contender or max(aucs, key=lambda row: aucs[row])
    if name not in table.index:
        raise InputError(f"{COMPARISON} of {revision.name} has no row {name}; it is of another run")
    return Selected(name, aucs[name], contender is not None, dict(table.loc[name]))


def _validation_rows(revision: Revision, name: str) -> pd.DataFrame:
    predictions = revision.read_table(PREDICTIONS / f"{name}.csv", schemas.PREDICTIONS)
    return promotion_rule.select_validation_rows(predictions)
