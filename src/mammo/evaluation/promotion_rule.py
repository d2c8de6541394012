"""Which model of a workspace stands for the registered model, and does it take the champion's place.

Decided on validation rows alone: no function here is given a test row's score. Prediction tables: tables.PREDICTIONS.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mammo.core.config import ChampionConfig, EvaluateConfig
from mammo.evaluation import operating_point
from mammo.metrics import auc_tests, discrimination
from mammo.metrics.resampling import LabelledRows, Resampling

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Verdict:
    """The alias that a contender gets, and why."""

    alias: str
    reason: str


def validation(predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows that a choice may rest on, in the order of their ids."""
    return predictions[predictions["split"] == "val"].sort_values("sample_id", ignore_index=True)


def contender(predictions: Mapping[str, pd.DataFrame], rule: ChampionConfig, evaluate: EvaluateConfig) -> str | None:
    """The model with the best validation AUC among those that hold the sensitivity floor; None where none does.

    The sensitivity is that of the validation rows at the operating point, which is chosen on them too. Of equals the
    first.
    """
    rows = {name: validation(table) for name, table in predictions.items()}
    held = {
        name: float(discrimination.auc(table["label"], table["prob"]))
        for name, table in rows.items()
        if sensitivity(table, evaluate) >= rule.sensitivity_floor
    }
    return max(held, key=lambda name: held[name]) if held else None


def sensitivity(rows: pd.DataFrame, evaluate: EvaluateConfig) -> float:
    """Of validation rows at the operating point that is chosen on them."""
    threshold = operating_point.thresholds(rows, evaluate.rule, evaluate.value).iloc[0]
    return float(discrimination.sensitivity(*discrimination.counts(rows["label"], rows["prob"] >= threshold)))


def verdict(
    contender: pd.DataFrame, champion: pd.DataFrame | None, rule: ChampionConfig, evaluate: EvaluateConfig, seed: int
) -> Verdict:
    """Champion where there is none yet, or where the AUC is better by a paired test on the same validation rows.

    contender, champion: validation rows. Other rows cannot be compared: what is validation for one may have trained the
    other. It then is a challenger, and a person decides.
    """
    if champion is None:
        return Verdict(CHAMPION, "the first one")
    if not contender[["sample_id", "label"]].equals(champion[["sample_id", "label"]]):
        return Verdict(
            CHALLENGER,
            "the champion has no validation scores of the same samples; others may have trained one of the two",
        )
    test = auc_tests.paired_auc_test(
        LabelledRows(contender["label"], contender["patient_id"]),
        champion["prob"],
        contender["prob"],
        Resampling.from_config(evaluate, seed),
    )
    better = test.difference > 0 and test.p_value < rule.significance
    reason = (
        f"validation AUC minus the champion's {test.difference:+.3f} ({test.low:+.3f} to {test.high:+.3f}), "
        f"p {test.p_value:.3f}, {test.n} samples of {test.n_patients} patients"
    )
    return Verdict(CHAMPION if better else CHALLENGER, reason)
