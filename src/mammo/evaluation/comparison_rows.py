"""Rows of the comparison table: a prediction table at its frozen operating point, and paired tests between rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mammo.core.config import EvaluateConfig
from mammo.evaluation import operating_point
from mammo.metrics import auc_tests, bootstrap, discrimination, retraining
from mammo.metrics.auc_tests import PairedTest
from mammo.metrics.resampling import Interval, LabelledRows, Resampling
from mammo.metrics.thresholds import READER_CUT

Members = Mapping[str, Sequence[pd.DataFrame]]  # schemas.PREDICTIONS of each member by row
# Column `variance` of the paired tests: what the limits and p of a difference count with.
PATIENTS, PATIENTS_AND_TRAININGS = "patients", "patients and trainings"


@dataclass(frozen=True)
class EvaluatedRow:
    """One row of the comparison table, and the samples behind it.

    rows: sample_id, patient_id, label, prob and predicted_positive (0/1) of the reported samples. thresholds: the
    operating point, several where each fold has its own.
    """

    rows: pd.DataFrame
    thresholds: list[float]
    intervals: dict[str, Interval]

    def to_metrics(self) -> dict[str, float]:
        """Return every metric, its limits as <metric>_low and <metric>_high, n, n_patients and the threshold."""
        metrics = {"n": float(len(self.rows)), "n_patients": float(self.rows["patient_id"].nunique())}
        for name, interval in self.intervals.items():
            metrics |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return metrics | {"threshold": float(np.mean(self.thresholds))}


def evaluate_predictions(predictions: pd.DataFrame, config: EvaluateConfig, seed: int) -> EvaluatedRow:
    """Choose the operating point on the validation rows, freeze it, and report the other rows.

    predictions: schemas.PREDICTIONS or schemas.OUT_OF_FOLD. In a cross-validation each fold has its own operating
    point, and the AUC is the mean over folds, because the scores of two models share no scale.
    """
    thresholds = operating_point.choose_thresholds(predictions, config.rule, config.value)
    rows = operating_point.apply_threshold(predictions, thresholds).drop(columns="threshold")
    intervals = bootstrap.clustered_intervals(
        LabelledRows.from_table(rows),
        rows["prob"].to_numpy(),
        rows["predicted_positive"].to_numpy(),
        Resampling.from_config(config, seed),
    )
    if config.rule == READER_CUT:
        intervals["brier"] = replace(intervals["brier"], value=np.nan, low=np.nan, high=np.nan)  # ranks are no risks
    return EvaluatedRow(rows, thresholds.to_list(), intervals)


def summarize_retrainings(tables: Sequence[pd.DataFrame]) -> dict[str, float]:
    """Return mean and SD of the AUC over trainings that differ by their seed, their fold or the draw of the folds.

    tables: schemas.PREDICTIONS or schemas.OUT_OF_FOLD of each training, over the same samples or each over its
    held-out fold. Empty where there is only one.
    """
    if len(tables) < 2:
        return {}
    aucs = [_auc(table[table["split"] != "val"]) for table in tables]
    mean, sd = float(np.mean(aucs)), float(np.std(aucs, ddof=1))
    return {"auc_retrained_mean": mean, "auc_retrained_sd": sd, "retrained": float(len(tables))}


def _auc(rows: pd.DataFrame) -> float:
    """Return the AUC as the comparison table has it, with folds the mean over them."""
    return auc_tests.delong_interval(LabelledRows.from_table(rows), rows["prob"].to_numpy()).value


def tabulate_roc(model: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the ROC curve of one row: model, false_positive_rate, sensitivity; rows: `label` and `prob`."""
    fpr, tpr, _ = discrimination.roc_points(rows["label"].to_numpy(), rows["prob"].to_numpy())
    return pd.DataFrame({"model": model, "false_positive_rate": fpr, "sensitivity": tpr})


def compare_aucs(
    evaluated: Mapping[str, EvaluatedRow], config: EvaluateConfig, seed: int, members: Members | None = None
) -> pd.DataFrame:
    """Test the AUC between every two of `evaluated` over the same samples, with Holm's correction.

    members: the predictions of each member by row, for rows that are a mean over members. Two such rows are compared as
    recipes: `variance` says whether the limits and p know how the rows would come out on other patients alone, or also
    after another training.
    """
    names, members = list(evaluated), members or {}
    pairs = [(a, b) for position, a in enumerate(names) for b in names[position + 1 :]]
    recipes = [bool(members.get(a) and members.get(b)) for a, b in pairs]
    tests = [
        _compare_recipes(members[a], members[b], config)
        if trained_often
        else _paired_test(evaluated[a].rows, evaluated[b].rows, config, seed)
        for (a, b), trained_often in zip(pairs, recipes, strict=True)
    ]
    table = pd.DataFrame(pairs, columns=["model_a", "model_b"]).assign(
        difference=[test.difference for test in tests],
        low=[test.low for test in tests],
        high=[test.high for test in tests],
        p=[test.p_value for test in tests],
    )
    variance = [PATIENTS_AND_TRAININGS if trained_often else PATIENTS for trained_often in recipes]
    return table.assign(p_holm=auc_tests.holm(table["p"].to_numpy()), variance=variance)


def _compare_recipes(a: Sequence[pd.DataFrame], b: Sequence[pd.DataFrame], config: EvaluateConfig) -> PairedTest:
    """Compare two means over members; a, b: the predictions of each member, over the same samples."""
    rows = a[0][["sample_id", "patient_id", "label"]]
    of_a, of_b = (
        [rows.merge(member[["sample_id", "prob"]], on="sample_id", validate="one_to_one")["prob"] for member in members]
        for members in (a, b)
    )
    return retraining.compare_recipes(
        LabelledRows(rows["label"].to_numpy(), rows["patient_id"].to_numpy()), of_a, of_b, config.confidence
    )


def _paired_test(a: pd.DataFrame, b: pd.DataFrame, config: EvaluateConfig, seed: int) -> PairedTest:
    pairs = a.merge(b[["sample_id", "prob"]], on="sample_id", suffixes=("_a", "_b"), validate="one_to_one")
    return auc_tests.paired_auc_test(
        LabelledRows(pairs["label"].to_numpy(), pairs["patient_id"].to_numpy()),
        pairs["prob_a"].to_numpy(),
        pairs["prob_b"].to_numpy(),
        Resampling.from_config(config, seed),
    )
