"""An ensemble of this workspace as it is asked about films: its members, and what combines their probabilities.

Members and weights are those that the ensemble stage recorded. They must lead from the members' prediction tables to
the ensemble's own, or it is refused: something was trained or combined anew.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit

from mammo.core import schemas
from mammo.core.files import read_table
from mammo.core.records import record_path
from mammo.core.row_names import ENSEMBLE, TWO_VIEWS
from mammo.evaluation.ensembling import Combination
from mammo.inference import bundle
from mammo.inference.bundle import PREDICTIONS, About, BundleError

ENSEMBLES = Path("data/ensembles")
TOLERANCE = 1e-9  # between two ways to add up the same numbers


@dataclass(frozen=True)
class TrainedEnsemble:
    """What is known of an ensemble; members: names below data/models, in the order of the combination's weights."""

    about: About
    members: list[str]
    combination: Combination


def names() -> list[str]:
    """The ensembles of this workspace that can be asked about single films."""
    path = record_path("ensemble")
    if not path.is_file():
        return []
    return [f"{ENSEMBLE}{method}" for method in bundle.recorded(path)["parameters"]["methods"]]


def of_workspace(name: str) -> TrainedEnsemble:
    """The ensemble `name` of a finished run; raises BundleError where there is none, or its parts do not fit."""
    if name.startswith(TWO_VIEWS):
        raise BundleError(
            f"{name} averages the scores of a lesion's CC and MLO view, and single films are given; "
            f"ask {name.removeprefix(TWO_VIEWS)} about each"
        )
    if name not in names():
        raise BundleError(f"no ensemble {name!r} in this workspace; there are {', '.join(names()) or 'none'}")
    place = record_path("ensemble")
    record = bundle.recorded(place)
    members = list(record["parameters"]["members"])
    trained = {member: bundle.trained(member) for member in members}
    if {one["tags"]["data"] for one, _ in trained.values()} != {record["tags"]["data"]}:
        raise BundleError(f"{name} and its members are of different pixels; run `dvc repro ensemble`")
    if len(flips := {one["parameters"]["predict.flips"] for one, _ in trained.values()}) > 1:
        raise BundleError(f"the members of {name} were asked with and without mirroring; run `dvc repro ensemble`")
    combination = _combination(name, record, members)
    about = bundle.described(
        name,
        place,
        predicted=ENSEMBLES / f"{name}.csv",
        data=record["tags"]["data"],
        flips=flips.pop(),
        model_sha256=_hash({member: digest for member, (_, digest) in trained.items()}),
    )
    return TrainedEnsemble(about, members, combination)


def _hash(digests: dict[str, str]) -> str:
    """SHA-256 of the members' names and of the digests of their files."""
    lines = [f"{member} {digest}\n" for member, digest in digests.items()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _combination(name: str, record: dict[str, Any], members: list[str]) -> Combination:
    """By the recorded weights; raises BundleError where they do not give the ensemble's own predictions."""
    method = name.removeprefix(ENSEMBLE)
    weights = np.array([record["metrics"][f"{method}_weight_{member}"] for member in members], np.float64)
    single = [read_table(PREDICTIONS / f"{member}.csv", schemas.PREDICTIONS) for member in members]
    expected = read_table(ENSEMBLES / f"{name}.csv", schemas.PREDICTIONS)["prob"].to_numpy()
    if {len(table) for table in single} == {len(expected)}:
        probs = np.column_stack([table["prob"] for table in single])
        on_odds = Combination(weights, stacked=True)
        # The record holds no intercept; the predictions do, and every one of them must agree on it.
        intercept = float(np.median(logit(expected) - logit(on_odds(probs))))
        for found in (Combination(weights), replace(on_odds, intercept=intercept)):
            if np.allclose(found(probs), expected, rtol=0, atol=TOLERANCE):
                return found
    raise BundleError(
        f"{name}: the weights in {record_path('ensemble')} do not lead from its members' predictions to its own; "
        "run `dvc repro ensemble`"
    )
