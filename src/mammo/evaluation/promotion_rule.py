"""The rule by which a trained model takes the place of the registered model's champion.

It rests on validation rows alone: no function here reads a test row's score. Prediction tables: schemas.PREDICTIONS.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mammo.core.config import ChampionConfig, EvaluateConfig
from mammo.evaluation import held_out, operating_point
from mammo.metrics import auc_tests, discrimination
from mammo.metrics.resampling import LabelledRows, Resampling

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Verdict:
    """The alias of a contender, and the reason for it."""

    alias: str
    reason: str


@dataclass(frozen=True)
class Rates:
    """Sensitivity and specificity of validation rows, each decided by a threshold of other folds' rows."""

    sensitivity: float
    specificity: float

    def reach(self, rule: ChampionConfig) -> bool:
        """Return whether both reach their floors."""
        return self.sensitivity >= rule.sensitivity_floor and self.specificity >= rule.specificity_floor


def select_validation_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a choice may rest on, in the order of their ids."""
    return predictions[predictions["split"] == "val"].sort_values("sample_id", ignore_index=True)


def measure_rates(rows: pd.DataFrame, folds: pd.DataFrame, evaluate: EvaluateConfig) -> Rates:
    """Return the rates of validation rows at the operating point, chosen for each fold on the others' rows.

    folds: sample_id and fold (schemas.SPLITS). A rule that targets a sensitivity reaches it with any score, a
    random one too: the price is the specificity, so that both have a floor.
    """
    decided = operating_point.decide(held_out.hold_out(rows, folds), evaluate)
    counts = discrimination.counts(decided["label"].to_numpy(), decided["predicted_positive"].to_numpy())
    return Rates(float(discrimination.sensitivity(*counts)), float(discrimination.specificity(*counts)))


def choose_contender(
    predictions: Mapping[str, pd.DataFrame], rates: Mapping[str, Rates], rule: ChampionConfig
) -> str | None:
    """Return the model with the best validation AUC among those that reach both floors, or None; of equals the first.

    rates: `measure_rates` by model.
    """
    rows = {name: select_validation_rows(table) for name, table in predictions.items() if rates[name].reach(rule)}
    aucs = {name: float(discrimination.auc(table["label"], table["prob"])) for name, table in rows.items()}
    return max(aucs, key=lambda name: aucs[name]) if aucs else None


def decide_alias(
    contender: pd.DataFrame, champion: pd.DataFrame | None, rule: ChampionConfig, evaluate: EvaluateConfig, seed: int
) -> Verdict:
    """Promote a contender that beats the champion's AUC in a paired test on the same validation rows, or is the first.

    contender, champion: validation rows. Other rows cannot be compared: what is validation for one may have trained the
    other. The contender then is a challenger, and a person decides.
    """
    if champion is None:
        return Verdict(CHAMPION, "the first one")
    if not contender[["sample_id", "label"]].equals(champion[["sample_id", "label"]]):
        return Verdict(
            CHALLENGER,
            "the champion has no validation scores of the same samples; others may have trained one of the two",
        )
    comparison = auc_tests.paired_auc_test(
        LabelledRows(contender["label"], contender["patient_id"]),
        champion["prob"],
        contender["prob"],
        Resampling.from_config(evaluate, seed),
    )
    better = comparison.difference > 0 and comparison.p_value < rule.significance
    limits = f"{comparison.low:+.3f} to {comparison.high:+.3f}"
    reason = (
        f"validation AUC minus the champion's {comparison.difference:+.3f} ({limits}), "
        f"p {comparison.p_value:.3f}, {comparison.n} samples of {comparison.n_patients} patients"
    )
    return Verdict(CHAMPION if better else CHALLENGER, reason)
