"""AUC by subgroup, tested against all other rows, and the samples on which a model errs most.

A subgroup is compared with all other rows. Patients may be in both (two views, two lesions), so that the two AUCs are
not independent: the test sums each patient's part in either (auc_tests.subset_auc_test). Holm's correction is within
one table, which is one model over all its subgroups.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mammo.core.errors import InputError
from mammo.evaluation.operating_point import OUTCOMES
from mammo.metrics import auc_tests
from mammo.metrics.discrimination import Mask
from mammo.metrics.resampling import Interval, LabelledRows

VARIABLES = ("abnormality_type", "view", "breast_density", "subtlety", "size", "birads", "pathology")
# What an AUC needs: to filter attributes as well takes ten times as long.
SCORED = ("patient_id", "label", "prob", "fold")
MISSING = "missing"
MIN_PATIENTS = 2
COLUMNS = [
    *("variable", "value", "n", "n_patients", "n_malignant", "auc", "low", "high"),
    *("difference", "p_holm", "worse", "note"),
]
ATTRIBUTES = ["pathology", "abnormality_type", "breast_density", "subtlety"]
ERROR_COLUMNS = ["kind", "rank", "sample_id", "patient_id", "label", "prob", "threshold", *ATTRIBUTES]
ERROR_KINDS = {name: pair for pair, name in OUTCOMES.items() if name.startswith("false")}  # label, decision


@dataclass(frozen=True)
class Subgroup:
    """The rows (n,) in a subgroup, and those it is compared with."""

    variable: str
    value: str
    inside: Mask
    outside: Mask
    note: str = ""


def evaluate_subgroups(
    rows: pd.DataFrame, cases: pd.DataFrame, variables: tuple[str, ...] = VARIABLES, *, confidence: float = 0.95
) -> pd.DataFrame:
    """Return rows of subgroups.csv without the model: AUC by subgroup with its interval, and against all other rows.

    rows: the reported samples (sample_id, patient_id, label, prob, and fold where each has its own model, whose AUCs
    are then averaged). cases: schemas.CASES, and further columns that `variables` name (size: see `size_tertiles`).
    pathology: the benign rows of one kind against all malignant rows, because one kind alone has one class.
    The interval is DeLong's, clustered by patient, which also holds for few patients. `worse` is 1 where the AUC is
    lower and p_holm is below 1 - confidence. What is not estimable is nan and `note` says why. Raises InputError for
    a variable or a sample that is not in `cases`.
    """
    joined = _join(rows, cases, variables)
    scored = joined[[name for name in SCORED if name in joined]]
    labelled = LabelledRows.from_table(scored)
    tests = [
        _evaluate(scored, labelled, subgroup, confidence)
        for name in variables
        for subgroup in _list_subgroups(joined, name)
    ]
    result = pd.DataFrame(tests, columns=[*COLUMNS, "p"])
    p_holm = auc_tests.holm(result["p"].to_numpy(np.float64))
    worse = (p_holm < 1 - confidence) & (result["difference"] < 0)
    return result.assign(p_holm=p_holm, worse=worse.astype(np.int64))[COLUMNS]


def rank_errors(reported: pd.DataFrame, cases: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return rows of errors.csv without the model: the `count` worst false negatives and false positives.

    reported: operating_point.apply_threshold; cases: schemas.CASES. Rank 1 lies farthest from its threshold;
    sample_id breaks ties.
    """
    _check_samples(reported, cases)
    distance = (reported["prob"] - reported["threshold"]).abs()
    ordered = reported.assign(distance=distance).sort_values(["distance", "sample_id"], ascending=[False, True])
    worst = [
        ordered[(ordered["label"] == label) & (ordered["predicted_positive"] == decision)]
        .head(count)
        .assign(kind=kind, rank=lambda rows: range(1, len(rows) + 1))
        for kind, (label, decision) in ERROR_KINDS.items()
    ]
    errors = pd.concat(worst, ignore_index=True)
    return errors.merge(cases[["sample_id", *ATTRIBUTES]], on="sample_id", how="left")[ERROR_COLUMNS]


def _join(rows: pd.DataFrame, cases: pd.DataFrame, variables: tuple[str, ...]) -> pd.DataFrame:
    unknown = [name for name in variables if name not in cases]
    if unknown:
        raise InputError(f"no column {', '.join(unknown)} for subgroups; the cases have: {', '.join(cases.columns)}")
    _check_samples(rows, cases)
    return rows.merge(cases[["sample_id", *variables]], on="sample_id", how="left", validate="one_to_one")


def _check_samples(rows: pd.DataFrame, cases: pd.DataFrame) -> None:
    unknown = sorted(set(rows["sample_id"]) - set(cases["sample_id"]))
    if unknown:
        raise InputError(
            f"{len(unknown)} sample(s) are not among the cases, e.g. {', '.join(unknown[:3])}; subgroups and errors "
            "are of samples, not of breasts or patients, and of this cohort: dvc repro"
        )


