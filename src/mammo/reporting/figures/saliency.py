"""Figures of saliency maps: maps over chosen test samples, and over those that look furthest off the lesion."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from mammo.explain import shortcuts
from mammo.reporting.figures import contact_sheets

WORST = 4  # samples per region on the sheet of shortcuts

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MappedSamples:
    """Test samples with the maps of one method: rows of scores.csv; images, masks and maps (n, h, w)."""

    scores: pd.DataFrame
    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    maps: npt.NDArray[np.float16]


def draw_overlays(samples: MappedSamples, sample_ids: Collection[str]) -> Figure:
    """Draw the maps over the samples of these ids, with each sample's label and decision."""
    positions = np.flatnonzero(samples.scores["sample_id"].isin(sample_ids))
    return _draw(samples, positions, _title_decisions(samples.scores.iloc[positions]))


def draw_shortcuts(samples: MappedSamples) -> Figure | None:
    """Draw the samples of which most of the map lies in a region of shortcuts.REGIONS; None where none does."""
    worst = shortcuts.rank_worst(samples.scores, WORST)
    titles = [_title_region(samples.scores.iloc[at], region) for region, rows in worst.items() for at in rows]
    return _draw(samples, np.concatenate(list(worst.values())), titles) if worst else None


def _draw(samples: MappedSamples, positions: Positions, titles: list[str]) -> Figure:
    return contact_sheets.draw_contact_sheet(
        samples.images[positions], samples.masks[positions], titles, samples.maps[positions].astype(np.float32)
    )


def _title_region(row: pd.Series, region: str) -> str:
    share, area = row[f"{region}_share"], row[f"{region}_area"]
    return f"{row['sample_id']}\n{share:.1%} {shortcuts.REGIONS[region]} (even map: {area:.1%})"


def _title_decisions(rows: pd.DataFrame) -> list[str]:
    label = np.where(rows["label"] == 1, "malignant", "benign")
    sign = np.where(rows["prob"] < rows["threshold"], "<", ">=")
    columns = zip(rows["sample_id"], label, rows["prob"], sign, rows["threshold"], strict=True)
    return [f"{name}\n{kind}, prob {prob:.2f} {than} threshold {cut:.2f}" for name, kind, prob, than, cut in columns]
