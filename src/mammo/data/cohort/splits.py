"""Patient-wise hold-out and folds. The official test rows stay whole; training rows of their patients are dropped.

Patients who share a film count as one patient, of whose names one is used.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedKFold, train_test_split

from mammo.core.errors import InputError
from mammo.core.schemas import KEY, assert_patients_apart

IN_TEST = "patient is in the official test set"


class SplitError(InputError):
    """The cases cannot be split with these parameters; the message says why and what to change."""


@dataclass(frozen=True)
class Split:
    """`splits` (schemas.SPLITS), and the cases that were `dropped` from it (schemas.EXCLUDED)."""

    splits: pd.DataFrame
    dropped: pd.DataFrame


def split_cases(cases: pd.DataFrame, shared_films: pd.DataFrame, val_fraction: float, folds: int, seed: int) -> Split:
    """Assign every case to train, val or test, and every training patient (train and val) to a fold.

    cases: schemas.CASES. shared_films: from leakage.find_shared_films. Stratified by the patient's worst label and
    abnormality types. Of patients who share a film those of the official test set are used, else the first.
    """
    test = cases["official_split"] == "test"
    in_test = set(cases.loc[test, "patient_id"])
    reason = cases["patient_id"].map(_doubles(shared_films, in_test))
    reason = reason.mask(cases["patient_id"].isin(in_test), IN_TEST).mask(test)
    used_cases = cases[reason.isna()]
    official_test = used_cases["official_split"] == "test"
    patients = _patients(used_cases[~official_test])
    validation = _hold_out(patients, val_fraction, seed)
    fold = _folds(patients, folds, seed)
    splits = pd.DataFrame(
        {
            "sample_id": used_cases["sample_id"],
            "patient_id": used_cases["patient_id"],
            "split": np.select(
                [used_cases["official_split"] == "test", used_cases["patient_id"].isin(validation)],
                ["test", "val"],
                "train",
            ),
            "fold": used_cases["patient_id"].map(fold).astype("Int64"),
        }
    )
    assert_patients_apart(splits, "split")
    _assert_both_classes(splits.assign(label=used_cases["label"]), {"train", "val", "test"})
    dropped = cases[[*KEY, "official_split"]].assign(reason=reason)[reason.notna()]
    return Split(splits, dropped)


def redraw_folds(index: pd.DataFrame, repeat: int, folds: int, seed: int) -> pd.DataFrame:
    """Return `index` (schemas.INDEX) with the folds of another draw, for a repeated cross-validation.

    repeat: 0 keeps the folds of `index`.
    """
    if repeat == 0:
        return index
    patients = _patients(index[index["split"] != "test"])
    fold = _folds(patients, folds, (seed + repeat) % 2**32)
    return index.assign(fold=index["patient_id"].map(fold).astype("Int64"))


def carve_inner_validation(index: pd.DataFrame, fold: int, val_fraction: float, seed: int) -> pd.DataFrame:
    """Return the roles of one fold of a cross-validation: a copy of `index` (schemas.INDEX) without the test rows.

    `split` becomes "oof" for the held-out fold, and "train" or "val" for the rest: the inner validation, on which
    early stopping and the operating point rest, is taken from the training folds by patient.
    """
    rows = index[index["split"] != "test"].copy()
    rest = rows[rows["fold"] != fold]
    patients = rest.groupby("patient_id").agg(stratum=("label", "max")).astype(str)
    validation = _hold_out(patients, val_fraction, (seed + fold) % 2**32)
    rows["split"] = np.select([rows["fold"] == fold, rows["patient_id"].isin(validation)], ["oof", "val"], "train")
    _assert_both_classes(rows, {"train", "val", "oof"}, f"fold {fold}: ")
    return rows


def _doubles(shared_films: pd.DataFrame, in_test: set[str]) -> dict[str, str]:
    """Return why patients are dropped who share a film, directly or through others, with a patient who is used.

    They are dropped, not kept together in one fold: inner validation and bootstrap draw by patient_id, so that the
    film would count twice.
    """
    forwards = shared_films[["patient_id", "film", "other_id", "other_film"]]
    backwards = forwards.set_axis(["other_id", "other_film", "patient_id", "film"], axis=1)
    links = pd.concat([forwards, backwards]).sort_values(["patient_id", "film", "other_id", "other_film"])
    names, ends = np.unique(links[["patient_id", "other_id"]].to_numpy(str), return_inverse=True)
    rows, columns = ends.reshape(-1, 2).T
    joined = coo_array((np.ones(len(links)), (rows, columns)), shape=(len(names), len(names)))
    groups = pd.Series(names).groupby(connected_components(joined, directed=False)[1])
    reasons: dict[str, str] = {}
    for _, members in groups:
        used = in_test & set(members) or {min(members)}
        for patient in set(members) - used:
            film, other_film = links.loc[links["patient_id"] == patient, ["film", "other_film"]].iloc[0]
            reasons[patient] = f"double of {', '.join(sorted(used))}: {film} is the same film as {other_film}"
    return reasons


def _patients(cases: pd.DataFrame) -> pd.DataFrame:
    """Return one row per patient with a `stratum`; one too rare to be split is replaced by the label alone.

    A patient who would be the only one there brings all patients of the label along.
    """
    grouped = cases.groupby("patient_id")
    label = grouped["label"].max().astype(str)
    types = grouped["abnormality_type"].agg(lambda values: "+".join(sorted(set("+".join(values).split("+")))))
    stratum = label + " " + types
    rare = stratum.map(stratum.value_counts()) < 10
    alone = rare.groupby(label).transform("sum") == 1
    return pd.DataFrame({"stratum": stratum.mask(rare | alone, label)})


def _hold_out(patients: pd.DataFrame, fraction: float, seed: int) -> set[str]:
    try:
        _, held_out = train_test_split(
            patients.index.to_numpy(), test_size=fraction, stratify=patients["stratum"], random_state=seed
        )
    except ValueError as error:
        raise SplitError(
            f"cannot hold out {fraction:.0%} of {len(patients)} training patients ({error}); "
            "change split.val_fraction or use more patients"
        ) from error
    return set(held_out)


def _folds(patients: pd.DataFrame, folds: int, seed: int) -> dict[str, int]:
    fewest = int(patients["stratum"].str[0].value_counts().min()) if len(patients) else 0
    if fewest < folds:
        raise SplitError(
            f"split.folds = {folds}, but the rarer class has only {fewest} of {len(patients)} training patients; "
            "use fewer folds or more patients"
        )
    strata, label = patients["stratum"], patients["stratum"].str[0]
    rare = strata.map(strata.value_counts()) < folds
    left_over = rare.groupby(label).transform("sum").between(1, folds - 1)  # too few for a stratum of their own
    strata = strata.mask(rare | left_over, label)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    order = patients.index.to_numpy()
    return {
        patient: number
        for number, (_, members) in enumerate(splitter.split(order, strata))
        for patient in order[members]
    }


def _assert_both_classes(rows: pd.DataFrame, needed: set[str], where: str = "") -> None:
    for name, labels in rows.groupby("split")["label"]:
        for value, word in ((0, "benign"), (1, "malignant")):
            if not (labels == value).any():
                raise SplitError(
                    f"{where}split {name!r} has {len(labels)} samples and none of them {word}; "
                    "use more patients or change split.val_fraction, split.folds or the seed"
                )
    missing = needed - set(rows["split"])
    if missing:
        raise SplitError(f"{where}split {', '.join(sorted(missing))} is empty; use more patients")
