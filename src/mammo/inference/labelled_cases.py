"""Image files with their labels -> a finished model's answers beside them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.core.errors import InputError
from mammo.evaluation import local_cases
from mammo.evaluation.local_cases import ShippedPoint
from mammo.inference.about import BENIGN, MALIGNANT
from mammo.inference.films import CORNERS, Pairs, read_boxes, read_pairs
from mammo.inference.predictor import Predictor
from mammo.metrics.resampling import Resampling

LABELS = {"0": 0, "1": 1, BENIGN: 0, MALIGNANT: 1}


@dataclass(frozen=True)
class LocalEvaluation:
    """A model on labelled cases: tables of evaluation/local_cases.py, and its answer to each case.

    answers: the columns of `predict`, patient_id and label; failed and doubted: how many have an error, or a doubt.
    """

    metrics: pd.DataFrame
    drift: pd.DataFrame
    refits: pd.DataFrame
    answers: pd.DataFrame
    failed: int
    doubted: int


def read_labels(path: Path, folder: Path) -> pd.DataFrame:
    """Return file, patient_id, label and box (x0,y0,x1,y1 or empty) of a CSV table; raises InputError.

    It has the columns file (below `folder`), label (0, 1, benign or malignant), and where they are known patient_id
    (else each file is a patient), x0, y0, x1, y1, and for a model of two views pair (films.read_pairs).
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: is not a CSV table ({error})") from error
    if missing := [name for name in ("file", "label") if name not in table]:
        raise InputError(f"{path}: needs the columns file and label; missing: {', '.join(missing)}")
    label = table["label"].str.strip().str.lower()
    if unknown := sorted(set(label) - set(LABELS)):
        raise InputError(f"{path}: unknown label {unknown[0]!r}; there are {', '.join(LABELS)}")
    files = [str(folder / name) for name in table["file"]]
    boxes = _describe_boxes(table) if set(CORNERS) <= set(table) else pd.Series("", table.index)
    patients = table["patient_id"] if "patient_id" in table else table["file"]
    rows = pd.DataFrame({"file": files, "patient_id": patients, "label": label.map(LABELS), "box": boxes})
    if (twice := rows.duplicated(["file", "box"])).any():
        raise InputError(f"{path}: {table['file'][twice].iloc[0]} is listed twice; a case has one label")
    if (rows["patient_id"] == "").any():
        raise InputError(f"{path}: a row has no patient_id; leave the column out where none is known")
    return rows


def _describe_boxes(table: pd.DataFrame) -> "pd.Series[str]":
    """Return boxes as `predict` names them, x0,y0,x1,y1 in whole px."""
    corners = table[CORNERS].apply(pd.to_numeric, errors="coerce").round().astype("Int64")
    return pd.Series([",".join(map(str, box)) for box in corners.itertuples(index=False)], table.index)


def evaluate(predictor: Predictor, folder: Path, labels: Path, resampling: Resampling) -> LocalEvaluation:
    """Evaluate a model on the labelled files below a folder, at its frozen operating point.

    Raises InputError for a table that is none, a model without operating point, and cases of one class alone.
    """
    point = predictor.about.operating_point
    if point is None:
        raise InputError(f"{predictor.about.name} has no operating point to evaluate; use a bundle or a model of a run")
    cases = read_labels(labels, folder)
    lesions = predictor.about.unit == "lesion"
    answers = _ask(predictor, cases, labels, folder)
    joined = _join(cases if lesions else cases.drop(columns="box"), answers)
    answered = joined[joined["error"].isna() & joined["prob"].notna()]
    local_cases.check_labels(answered)
    shipped = ShippedPoint(point.rule, point.value, point.threshold)
    metrics = local_cases.tabulate_metrics(answered, shipped, resampling)
    return LocalEvaluation(
        metrics,
        local_cases.tabulate_drift(answered, metrics, shipped),
        local_cases.simulate_refits(answered, shipped, resampling.seed),
        joined,
        len(joined) - len(answered),
        int(np.sum(answered["doubt"].notna())),
    )


def _ask(predictor: Predictor, cases: pd.DataFrame, labels: Path, folder: Path) -> pd.DataFrame:
    """Return the answers to the files of a table of labels; raises InputError where two views have no pairs."""
    if predictor.about.two_views:
        pairs = read_pairs(labels, folder)
        if predictor.about.unit == "image":  # whose corners, if it has any, are not asked for
            pairs = Pairs(tuple(replace(request, box=None) for request in pairs.requests))
        return predictor.predict(pairs)
    boxes = read_boxes(labels, folder) if predictor.about.unit == "lesion" else None
    return predictor.predict(list(dict.fromkeys(cases["file"])), boxes=boxes)


def _join(cases: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Return a row per case: its answer, or the error of its file."""
    joined = cases.merge(answers, on=[name for name in ("file", "box") if name in cases], how="left")
    errors = answers.dropna(subset="error").groupby("file")["error"].first()
    return joined.assign(error=joined["error"].where(joined["prob"].notna(), joined["file"].map(errors)))
