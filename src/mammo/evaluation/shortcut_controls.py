"""What is left of an AUC once the film's border is held still, and once the lesion is gone.

Rows are the reported samples of one prediction table: sample_id, patient_id, label, prob, `fold` of a cross-validation,
and prob_without_lesion where the model was asked.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from mammo.core.config import EvaluateConfig
from mammo.evaluation.clinical_tables import METRIC_COLUMNS
from mammo.evaluation.operating_point import WITHOUT_THRESHOLD
from mammo.metrics import auc_tests
from mammo.metrics.controlled_auc import controlled_auc, paired_controlled_test
from mammo.metrics.resampling import Interval, LabelledRows, Resampling

CONTROLLED, WITHOUT_LESION, DROP = "auc_controlled", "auc_without_lesion", "auc_drop"
CORRELATION, DROP_P = "border_correlation", "auc_drop_p"
INTERVALS = (CONTROLLED, WITHOUT_LESION, DROP)
COMPARED = ["model_a", "model_b", "difference_controlled", "low_controlled", "high_controlled", "p_controlled"]


def control_auc(rows: pd.DataFrame, borders: pd.DataFrame, resampling: Resampling) -> dict[str, float]:
    """Return auc_controlled, auc_without_lesion and auc_drop, their limits, auc_drop_p and border_correlation.

    borders: schemas.BORDER_SCORES. border_correlation is Spearman's, of score and border score. The drop is the AUC
    less that without the lesion, on the same samples. What a table has no scores for is left out.
    """
    labelled, joined = LabelledRows.from_table(rows), _join(rows, borders)
    metrics: dict[str, float] = {}
    if joined is not None:
        prob = joined["prob"].to_numpy(np.float64)
        controlled = controlled_auc(labelled, prob, joined["border_quartile"].to_numpy(), resampling)
        metrics |= _limits(CONTROLLED, controlled)
        metrics[CORRELATION] = correlate(prob, joined["border_score"].to_numpy(np.float64))
    return metrics | _without_lesion(rows, labelled, resampling)


def correlate(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Return Spearman's correlation (n,); nan where one of them does not vary."""
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else np.nan


def _join(rows: pd.DataFrame, borders: pd.DataFrame) -> pd.DataFrame | None:
    """Return rows with the border scores of their samples; None where samples have none, such as pairs of views."""
    joined = rows.merge(borders, on="sample_id", how="left", validate="many_to_one")
    return None if joined["border_score"].isna().any() else joined


def _without_lesion(rows: pd.DataFrame, labelled: LabelledRows, resampling: Resampling) -> dict[str, float]:
    if "prob_without_lesion" not in rows or rows["prob_without_lesion"].isna().any():
        return {}
    whole, without = (rows[column].to_numpy(np.float64) for column in ("prob", "prob_without_lesion"))
    plain = controlled_auc(labelled, without, np.zeros(len(rows), np.int64), resampling)
    drop = auc_tests.paired_auc_test(labelled, without, whole, resampling)
    interval = Interval(drop.difference, drop.low, drop.high, drop.n, drop.n_patients)
    return _limits(WITHOUT_LESION, plain) | _limits(DROP, interval) | {DROP_P: drop.p_value}


def _limits(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def tabulate_controls(metrics: Mapping[str, float]) -> pd.DataFrame:
    """Return rows of metrics.csv from the metrics of a row, without the columns model, samples and level.

    metrics: `control_auc`, n and n_patients.
    """
    counts = metrics.get("n", np.nan), metrics.get("n_patients", np.nan)
    rows = [
        (WITHOUT_THRESHOLD, name, metrics[name], *(metrics.get(f"{name}_{limit}", np.nan) for limit in ("low", "high")))
        for name in (*INTERVALS, CORRELATION, DROP_P)
        if name in metrics
    ]
    return pd.DataFrame([(*row, *counts) for row in rows], columns=METRIC_COLUMNS)


def compare_controlled(
    rows: Mapping[str, pd.DataFrame], borders: pd.DataFrame, config: EvaluateConfig, seed: int
) -> pd.DataFrame:
    """Test the controlled AUC between every two tables over the same samples: COMPARED and Holm's p_controlled_holm.

    A gain that goes with the film's border, and not with the lesion, is gone here.
    """
    resampling = Resampling.from_config(config, seed)
    tests = []
    for a, b in combinations(rows, 2):
        pairs = rows[a].merge(rows[b][["sample_id", "prob"]], on="sample_id", suffixes=("_a", "_b"))
        pairs = pairs.merge(borders, on="sample_id")
        labelled = LabelledRows(pairs["label"].to_numpy(), pairs["patient_id"].to_numpy(str))
        probs = pairs["prob_a"].to_numpy(), pairs["prob_b"].to_numpy()
        test = paired_controlled_test(labelled, probs, pairs["border_quartile"].to_numpy(), resampling)
        tests.append((a, b, test.difference, test.low, test.high, test.p_value))
    table = pd.DataFrame(tests, columns=COMPARED)
    return table.assign(p_controlled_holm=auc_tests.holm(table["p_controlled"].to_numpy(np.float64)))
