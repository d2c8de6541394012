"""The champion is chosen by validation rows alone, and loses its place to a model that is better beyond chance."""

import numpy as np
import pandas as pd
import pytest

from mammo.core.config import ChampionConfig, EvaluateConfig, load_config
from mammo.evaluation import promotion_rule
from tests.workspaces import COMMITTED

EVALUATE = load_config(COMMITTED).evaluate.model_copy(update={"resamples": 200})
RULE = ChampionConfig(significance=0.05, sensitivity_floor=0.8, specificity_floor=0.2)


def predicted(strength: float, seed: int, split: str = "val", patients: int = 150) -> pd.DataFrame:
    """Scores that tell the classes apart by `strength` SDs; the labels are the same for every seed."""
    label = np.random.default_rng(0).integers(0, 2, patients)
    score = label * strength + np.random.default_rng(seed).normal(size=patients)
    return pd.DataFrame(
        {
            "sample_id": [f"{split}{number:03d}" for number in range(patients)],
            "patient_id": [f"{split}{number:03d}" for number in range(patients)],
            "split": split,
            "label": label,
            "prob": 1 / (1 + np.exp(-score)),
        }
    )


def choose(evaluate: EvaluateConfig = EVALUATE, **tables: pd.DataFrame) -> str | None:
    rates = {name: measure(table, evaluate) for name, table in tables.items()}
    return promotion_rule.choose_contender(tables, rates, RULE)


def measure(table: pd.DataFrame, evaluate: EvaluateConfig = EVALUATE) -> promotion_rule.Rates:
    rows = promotion_rule.select_validation_rows(table)
    folds = rows[["sample_id"]].assign(fold=np.arange(len(rows)) % 3)
    return promotion_rule.measure_rates(rows, folds, evaluate)


def test_the_best_on_validation_is_the_contender_whatever_it_does_on_test():
    good = pd.concat([predicted(2.0, 1), predicted(-3.0, 2, "test")])
    bad = pd.concat([predicted(0.5, 3), predicted(3.0, 4, "test")])
    assert choose(bad=bad, good=good) == "good"


@pytest.mark.parametrize("strength", [0.0, -2.0], ids=["random", "reversed"])
def test_scores_that_know_nothing_are_refused_although_their_sensitivity_reaches_its_target(strength):
    blind = predicted(strength, 1, patients=600)
    assert measure(blind).sensitivity == pytest.approx(EVALUATE.value, abs=0.05)
    assert choose(blind=blind) is None


def test_rates_are_measured_on_folds_that_the_threshold_was_not_chosen_on():
    """Scores that know each fold by heart reach any target on it, and nothing on another."""
    rows = predicted(0.0, 1)
    fold = np.arange(len(rows)) % 3
    learned_by_heart = rows.assign(prob=np.where(rows["label"] == 1, 0.5, 0.4) + 0.1 * fold)
    folds = rows[["sample_id"]].assign(fold=fold)
    assert promotion_rule.measure_rates(learned_by_heart, folds, EVALUATE).sensitivity < 0.8


def test_a_model_below_the_floor_is_no_contender():
    specific = EVALUATE.model_copy(update={"rule": "target_specificity", "value": 0.95})
    strong, weak = predicted(4.0, 1), predicted(2.0, 2)
    assert measure(weak, specific).sensitivity < 0.8 < measure(strong, specific).sensitivity
    assert choose(specific, weak=weak, strong=strong) == "strong"
    assert choose(specific, weak=weak) is None


def test_the_first_contender_is_champion():
    assert promotion_rule.decide_alias(predicted(1.0, 1), None, RULE, EVALUATE, seed=1).alias == promotion_rule.CHAMPION


@pytest.mark.parametrize(
    ("strength", "alias"),
    [(3.0, promotion_rule.CHAMPION), (1.0, promotion_rule.CHALLENGER), (-1.0, promotion_rule.CHALLENGER)],
    ids=["better", "alike", "significantly worse"],
)
def test_only_a_better_one_takes_the_place(strength, alias):
    decided = promotion_rule.decide_alias(predicted(strength, 1), predicted(1.0, 2), RULE, EVALUATE, seed=1)
    assert decided.alias == alias
    assert "150 samples of 150 patients" in decided.reason


def test_a_hair_better_is_not_better():
    """Two draws of the same strength: the higher AUC alone gives nobody the place."""
    a, b = predicted(1.0, 5), predicted(1.0, 6)
    assert {promotion_rule.decide_alias(x, y, RULE, EVALUATE, seed=1).alias for x, y in ((a, b), (b, a))} == {
        promotion_rule.CHALLENGER
    }


@pytest.mark.parametrize("change", ["sample", "label", "fewer"])
def test_models_that_were_validated_on_other_samples_are_not_compared(change):
    holder = predicted(0.1, 2)
    if change == "sample":
        holder.loc[0, "sample_id"] = "another"
    elif change == "label":
        holder.loc[0, "label"] = 1 - holder.loc[0, "label"]
    else:
        holder = holder.iloc[1:]
    decided = promotion_rule.decide_alias(
        predicted(3.0, 1), promotion_rule.select_validation_rows(holder), RULE, EVALUATE, seed=1
    )
    assert decided.alias == promotion_rule.CHALLENGER
    assert "no validation scores of the same samples" in decided.reason
