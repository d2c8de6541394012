"""The radiologist's assessment beside a model, at the radiologist's own cut: BI-RADS 4 or higher is a call."""

import numpy as np
import pandas as pd

from mammo.core.config import EvaluateConfig
from mammo.core.row_names import READER
from mammo.core.schemas import BIRADS_ORDER
from mammo.evaluation.operating_point import BIRADS_CALL
from mammo.metrics import matched_rates
from mammo.metrics.discrimination import Floats, Mask
from mammo.metrics.resampling import Interval, LabelledRows, Resampling
from mammo.metrics.thresholds import READER_CUT

BIRADS_RANK = {birads: rank / (len(BIRADS_ORDER) - 1) for rank, birads in enumerate(BIRADS_ORDER)}
COLUMNS = [
    *("rate", "at", "reader"),
    *(f"{part}{limit}" for part in ("matched", "difference") for limit in ("", "_low", "_high")),
    *("n", "n_patients"),
]


def configure_row(name: str, config: EvaluateConfig) -> EvaluateConfig:
    """Return `config` with the operating point of a row: the reader's is the reader's cut, never a chosen one."""
    return config.model_copy(update={"rule": READER_CUT, "value": BIRADS_CALL}) if name == READER else config


def score_birads(rows: pd.DataFrame) -> Floats:
    """Return the radiologist's assessment as a score 0-1 (n,); a missing one counts as incomplete."""
    return np.asarray(rows["birads"].fillna(0).map(BIRADS_RANK), np.float64)


def call_birads(rows: pd.DataFrame) -> Mask:
    """Return whether the radiologist calls each row (n,): BI-RADS 4 or higher; 0 and a missing one are no call."""
    return score_birads(rows) >= BIRADS_CALL


def compare_at_readers_rates(
    reported: pd.DataFrame, cases: pd.DataFrame, config: EvaluateConfig, seed: int
) -> pd.DataFrame:
    """Return rows of reader_comparison.csv without the model: rates at the reader's rates.

    reported: the reported samples (sample_id, patient_id, label, prob); cases: schemas.CASES. `at` is the reader's
    other rate, where the model's curve is read. Empty where no reported sample has an assessment, and of the reader.
    """
    rows = reported.merge(cases[["sample_id", "birads"]], on="sample_id", how="left", validate="one_to_one")
    if rows["birads"].isna().all() or config.rule == READER_CUT:
        return pd.DataFrame(columns=COLUMNS)
    sensitivity, specificity = matched_rates.match_rates(
        LabelledRows.from_table(rows), rows["prob"].to_numpy(), call_birads(rows), Resampling.from_config(config, seed)
    )
    pairs = ((sensitivity, specificity.reader.value), (specificity, sensitivity.reader.value))
    return pd.DataFrame(
        [
            {"rate": matched.rate, "at": other, "reader": matched.reader.value}
            | _flatten("matched", matched.model)
            | _flatten("difference", matched.difference)
            | {"n": matched.model.n, "n_patients": matched.model.n_patients}
            for matched, other in pairs
        ]
    )[COLUMNS]


def _flatten(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
