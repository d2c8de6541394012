"""Scores of saliency maps against lesion masks, each beside two baselines that have not seen the image.

The baselines go through the same scores: `centre`, a cone that falls from the image's centre to 0 at its nearer sides
(on tight crops it is hard to beat), and `random`, an even map, whose scores are those of a random pixel on average.
An image without a lesion has no score (nan). A map that is 0 everywhere points nowhere: its pointing, energy and IoU
are 0 and its distance is nan.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import distance_transform_edt

from mammo.core.errors import InputError
from mammo.metrics.clustered_means import clustered_means
from mammo.metrics.resampling import Resampling

BASELINES = ("centre", "random")
FIXED_THRESHOLD = 0.5  # of the map's maximum
THRESHOLDS = np.arange(1, 20) / 20
METRICS = ("pointing", "energy", "iou", "iou_best", "distance_px")
VARIABLES = ("all", "call", "abnormality_type", "size")

Floats = npt.NDArray[np.float64]
Maps = npt.NDArray[np.floating]
Masks = npt.NDArray[np.unsignedinteger]


def score_maps(maps: Maps, masks: Masks) -> pd.DataFrame:
    """Score maps, one row each: METRICS, also of BASELINES (`pointing_centre`), area_share, empty_mask, empty_map.

    maps: (n, h, w) in 0..1; masks: (n, h, w), nonzero inside the lesion.
    pointing: 1 if the maximum lies inside the lesion (Zhang et al., Int J Comput Vis 2018), its share where several
    pixels have it. energy: share of the map's sum inside. iou: of the lesion and the pixels at or above
    FIXED_THRESHOLD; iou_best: at the one of THRESHOLDS with the best mean over all rows, a choice that flatters it;
    the column best_threshold names it. distance_px: from the maximum to the nearest lesion pixel, 0 inside.
    """
    if maps.shape != masks.shape:
        raise InputError(f"maps are {maps.shape} but masks are {masks.shape}; give one mask (h, w) per map")
    baselines = (centre_map(maps.shape[1:]), np.ones(maps.shape[1:], np.float32))
    values = np.array([_score_all((heat, *baselines), mask) for heat, mask in zip(maps, masks, strict=True)])
    tables = [
        _name_columns(values[:, 0], ""),
        *(_name_columns(values[:, row], f"_{name}") for row, name in enumerate(BASELINES, 1)),
    ]
    return pd.concat(tables, axis=1).assign(
        area_share=[float((mask > 0).mean()) for mask in masks],
        empty_mask=[int(not mask.any()) for mask in masks],
        empty_map=[int(not heat.any()) for heat in maps],
    )


def _name_columns(values: Floats, suffix: str) -> pd.DataFrame:
    """Columns of METRICS and best_threshold, each with a suffix; found: (n, what `_score_map` returns)."""
    pointing, energy, distance, *ious = values.T
    best = int(np.argmax(np.nansum(ious, axis=1)))
    fixed = int(np.flatnonzero(THRESHOLDS == FIXED_THRESHOLD)[0])
    metrics = dict(zip(METRICS, (pointing, energy, ious[fixed], ious[best], distance), strict=True))
    return pd.DataFrame(metrics).assign(best_threshold=THRESHOLDS[best]).add_suffix(suffix)


def centre_map(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return the baseline `centre`, (h, w); at FIXED_THRESHOLD a disc as wide as half the shorter side."""
    rows, columns = (np.arange(side) - (side - 1) / 2 for side in shape)
    distance = np.hypot(rows[:, np.newaxis], columns)
    return np.asarray(np.maximum(1 - distance / (min(shape) / 2), 0), np.float32)


def _score_all(maps: Sequence[Maps], mask: Masks) -> list[list[float]]:
    """`_score_map` of each map (h, w) against the same mask."""
    inside = mask > 0
    if not inside.any():
        return [[np.nan] * (3 + len(THRESHOLDS))] * len(maps)
    away = distance_transform_edt(~inside)  # cv2's precise transform rounds differently from call to call
    return [_score_map(heat.astype(np.float32), inside, away) for heat in maps]


def _score_map(heat: Maps, inside: npt.NDArray[np.bool_], away: Floats) -> list[float]:
    """Return pointing, energy, distance_px, and the IoU at each of THRESHOLDS, of one map (h, w) and a lesion."""
    if not heat.any():
        return [0.0, 0.0, np.nan, *[0.0] * len(THRESHOLDS)]
    peak = heat == heat.max()
    energy = heat[inside].sum(dtype=np.float64) / heat.sum(dtype=np.float64)
    return [float(inside[peak].mean()), float(energy), float(away[peak].mean()), *_measure_ious(heat, inside)]


def _measure_ious(heat: Maps, inside: npt.NDArray[np.bool_]) -> list[float]:
    """Return the IoU of the lesion and the pixels at or above each of THRESHOLDS."""
    level = np.searchsorted(THRESHOLDS.astype(np.float32), heat, side="right")
    above, both = (_count_at_or_above(levels) for levels in (level, level[inside]))
    return list(both / (above + inside.sum() - both))


def _count_at_or_above(levels: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Count the levels that reach each threshold, (thresholds,)."""
    counts = np.bincount(levels.ravel(), minlength=len(THRESHOLDS) + 1)
    return np.cumsum(counts[::-1])[::-1][1:]


def summarize_scores(rows: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """Average each metric with limits by patient, overall and by call, type and size, beside both baselines.

    rows: `score_maps` with patient_id, call (correct, wrong), abnormality_type and size. Columns: variable, value,
    metric, mean, low, high, n, n_patients, centre, random, above_centre (mean less centre; of distance_px, below 0 is
    good) with its limits above_low and above_high, n_undefined (rows without a lesion; of distance_px also empty maps).
    """
    averages = [
        {"variable": variable, "value": value, "metric": metric, **_average_metric(part, metric, resampling)}
        for variable, value, part in _split_groups(rows)
        for metric in METRICS
    ]
    return pd.DataFrame(averages)


def _split_groups(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    for variable in VARIABLES:
        grouped = rows.assign(all="all").groupby(variable, observed=True)
        yield from ((variable, str(value), part) for value, part in grouped)


def _average_metric(rows: pd.DataFrame, metric: str, resampling: Resampling) -> dict[str, float]:
    values = rows[[metric, f"{metric}_centre", f"{metric}_random"]].to_numpy(np.float64)
    means = clustered_means(np.column_stack([values, values[:, 0] - values[:, 1]]), rows["patient_id"], resampling)
    return {
        **means.row(),
        **{"centre": means.mean[1], "random": means.mean[2]},
        **{"above_centre": means.mean[3], "above_low": means.low[3], "above_high": means.high[3]},
        "n_undefined": len(rows) - means.n,
    }
