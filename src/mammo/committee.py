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

from mammo import bundle, tables
from mammo.bundle import CONTINUED, MODELS, PREDICTIONS, About, BundleError
from mammo.ensembling import Combination
from mammo.record import record_path
from mammo.report import ENSEMBLE, TWO_VIEWS

ENSEMBLES = Path("data/ensembles")
SEEDS = "seeds"
TOLERANCE = 1e-9  # between two ways to add up the same numbers


@dataclass(frozen=True)
class Committee:
    """What is known of an ensemble; members: names below data/models, in the order of the combination's weights."""

    about: About
    members: list[str]
    combination: Combination


def is_ensemble(name: str) -> bool:
    """Whether `name` is that of a row which the ensemble stage makes."""
    return name.startswith((ENSEMBLE, TWO_VIEWS))


def names() -> list[str]:
    """The ensembles of this workspace that can be asked about single films."""
    path = record_path("ensemble")
    if not path.is_file():
        return []
    return [f"{ENSEMBLE}{method}" for method in bundle.recorded(path)["parameters"]["methods"]]


def of_workspace(name: str) -> Committee:
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
    trained = [_training_record(member) for member in members]
    if {one["tags"]["data"] for one in trained} != {record["tags"]["data"]}:
        raise BundleError(f"{name} and its members are of different pixels; run `dvc repro ensemble`")
    if len(flips := {one["parameters"]["predict.flips"] for one in trained}) > 1:
        raise BundleError(f"the members of {name} were asked with and without mirroring; run `dvc repro ensemble`")
    combination = _combination(name, record, members)
    about = bundle.described(
        name,
        place,
        predicted=ENSEMBLES / f"{name}.csv",
        data=record["tags"]["data"],
        flips=flips.pop(),
        model_sha256=_hash(members),
    )
    return Committee(about, members, combination)


def _training_record(member: str) -> dict[str, Any]:
    """The record of a member's training, whose files must be those that it names, as far as it names them."""
    if member.startswith(f"{SEEDS}/"):
        path = record_path(SEEDS, member.split("/")[1])
    else:
        path = record_path(CONTINUED) if member == CONTINUED else record_path("train", member)
    record = bundle.recorded(path)
    for file in (MODELS / f"{member}.keras", PREDICTIONS / f"{member}.csv"):
        digest = tables.sha256(file) if file.is_file() else "none"
        if digest == "none" or record["artifacts"].get(file.as_posix(), digest) != digest:
            raise BundleError(f"{file} is not what {path} says; restore it with `dvc checkout`, or `dvc repro`")
    return record


def _hash(members: list[str]) -> str:
    """SHA-256 of the members' names and files."""
    lines = [f"{member} {tables.sha256(MODELS / f'{member}.keras')}\n" for member in members]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _combination(name: str, record: dict[str, Any], members: list[str]) -> Combination:
    """By the recorded weights; raises BundleError where they do not give the ensemble's own predictions."""
    method = name.removeprefix(ENSEMBLE)
    weights = np.array([record["metrics"][f"{method}_weight_{member}"] for member in members], np.float64)
    single = [tables.read(PREDICTIONS / f"{member}.csv", tables.PREDICTIONS) for member in members]
    expected = tables.read(ENSEMBLES / f"{name}.csv", tables.PREDICTIONS)["prob"].to_numpy()
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
