"""What parts of a film without its lesion know of the label: classifiers on training rows, out of fold by patient.

Each probe sees the arrays as a model does, less what a radiologist would look at. Where its interval lies above .5, a
model can score without having seen a lesion.
"""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.evaluation import border_scores
from mammo.metrics.controlled_auc import controlled_auc
from mammo.metrics.resampling import LabelledRows, Resampling

Image = npt.NDArray[np.unsignedinteger[Any]]
Features = npt.NDArray[np.float32]

GRID = 12  # cells a side of the image that a probe sees
BINS = 32
STRIP = 0.04  # outer share of the array, a side
RIM = 0.1  # of the array's side: how far from the silhouette's outline the breast is blacked out
FILM_BORDER = "border of the film as scanned"


def _grid(values: npt.NDArray[Any]) -> Features:
    cells = cv2.resize(values.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float32).ravel()


def _histogram(grey: npt.NDArray[Any]) -> Features:
    return (np.bincount(grey.ravel() // (256 // BINS), minlength=BINS) / max(1, grey.size)).astype(np.float32)


def _describe_border(grey: npt.NDArray[np.uint8]) -> Features:
    """Histogram, mean and sharpness of each outer strip."""
    width = max(1, round(STRIP * grey.shape[1]))
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    strips = (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:])
    parts = [np.append(_histogram(grey[strip]), [grey[strip].mean(), edges[strip].mean()]) for strip in strips]
    return np.concatenate(parts).astype(np.float32)


def _describe_silhouette(grey: npt.NDArray[np.uint8]) -> Features:
    """The share of breast in each cell of the grid."""
    return _grid(grey > 0)


def _describe_rim(grey: npt.NDArray[np.uint8]) -> Features:
    """The breast blacked out: what lies outside it, and a rim of it."""
    size = 2 * max(1, round(RIM * grey.shape[1])) + 1
    padded = cv2.copyMakeBorder((grey > 0).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    # By a square, so that the cost does not grow with the size; outside the film there is no breast.
    inner = cv2.erode(padded, np.ones((size, size), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)[
        1:-1, 1:-1
    ]
    rim = np.where(inner > 0, 0, grey).astype(np.uint8)
    return np.concatenate([_grid(rim), _histogram(rim)])


def _describe_tissue(grey: npt.NDArray[np.uint8]) -> Features:
    """Greys and sharpness of the sample without its lesion."""
    edges = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    return np.concatenate([_grid(grey), _histogram(grey), np.array([edges.mean(), edges.std()], np.float32)])


PROBES: dict[str, tuple[str, Callable[[npt.NDArray[np.uint8]], Features]]] = {
    "border of the preprocessed image": ("images", _describe_border),
    "silhouette alone": ("images", _describe_silhouette),
    "breast blacked out": ("images", _describe_rim),
    "without the lesion": ("without_lesion", _describe_tissue),
}  # name: the array of the store that it sees, and its features


def probe_shortcuts(
    index: pd.DataFrame, arrays: Mapping[str, Image], scores: pd.Series, resampling: Resampling
) -> pd.DataFrame:
    """Return number, n, n_patients, auc, low, high of every probe, on the training rows.

    index: schemas.INDEX, row for row with the arrays (images, without_lesion); scores: border scores by sample_id. An
    AUC is the mean over folds. Empty without folds.
    """
    training = index[index["fold"].notna()]
    if training.empty:
        return pd.DataFrame(columns=["number", "n", "n_patients", "auc", "low", "high"])
    probs = {FILM_BORDER: scores.loc[training["sample_id"]].to_numpy()}
    for name, (array, describe) in PROBES.items():
        features = np.stack([describe(_to_8_bits(arrays[array][row])) for row in training.index])
        columns = [f"feature_{number}" for number in range(features.shape[1])]
        table = pd.concat([training, pd.DataFrame(features, training.index, columns)], axis=1)
        probs[name] = border_scores.score_features(table, columns, resampling.seed)
    rows = LabelledRows.from_table(training)
    return pd.DataFrame([{"number": name, **_measure(rows, prob, resampling)} for name, prob in probs.items()])


def _to_8_bits(image: Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image >> 8 if image.dtype == np.uint16 else image, np.uint8)


def _measure(rows: LabelledRows, prob: npt.NDArray[np.float64], resampling: Resampling) -> dict[str, float]:
    interval = controlled_auc(rows, prob, np.zeros(rows.n, np.int64), resampling)  # one stratum: the plain AUC
    return {
        "n": interval.n,
        "n_patients": interval.n_patients,
        "auc": interval.value,
        "low": interval.low,
        "high": interval.high,
    }
