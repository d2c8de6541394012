"""Model and radiologist together: rows that contain the radiologist's answer, and what errors in it cost.

Whether a model adds to the reader is what a clinician asks. A logistic regression of the model's log-odds and the
BI-RADS rank is fitted on validation rows, cross-fitted by patient where these are scored themselves, and frozen for the
others.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mammo.core.config import EvaluateConfig
from mammo.core.schemas import BIRADS_ORDER
from mammo.evaluation import held_out
from mammo.evaluation.reader import score_birads
from mammo.metrics import auc_tests
from mammo.metrics.discrimination import Floats
from mammo.metrics.resampling import LabelledRows, Resampling

PROB_FLOOR = 1e-6
KINDS = ("random", "adjacent")
COLUMNS = [
    *("kind", "share"),
    *(f"{name}{limit}" for name in ("auc", "gain", "gain_over_erroneous") for limit in ("", "_low", "_high")),
    *("n", "n_patients"),
]
SCORED = ["sample_id", "patient_id", "split", "label", "prob"]


def combine_with_reader(predictions: pd.DataFrame, cases: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Return the prediction table (schemas.PREDICTIONS) of a model and the radiologist together.

    predictions: schemas.PREDICTIONS of the model; cases: sample_id and birads; folds: schemas.SPLITS. A validation
    row's score comes from the rows of the other folds, a test row's from all validation rows.
    """
    rows = predictions.merge(cases[["sample_id", "birads"]], on="sample_id", how="left", validate="many_to_one")
    crossed = held_out.hold_out(rows, folds)
    validation = crossed[crossed["split"] == held_out.HELD_OUT]
    scores = dict(zip(validation["sample_id"], held_out.cross_fit(crossed, fit_with_reader), strict=True))
    in_test = (rows["split"] == "test").to_numpy()
    prob = np.array(rows["sample_id"].map(scores), np.float64)
    if in_test.any():
        prob[in_test] = held_out.cross_fit(rows, fit_with_reader)
    return rows[SCORED].assign(prob=prob)


def fit_with_reader(validation: pd.DataFrame) -> Callable[[pd.DataFrame], Floats]:
    """Return the function from rows (prob, birads) to the probability of both together, fitted on validation rows."""
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(_features(validation), validation["label"])
    return lambda rows: np.asarray(model.predict_proba(_features(rows))[:, 1], np.float64)


def _features(rows: pd.DataFrame) -> Floats:
    log_odds = logit(rows["prob"].to_numpy(np.float64).clip(PROB_FLOOR, 1 - PROB_FLOOR))
    return np.column_stack([log_odds, score_birads(rows)])


def tabulate_errors(predictions: pd.DataFrame, cases: pd.DataFrame, config: EvaluateConfig, seed: int) -> pd.DataFrame:
    """Return rows of reader_errors.csv: the AUC of both together while errors are put into the reported BI-RADS.

    predictions: the model's table, `held_out.hold_out` or schemas.PREDICTIONS; cases: sample_id and birads. The
    combination is fitted without errors and frozen. gain: over the BI-RADS without errors; gain_over_erroneous: over
    the BI-RADS with the same errors; both paired, by patient.
    """
    rows = predictions.merge(cases[["sample_id", "birads"]], on="sample_id", how="left", validate="many_to_one")
    parts = [_measure_errors(rows, kind, share, config, seed) for kind in KINDS for share in config.reader.error_shares]
    return pd.DataFrame(parts)[COLUMNS]


def _measure_errors(
    rows: pd.DataFrame, kind: str, share: float, config: EvaluateConfig, seed: int
) -> dict[str, float | str]:
    reported = rows["split"] != "val"
    clean = rows.loc[reported, "birads"]
    birads = put_errors(clean, kind, share, seed)
    prob = held_out.cross_fit(rows.assign(birads=rows["birads"].where(~reported, birads)), fit_with_reader)
    labelled, resampling = LabelledRows.from_table(rows[reported]), Resampling.from_config(config, seed)
    auc = auc_tests.delong_interval(labelled, prob, config.confidence)
    measured: dict[str, float | str] = {"kind": kind, "share": share, "n": auc.n, "n_patients": auc.n_patients}
    measured |= {"auc": auc.value, "auc_low": auc.low, "auc_high": auc.high}
    for name, assessment in (("gain", clean), ("gain_over_erroneous", birads)):
        test = auc_tests.paired_auc_test(labelled, score_birads(assessment.to_frame("birads")), prob, resampling)
        measured |= {name: test.difference, f"{name}_low": test.low, f"{name}_high": test.high}
    return measured


def put_errors(birads: "pd.Series[int]", kind: str, share: float, seed: int) -> "pd.Series[int]":
    """Return assessments of which a share (0-1) is wrong; a larger share holds the errors of a smaller one.

    random: another assessment that occurs, each alike; adjacent: the next one in the order of suspicion among those
    that occur, up or down. A missing assessment stays missing.
    """
    rng = np.random.default_rng(seed)
    known = [value for value in BIRADS_ORDER if value in set(birads.dropna())]
    wrong = (rng.random(len(birads)) < share) & birads.notna().to_numpy() & (len(known) > 1)
    drawn = rng.random(len(birads))
    places = birads.map({value: place for place, value in enumerate(known)})
    moved = [
        known[_move(int(place), len(known), kind, luck)] if chosen else value
        for value, place, chosen, luck in zip(birads, places.fillna(0), wrong, drawn, strict=True)
    ]
    return pd.Series(moved, index=birads.index, dtype="Int64", name="birads")


def _move(place: int, count: int, kind: str, luck: float) -> int:
    """Return another place of `count`; luck: uniform, 0 to 1."""
    if kind == "random":
        other = int(luck * (count - 1))
        return other + (other >= place)
    if place in (0, count - 1):
        return 1 if place == 0 else count - 2
    return place + (1 if luck < 0.5 else -1)
