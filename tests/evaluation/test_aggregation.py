"""Levels: the maximum by hand on six samples, no sample lost, and no level finer than the samples."""

import numpy as np
import pandas as pd
import pytest

from mammo.core import schemas
from mammo.core.errors import InputError
from mammo.evaluation import aggregation, ensembling

# Patient A: two lesions in one CC view and one in MLO; B: one lesion in either breast; C: one lesion.
SAMPLES = [
    ("A_L_CC_1", "A", "LEFT", "CC", "1", 0, 0.2),
    ("A_L_CC_2", "A", "LEFT", "CC", "2", 1, 0.7),
    ("A_L_MLO_1", "A", "LEFT", "MLO", "1", 0, 0.4),
    ("B_L_CC_1", "B", "LEFT", "CC", "1", 0, 0.9),
    ("B_R_CC_1", "B", "RIGHT", "CC", "1", 1, 0.3),
    ("C_R_MLO_1", "C", "RIGHT", "MLO", "1", 0, 0.1),
]
CASES = pd.DataFrame(
    SAMPLES, columns=["sample_id", "patient_id", "laterality", "view", "abnormality_id", "label", "prob"]
).assign(abnormality_type="mass", birads=4, official_split="test")
CASES["pathology"] = CASES["label"].map({0: "BENIGN", 1: "MALIGNANT"})
PREDICTIONS = CASES[["sample_id", "patient_id"]].assign(split="test", label=CASES["label"], prob=CASES["prob"])
BY_HAND = {
    "lesion": [(sample[0], sample[5], sample[6], 1) for sample in SAMPLES],
    "abnormality": [
        ("A_LEFT_mass_1", 0, 0.3, 2),
        ("A_LEFT_mass_2", 1, 0.7, 1),
        ("B_LEFT_mass_1", 0, 0.9, 1),
        ("B_RIGHT_mass_1", 1, 0.3, 1),
        ("C_RIGHT_mass_1", 0, 0.1, 1),
    ],
    "image": [
        ("A_LEFT_CC", 1, 0.7, 2),
        ("A_LEFT_MLO", 0, 0.4, 1),
        ("B_LEFT_CC", 0, 0.9, 1),
        ("B_RIGHT_CC", 1, 0.3, 1),
        ("C_RIGHT_MLO", 0, 0.1, 1),
    ],
    "breast": [("A_LEFT", 1, 0.7, 3), ("B_LEFT", 0, 0.9, 1), ("B_RIGHT", 1, 0.3, 1), ("C_RIGHT", 0, 0.1, 1)],
    "patient": [("A", 1, 0.7, 3), ("B", 1, 0.9, 2), ("C", 0, 0.1, 1)],
}


@pytest.mark.parametrize("level", aggregation.LEVELS)
def test_units_by_hand(level):
    found = aggregation.aggregate(PREDICTIONS, CASES, level)
    rows = found[["sample_id", "label", "prob", "n_samples"]].round(9)
    assert list(rows.itertuples(index=False, name=None)) == BY_HAND[level]
    assert list(found["patient_id"]) == [name[0] for name, *_ in BY_HAND[level]]


@pytest.mark.parametrize("level", aggregation.LEVELS)
def test_every_sample_is_in_one_unit_and_the_tables_contract_holds(level):
    found = aggregation.aggregate(PREDICTIONS, CASES, level)
    assert found["n_samples"].sum() == len(PREDICTIONS)
    schemas.check_table(found.drop(columns="n_samples"), schemas.PREDICTIONS, level)


@pytest.mark.parametrize("level", aggregation.LEVELS)
def test_the_order_of_samples_does_not_matter(level):
    turned = aggregation.aggregate(PREDICTIONS.iloc[::-1], CASES.sample(frac=1, random_state=0), level)
    found = aggregation.aggregate(PREDICTIONS, CASES, level)
    pd.testing.assert_frame_equal(
        turned.sort_values("sample_id", ignore_index=True), found.sort_values("sample_id", ignore_index=True)
    )


