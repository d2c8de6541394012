"""Splits: a patient's images stay together, the official test stays whole, the same seed gives the same split."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.core import schemas
from mammo.data.cohort import leakage, splits
from mammo.data.cohort.splits import Split, SplitError
from mammo.data.datasets.cbis_ddsm import tables
from tests.examples import examples

TYPES = ("mass", "calcification", "mass+calcification")
SHARED = ["patient_id", "film", "other_id", "other_film"]
NOTHING_SHARED = pd.DataFrame(columns=SHARED)
FRACTIONS, FOLDS, SEEDS = st.floats(0.2, 0.4), st.integers(2, 5), st.integers(0, 2**32 - 10)


def case_table(train: int, test: int, leaking: int, seed: int) -> pd.DataFrame:
    """Cases of so many patients, in random order: one to four samples each, labels mixed within some patients.

    leaking: patients with samples on both sides of the official split. Every other patient has a malignant sample.
    """
    rng = np.random.default_rng(seed)
    places = [("train",)] * train + [("test",)] * test + [("train", "test")] * leaking
    rows = []
    for number, place in enumerate(places):
        kind = TYPES[rng.choice(3, p=[0.55, 0.4, 0.05])]
        for sample in range(max(len(place), rng.integers(1, 5))):
            malignant = number % 2 == 0 and (sample < 1 or rng.random() < 0.5)
            rows.append(
                {
                    "sample_id": f"P_{number:05d}_{sample}",
                    "patient_id": f"P_{number:05d}",
                    "laterality": "LEFT",
                    "view": "CC",
                    "abnormality_id": str(sample),
                    "abnormality_type": kind,
                    "label": int(malignant),
                    "official_split": place[sample % len(place)],
                }
            )
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


CASE_TABLES = st.builds(case_table, st.integers(40, 70), st.integers(6, 15), st.integers(0, 5), SEEDS)


def indexed(cases: pd.DataFrame, split: Split) -> pd.DataFrame:
    return split.splits.merge(cases[["sample_id", "label", "abnormality_type"]], on="sample_id", validate="one_to_one")


def places_per_patient(table: pd.DataFrame, column: str) -> pd.Series:
    return table.groupby("patient_id")[column].nunique(dropna=False)


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    return case_table(train=120, test=20, leaking=4, seed=3)


# Hold-out and folds


@examples(40)
@given(CASE_TABLES, FRACTIONS, FOLDS, SEEDS)
def test_no_patient_is_in_two_splits_or_folds(cases: pd.DataFrame, fraction: float, folds: int, seed: int) -> None:
    result = splits.split_cases(cases, NOTHING_SHARED, fraction, folds, seed).splits
    assert (places_per_patient(result, "split") == 1).all()
    assert (places_per_patient(result, "fold") == 1).all()


@examples(40)
@given(CASE_TABLES, FRACTIONS, FOLDS, SEEDS)
def test_the_official_test_stays_whole_and_leaking_train_rows_are_listed(
    cases: pd.DataFrame, fraction: float, folds: int, seed: int
) -> None:
    result = splits.split_cases(cases, NOTHING_SHARED, fraction, folds, seed)
    test = cases[cases["official_split"] == "test"]
    leaking = cases[(cases["official_split"] == "train") & cases["patient_id"].isin(test["patient_id"])]
    in_test = result.splits[result.splits["split"] == "test"]
    assert set(in_test["sample_id"]) == set(test["sample_id"])
    assert in_test["fold"].isna().all()
    pd.testing.assert_frame_equal(result.dropped[schemas.KEY], leaking[schemas.KEY])
    assert len(result.splits) + len(result.dropped) == len(cases)
    schemas.check_table(result.splits, schemas.SPLITS, "splits")
    schemas.check_table(result.dropped, schemas.EXCLUDED, "dropped")


@examples(40)
@given(CASE_TABLES, FRACTIONS, FOLDS, SEEDS)
def test_every_training_patient_is_in_one_fold_and_every_fold_and_split_has_both_classes(
    cases: pd.DataFrame, fraction: float, folds: int, seed: int
) -> None:
    index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, fraction, folds, seed))
    training = index[index["split"] != "test"]
    assert set(training["fold"]) == set(range(folds))
    assert (training.groupby("fold")["label"].nunique() == 2).all()
    assert (index.groupby("split")["label"].nunique() == 2).all()
    sizes = training.groupby("fold")["patient_id"].nunique()
    assert sizes.max() - sizes.min() <= 1 + len(TYPES)


@examples(20)
@given(CASE_TABLES, SEEDS)
def test_the_same_seed_gives_the_same_split_whatever_the_order_of_the_rows(cases: pd.DataFrame, seed: int) -> None:
    one = splits.split_cases(cases, NOTHING_SHARED, 0.25, 3, seed).splits
    other = splits.split_cases(cases[::-1], NOTHING_SHARED, 0.25, 3, seed).splits
    pd.testing.assert_frame_equal(one, other[::-1])


def test_another_seed_gives_another_split(cases: pd.DataFrame) -> None:
    draws = [splits.split_cases(cases, NOTHING_SHARED, 0.2, 3, seed).splits for seed in range(5)]
    assert len({tuple(table["split"]) for table in draws}) == 5
    assert len({tuple(table["fold"].fillna(-1)) for table in draws}) == 5


def test_the_global_generator_stays_untouched(cases: pd.DataFrame) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - it is this state that must not change
    index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, 0.2, 3, 1))
    splits.carve_inner_validation(index, 0, 0.2, 1)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("seed", range(5))
def test_validation_and_folds_have_about_the_training_sets_share_of_malignant_patients_and_types(
    cases: pd.DataFrame, seed: int
) -> None:
    result = splits.split_cases(cases, NOTHING_SHARED, 0.25, 3, seed).splits.merge(
        cases.drop(columns="patient_id"), on="sample_id"
    )
    patients = (
        result[result["split"] != "test"]
        .groupby("patient_id")
        .agg(
            split=("split", "first"),
            fold=("fold", "first"),
            malignant=("label", "max"),
            kind=("abnormality_type", "first"),
        )
    )
    patients["mass"] = patients["kind"] == "mass"
    assert (patients["split"] == "val").mean() == pytest.approx(0.25, abs=0.01)
    for trait in ("malignant", "mass"):
        overall = patients[trait].mean()
        for place in ("split", "fold"):
            assert patients.groupby(place)[trait].mean().to_numpy() == pytest.approx(overall, abs=0.06)


def test_a_patient_unlike_any_other_does_not_stop_the_split(cases: pd.DataFrame) -> None:
    masses = cases.assign(abnormality_type="mass")
    alone = masses.loc[(masses["official_split"] == "train") & (masses["label"] == 1), "patient_id"].iloc[0]
    masses.loc[masses["patient_id"] == alone, "abnormality_type"] = "calcification"
    result = splits.split_cases(masses, NOTHING_SHARED, 0.2, 3, 0).splits
    assert alone in set(result["patient_id"])


def test_how_several_types_are_joined_changes_nothing(cases: pd.DataFrame) -> None:
    other_order = cases.assign(abnormality_type=cases["abnormality_type"].replace(TYPES[2], "calcification+mass"))
    one, other = (splits.split_cases(table, NOTHING_SHARED, 0.25, 3, 4).splits for table in (cases, other_order))
    pd.testing.assert_frame_equal(one, other)


def training_index(*orders: str) -> pd.DataFrame:
    """An index of 88 training patients: 44 with a mass, 12 with calcifications, 32 with both, joined as in `orders`."""
    both = [orders[number // 2 % len(orders)] for number in range(32)]
    kinds = ["mass"] * 44 + ["calcification"] * 12 + both
    numbers = np.arange(len(kinds))
    names = [f"P_{number:05d}" for number in numbers]
    return pd.DataFrame(
        {"sample_id": names, "patient_id": names, "split": "train", "label": numbers % 2, "abnormality_type": kinds}
    )


def test_patients_of_both_types_are_one_stratum_however_these_are_joined() -> None:
    """16 of a class are a stratum of their own; 8 would be too few and join the 6 with calcifications alone."""
    index = training_index(TYPES[2], "calcification+mass")
    folds = splits.redraw_folds(index, 1, 4, 0)["fold"]
    assert folds.tolist() == splits.redraw_folds(training_index(TYPES[2]), 1, 4, 0)["fold"].tolist()
    both = index["abnormality_type"].str.contains("+", regex=False)
    assert (pd.crosstab(folds[both], index.loc[both, "label"]) == 4).all(axis=None)


# Patients who share a film


def sharing(*pairs: tuple[str, str]) -> pd.DataFrame:
    """shared_films of these pairs of patients."""
    return pd.DataFrame([(one, f"film of {one}", other, f"film of {other}") for one, other in pairs], columns=SHARED)


def only_in(cases: pd.DataFrame, side: str) -> list[str]:
    """Patients who are on this side of the official split alone."""
    sides = cases.groupby("patient_id")["official_split"].agg(set)
    return sorted(sides.index[sides == {side}])


def test_of_training_patients_who_share_a_film_the_first_stays(cases: pd.DataFrame) -> None:
    first, second, third, *_ = only_in(cases, "train")
    result = splits.split_cases(cases, sharing((second, third), (first, second)), 0.2, 3, 0)
    doubles = result.dropped[result.dropped["reason"] != splits.IN_TEST]
    assert set(doubles["patient_id"]) == {second, third}
    assert len(doubles) == cases["patient_id"].isin([second, third]).sum()
    assert first in set(result.splits["patient_id"])
    told = doubles[doubles["patient_id"] == third]["reason"].unique()
    assert list(told) == [f"double of {first}: film of {third} is the same film as film of {second}"]


def test_a_training_patient_who_shares_a_film_with_a_test_patient_goes_and_the_test_stays_whole(
    cases: pd.DataFrame,
) -> None:
    training, tested = only_in(cases, "train")[0], only_in(cases, "test")[0]
    for pair in ((training, tested), (tested, training)):
        result = splits.split_cases(cases, sharing(pair), 0.2, 3, 0)
        assert training not in set(result.splits["patient_id"])
        assert (result.splits["split"] == "test").sum() == (cases["official_split"] == "test").sum()


def test_two_test_patients_who_share_a_film_both_stay(cases: pd.DataFrame) -> None:
    one, other, *_ = only_in(cases, "test")
    result = splits.split_cases(cases, sharing((one, other)), 0.2, 3, 0)
    assert {one, other} <= set(result.splits["patient_id"])


def test_a_patient_on_both_official_sides_is_told_so_also_when_a_double(cases: pd.DataFrame) -> None:
    leaking = min(set(cases["patient_id"]) - set(only_in(cases, "train")) - set(only_in(cases, "test")))
    training = only_in(cases, "train")[0]
    dropped = splits.split_cases(cases, sharing((leaking, training)), 0.2, 3, 0).dropped.set_index("patient_id")[
        "reason"
    ]
    assert (dropped[[leaking]] == splits.IN_TEST).all()
    assert dropped[[training]].str.startswith(f"double of {leaking}: ").all()


@examples(30)
@given(CASE_TABLES, st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=6), SEEDS)
def test_no_two_patients_who_share_a_film_are_in_training_or_on_two_sides(
    cases: pd.DataFrame, pairs: list[tuple[int, int]], seed: int
) -> None:
    names = sorted(cases["patient_id"].unique())
    chosen = names[:10] + names[-20:] + names[10:20]
    shared = sharing(*((chosen[one], chosen[other]) for one, other in pairs if one != other))
    try:
        result = splits.split_cases(cases, shared, 0.3, 2, seed)
    except SplitError:
        return
    place = result.splits.drop_duplicates("patient_id").set_index("patient_id")["split"].to_dict()
    for one, other in zip(shared["patient_id"], shared["other_id"], strict=True):
        places = {place.get(one, "dropped"), place.get(other, "dropped")}
        assert places == {"test"} or "dropped" in places
    assert len(result.splits) + len(result.dropped) == len(cases)
    schemas.check_table(result.dropped, schemas.EXCLUDED, "dropped")


# Refused


@pytest.mark.parametrize("side", ["train", "test"])
@pytest.mark.parametrize(("label", "lacking"), [(0, "malignant"), (1, "benign")])
def test_a_class_missing_on_one_side_is_refused(cases: pd.DataFrame, side: str, label: int, lacking: str) -> None:
    one_class = cases.assign(label=cases["label"].mask(cases["official_split"] == side, label))
    with pytest.raises(SplitError, match=f"split '{side}' has .* none of them {lacking}; use more patients"):
        splits.split_cases(one_class, NOTHING_SHARED, 0.2, 3, 0)


@pytest.mark.parametrize(("side", "told"), [("train", "split test is empty"), ("test", "0 training patients")])
def test_an_official_side_without_rows_is_refused(cases: pd.DataFrame, side: str, told: str) -> None:
    with pytest.raises(SplitError, match=told):
        splits.split_cases(cases[cases["official_split"] == side], NOTHING_SHARED, 0.2, 3, 0)


def test_fewer_patients_than_folds_names_the_key_and_what_was_found(cases: pd.DataFrame) -> None:
    with pytest.raises(SplitError, match=r"split\.folds = 61, but the rarer class has only 60 of 120 .* fewer folds"):
        splits.split_cases(cases, NOTHING_SHARED, 0.2, 61, 0)


def test_as_many_patients_of_the_rarer_class_as_folds_are_enough(cases: pd.DataFrame) -> None:
    found = splits.split_cases(cases, NOTHING_SHARED, 0.2, 60, 0).splits
    assert set(found["fold"].dropna()) == set(range(60))


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_validation_share_that_leaves_nobody_names_the_key(cases: pd.DataFrame, fraction: float) -> None:
    with pytest.raises(SplitError, match=r"change split\.val_fraction or use more patients"):
        splits.split_cases(cases, NOTHING_SHARED, fraction, 3, 0)


@examples(40)
@given(st.integers(0, 12), st.integers(0, 4), st.integers(0, 4), FRACTIONS, FOLDS, SEEDS)
def test_a_small_cohort_is_split_into_both_classes_or_refused(
    train: int, test: int, leaking: int, fraction: float, folds: int, seed: int
) -> None:
    cases = case_table(train + 1, test, leaking, seed)
    try:
        index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, fraction, folds, seed))
    except SplitError:
        return
    assert set(index["split"]) == {"train", "val", "test"}
    assert (index.groupby("split")["label"].nunique() == 2).all()


# Inner validation of a fold


@examples(30)
@given(CASE_TABLES, FRACTIONS, FOLDS, SEEDS)
def test_inner_validation_never_sees_the_held_out_fold_or_the_test(
    cases: pd.DataFrame, fraction: float, folds: int, seed: int
) -> None:
    index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, fraction, folds, seed))
    before = index.copy()
    for fold in range(folds):
        roles = splits.carve_inner_validation(index, fold, fraction, seed)
        held_out = index.loc[index["fold"] == fold, "sample_id"]
        assert list(roles["sample_id"]) == list(index.loc[index["split"] != "test", "sample_id"])
        assert set(roles.loc[roles["split"] == "oof", "sample_id"]) == set(held_out)
        assert (places_per_patient(roles, "split") == 1).all()
        assert (roles.groupby("split")["label"].nunique() == 2).all()
        assert set(roles["split"]) == {"train", "val", "oof"}
    pd.testing.assert_frame_equal(index, before)


def test_every_training_sample_is_held_out_once(cases: pd.DataFrame) -> None:
    index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, 0.2, 4, 0))
    roles = pd.concat([splits.carve_inner_validation(index, fold, 0.2, 0) for fold in range(4)])
    held_out = roles.loc[roles["split"] == "oof", "sample_id"]
    assert sorted(held_out) == sorted(index.loc[index["split"] != "test", "sample_id"])


def test_inner_validation_takes_its_share_of_the_training_folds(cases: pd.DataFrame) -> None:
    index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, 0.2, 3, 0))
    patients = splits.carve_inner_validation(index, 1, 0.25, 0).groupby("split")["patient_id"].nunique()
    assert patients.to_dict() == {"train": 60, "val": 20, "oof": 40}


def test_inner_validation_follows_the_seed(cases: pd.DataFrame) -> None:
    index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, 0.2, 3, 0))
    draws = [tuple(splits.carve_inner_validation(index, 1, 0.2, seed)["split"]) for seed in (5, 5, 6)]
    assert draws[0] == draws[1] != draws[2]


def test_the_largest_seed_serves_every_fold(cases: pd.DataFrame) -> None:
    largest = 2**32 - 1
    index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, 0.2, 3, largest))
    for fold in range(3):
        assert "val" in set(splits.carve_inner_validation(index, fold, 0.2, largest)["split"])


def test_folds_are_drawn_anew_for_each_repeat_but_the_first(cases: pd.DataFrame) -> None:
    index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, 0.2, 3, 0))
    draws = [splits.redraw_folds(index, repeat, 3, 0) for repeat in (0, 1, 2, 1)]
    pd.testing.assert_frame_equal(draws[0], index)
    pd.testing.assert_frame_equal(draws[1], draws[3])
    folds = [tuple(table["fold"].dropna()) for table in draws[:3]]
    assert len(set(folds)) == 3
    for table in draws:
        schemas.assert_patients_apart(table, "refolded")
        assert (table["fold"].isna() == (table["split"] == "test")).all()
        assert (table.groupby("fold")["label"].nunique() == 2).all()
        pd.testing.assert_frame_equal(table.drop(columns="fold"), index.drop(columns="fold"))


def test_a_fold_without_a_class_is_refused_by_number(cases: pd.DataFrame) -> None:
    index = indexed(cases, splits.split_cases(cases, NOTHING_SHARED, 0.2, 3, 0))
    benign = index.assign(label=index["label"].mask(index["fold"] == 2, 0))
    with pytest.raises(SplitError, match=r"fold 2: split 'oof' has .* none of them malignant"):
        splits.carve_inner_validation(benign, 2, 0.2, 0)


# The official split of CBIS-DDSM


@pytest.fixture(scope="module")
def official(real_root: Path) -> pd.DataFrame:
    """The 3,568 published rows, as cases as far as splitting needs them."""
    parts = [
        pd.read_csv(real_root / "csv" / name, dtype=str).assign(official_split=split)
        for (_, split), name in tables.FILES.items()
    ]
    rows = pd.concat(parts, ignore_index=True).rename(columns=tables.COLUMNS)
    return rows.assign(sample_id=rows[schemas.KEY].agg("_".join, axis=1), label=(rows["pathology"] == "MALIGNANT") * 1)


def manifest_of(films: pd.Series) -> pd.DataFrame:
    """A manifest of these paths in which no two films are alike."""
    rng = np.random.default_rng(0)
    paths = sorted(set(films))
    hashes = [rng.bytes(leakage.HASH_BITS // 8).hex() for _ in paths]
    return pd.DataFrame({"path": paths, "sha256": [rng.bytes(32).hex() for _ in paths], "perceptual_hash": hashes})


def test_the_official_splits_31_leaking_patients_lose_their_83_train_rows(official: pd.DataFrame) -> None:
    cases = official.assign(image_path=official["image"].str.split("/").str[0])
    manifest = manifest_of(cases["image_path"])
    result = splits.split_cases(cases, leakage.find_shared_films(cases, manifest), 0.2, 5, 20)
    assert (result.splits["split"] == "test").sum() == 704
    assert (result.splits["split"] != "test").sum() == 2864 - 83
    assert len(result.dropped) == 83
    assert result.dropped["patient_id"].nunique() == 31
    assert set(result.dropped["official_split"]) == {"train"}
    assert set(result.dropped["reason"]) == {splits.IN_TEST}
    audit = leakage.audit(cases, result.splits, manifest)
    assert (audit["leaks"], audit["dropped"]) == (0, {"rows": 83, "patients": 31})


def test_the_audit_finds_the_31_patients_where_their_train_rows_are_kept(official: pd.DataFrame) -> None:
    cases = official.assign(image_path=official["image"].str.split("/").str[0])
    as_published = cases[["sample_id", "patient_id"]].assign(split=cases["official_split"], fold=pd.NA)
    audit = leakage.audit(cases, as_published, manifest_of(cases["image_path"]))
    assert audit["checks"]["train-test"]["patients"] == 31
    assert audit["dropped"]["rows"] == 0
    with pytest.raises(leakage.LeakError):
        leakage.refuse_leaks(audit, "audit.json")
