"""The tables of metrics/evaluation/: complete, in their columns, and fitted on validation only."""

import numpy as np
import pandas as pd
import pytest

from mammo.evaluation import clinical_tables
from mammo.metrics import bootstrap, discrimination
from mammo.metrics.resampling import LabelledRows, Resampling
from tests import arrays

SEED = 3


def cases_of(predictions: pd.DataFrame) -> pd.DataFrame:
    """tables.CASES plus `size` for the samples of a prediction table."""
    rows = predictions.drop_duplicates("sample_id")
    return pd.DataFrame(
        {
            "sample_id": rows["sample_id"],
            "patient_id": rows["patient_id"],
            "laterality": "LEFT",
            "view": np.where(np.arange(len(rows)) % 2, "CC", "MLO"),
            "abnormality_id": "1",
            "abnormality_type": "mass",
            "pathology": np.where(rows["label"] == 1, "MALIGNANT", "BENIGN"),
            "label": rows["label"],
            "breast_density": pd.array([2] * len(rows), dtype="Int64"),
            "birads": pd.array([4] * len(rows), dtype="Int64"),
            "subtlety": pd.array([3] * len(rows), dtype="Int64"),
            "official_split": "test",
            "image_path": "a",
            "mask_path": "b",
            "size": "small",
        }
    )


def tables_of(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return clinical_tables.tabulate_predictions(
        predictions, cases_of(predictions), "official test", arrays.EVALUATE, SEED
    )


def test_every_table_has_its_columns():
    found = tables_of(arrays.predictions(skill=1))
    assert set(found) == set(clinical_tables.COLUMNS) - {"reader_errors"}  # of rows with the reader's answer alone
    for name, table in found.items():
        assert set(clinical_tables.COLUMNS[name]) - {"model"} == set(table.columns) & set(clinical_tables.COLUMNS[name])
        assert len(table)


def test_test_labels_move_no_threshold_and_no_calibrated_probability():
    predictions = arrays.predictions(skill=1)
    flipped = predictions.assign(
        label=np.where(predictions["split"] == "test", 1 - predictions["label"], predictions["label"])
    )
    one, other = tables_of(predictions), tables_of(flipped)
    assert one["operating_points"]["threshold"].tolist() == other["operating_points"]["threshold"].tolist()
    columns = ["method", "bin", "mean_prob"]
    pd.testing.assert_frame_equal(one["reliability"][columns], other["reliability"][columns])


def test_a_cross_validation_has_no_calibration_of_its_own():
    assert {"calibration", "conformal", "decision_curve"} & set(tables_of(arrays.out_of_fold())) == set()


@pytest.mark.parametrize("skill", [0, 1])
def test_the_roc_band_holds_the_curve(skill: int):
    rows = arrays.predictions(skill=skill)
    fpr, tpr, _ = discrimination.roc_points(rows["label"], rows["prob"])
    low, high = bootstrap.roc_band(
        LabelledRows(rows["label"], rows["patient_id"]), rows["prob"], fpr, Resampling(300, SEED)
    )
    inside = (fpr > 0) & (fpr < 1) & np.isfinite(low)
    assert (low[inside] <= tpr[inside] + 0.05).all()
    assert (tpr[inside] <= high[inside] + 0.05).mean() > 0.9
    assert (low[np.isfinite(low)] >= 0).all()
    assert (high[np.isfinite(high)] <= 1).all()