def _list_subgroups(rows: pd.DataFrame, variable: str) -> Iterator[Subgroup]:
    """Each value of a variable, in the order of the categories or sorted; missing values are a subgroup too."""
    column = rows[variable]
    malignant = rows["label"].to_numpy() == 1
    benign_kinds = variable == "pathology"
    for value in [*_values(column[~malignant] if benign_kinds else column), MISSING]:
        # Comparing with a missing integer gives a missing answer.
        chosen = (column.isna() if value == MISSING else (column == value).fillna(False)).to_numpy(bool)
        if not chosen.any():
            continue
        if benign_kinds:
            chosen = chosen & ~malignant
            yield Subgroup(variable, str(value), chosen | malignant, ~chosen, "against all malignant rows")
        else:
            yield Subgroup(variable, str(value), chosen, ~chosen)


def _values(column: "pd.Series[Any]") -> list[Any]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return list(column.cat.categories)
    return column.dropna().sort_values().unique().tolist()


def _evaluate(rows: pd.DataFrame, labelled: LabelledRows, subgroup: Subgroup, confidence: float) -> dict[str, object]:
    """Return one row of the table, and p before correction; labelled: of the same rows."""
    estimable = _estimable(rows, subgroup.inside)
    # Within the same folds: the scores of another fold's model are no fair rest.
    shared = estimable & _estimable(rows, subgroup.outside)
    inside = rows[subgroup.inside & estimable] if estimable.any() else rows[subgroup.inside]
    outside = rows[subgroup.outside & estimable] if estimable.any() else rows[subgroup.outside]
    interval = _interval(inside, confidence)
    test = auc_tests.subset_auc_test(
        labelled,
        rows["prob"].to_numpy(),
        auc_tests.Subsets(subgroup.outside & shared, subgroup.inside & shared),
        confidence,
    )
    left_out = int(subgroup.inside.sum()) - interval.n
    notes = [
        subgroup.note,
        f"{left_out} rows left out: fewer than {MIN_PATIENTS} patients of a class in their fold" if left_out else "",
        _note_missing(inside, interval, outside, test.p_value),
    ]
    return {
        "variable": subgroup.variable,
        "value": subgroup.value,
        "n": interval.n,
        "n_patients": interval.n_patients,
        "n_malignant": int(inside["label"].sum()),
        "auc": interval.value,
        "low": interval.low,
        "high": interval.high,
        "difference": test.difference,
        "p": test.p_value,
        "note": "; ".join(note for note in notes if note),
    }


def _interval(rows: pd.DataFrame, confidence: float) -> Interval:
    return auc_tests.delong_interval(LabelledRows.from_table(rows), rows["prob"].to_numpy(), confidence)


def _estimable(rows: pd.DataFrame, chosen: Mask) -> Mask:
    """Mark the rows (n,) in a fold where the chosen rows have an AUC and its variance; without folds all or none."""
    fold = rows["fold"].to_numpy(np.int64) if "fold" in rows else np.zeros(len(rows), np.int64)
    folds = [name for name in np.unique(fold[chosen]) if not _reason(rows[chosen & (fold == name)])]
    return np.isin(fold, folds)


def _reason(rows: pd.DataFrame) -> str:
    """Return why these rows give no AUC with its variance, or an empty text."""
    labels, patient_ids = rows["label"].to_numpy(), rows["patient_id"].to_numpy()
    patients = {name: len(set(patient_ids[labels == label])) for label, name in enumerate(("benign", "malignant"))}
    fewest = min(patients, key=lambda name: patients[name])
    if patients[fewest] == 0:
        return f"no {fewest} row"
    if patients[fewest] < MIN_PATIENTS:
        return f"{fewest} rows of {patients[fewest]} patient, {MIN_PATIENTS} are needed"
    return ""


def _note_missing(inside: pd.DataFrame, interval: Interval, outside: pd.DataFrame, p_value: float) -> str:
    """Return the note on a subgroup whose AUC, interval or comparison is not estimable."""
    if np.isnan(interval.low):
        reason = _reason(inside) or _reason_in_folds(inside) or "no variation: all pairs are ranked alike"
        return f"{'' if np.isnan(interval.value) else 'interval '}not estimable ({reason})"
    if np.isnan(p_value):
        reason = "no other row" if outside.empty else _reason(outside) or _reason_in_folds(outside) or "no variation"
        return f"difference not estimable (in the rest: {reason})"
    return ""


def _reason_in_folds(rows: pd.DataFrame) -> str:
    if "fold" in rows and not _estimable(rows, np.ones(len(rows), bool)).any():
        return f"no fold has {MIN_PATIENTS} patients of each class"
    return ""