def test_splits_and_folds_stay_apart():
    """In a cross-validation a patient is validation of one fold's model and held out of another's."""
    out_of_fold = pd.concat(
        [
            PREDICTIONS.assign(fold=0, split="oof"),
            PREDICTIONS.assign(fold=1, split="val", prob=1 - PREDICTIONS["prob"]),
        ]
    )
    found = aggregation.aggregate(out_of_fold, CASES, "patient")
    assert len(found) == 6
    assert found["n_samples"].sum() == 12
    by_key = found.set_index(["fold", "split", "patient_id"])["prob"]
    assert by_key[0, "oof", "A"] == 0.7
    assert by_key[1, "val", "A"] == pytest.approx(0.8)
    schemas.check_table(found.drop(columns="n_samples").assign(repeat=0), schemas.OUT_OF_FOLD, "patient")


def test_one_sample_is_a_unit_at_every_level():
    for level in aggregation.LEVELS:
        found = aggregation.aggregate(PREDICTIONS.head(1), CASES, level)
        assert np.array_equal(found[["label", "prob", "n_samples"]].to_numpy(), [[0, 0.2, 1]])


IMAGES = CASES.assign(abnormality_id=["1;2", *["1"] * 5])


def test_whole_images_have_no_lesions():
    assert aggregation.possible_levels(IMAGES) == ["image", "breast", "patient"]
    assert aggregation.possible_levels(CASES) == list(aggregation.LEVELS)
    assert aggregation.possible_levels(CASES.assign(abnormality_type="mass+calcification"))[0] == "image"
    aggregation.aggregate(PREDICTIONS, IMAGES, "image")


@pytest.mark.parametrize(
    ("cases", "level", "message"),
    [
        (IMAGES, "lesion", "'lesion' is finer than the samples.*possible: image, breast, patient"),
        (CASES, "quadrant", "unknown level 'quadrant'; there are lesion, abnormality, image, breast, patient"),
        (CASES.tail(4), "image", "2 predicted sample.*not among the cases, e.g. A_L_CC_1, A_L_CC_2"),
    ],
)
def test_wrong_input_is_refused_with_what_and_the_choices(cases, level, message):
    with pytest.raises(InputError, match=message):
        aggregation.aggregate(PREDICTIONS, cases, level)


def test_breasts_are_raised_to_breasts_and_patients_only():
    breasts = CASES.assign(view=["CC|MLO", *CASES["view"][1:]])
    assert aggregation.possible_levels(breasts) == ["breast", "patient"]


def test_scores_without_the_lesion_are_raised_alike() -> None:
    cases = pd.DataFrame(
        {
            "sample_id": ["a", "b"],
            "patient_id": "P1",
            "laterality": "LEFT",
            "view": ["CC", "MLO"],
            "abnormality_id": "1",
            "abnormality_type": "mass",
        }
    )
    scored = cases[["sample_id", "patient_id"]].assign(
        split="test", label=1, prob=[0.2, 0.9], prob_without_lesion=[0.4, None]
    )
    raised = aggregation.aggregate(scored, cases, "breast")
    assert raised[["prob", "prob_without_lesion"]].to_numpy().tolist() == [[0.9, 0.4]]


def test_an_abnormality_whose_ids_are_exchanged_is_scored_over_its_own_views():
    exchanged = pd.DataFrame(
        [
            ("A_CC_1", "A", "LEFT", "CC", "1", 0, 0.1),
            ("A_CC_2", "A", "LEFT", "CC", "2", 1, 0.9),
            ("A_MLO_1", "A", "LEFT", "MLO", "1", 1, 0.7),
            ("A_MLO_2", "A", "LEFT", "MLO", "2", 0, 0.3),
        ],
        columns=CASES.columns[:7],
    ).assign(abnormality_type="mass", official_split="train", birads=lambda rows: 3 + 2 * rows["label"])
    exchanged["pathology"] = exchanged["label"].map({0: "BENIGN", 1: "MALIGNANT"})
    rows = exchanged[["sample_id", "patient_id", "label", "prob"]].assign(split="test")
    by_lesion = aggregation.aggregate(rows, exchanged, "abnormality").set_index("sample_id")
    assert by_lesion["label"].to_dict() == {"A_LEFT_mass_1": 0, "A_LEFT_mass_2": 1}
    np.testing.assert_allclose(by_lesion["prob"], [0.2, 0.8])
    two_views = ensembling.average_views(rows, exchanged, "lesion").set_index("sample_id")["prob"]
    assert two_views["A_CC_1"] == two_views["A_MLO_2"] < 0.5 < two_views["A_CC_2"] == two_views["A_MLO_1"]
