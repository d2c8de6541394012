"""Figures of saliency maps: maps over chosen test samples, and over those that look furthest off the lesion."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from mammo.explain import shortcuts
from mammo.reporting.figures import contact_sheets
from mammo.reporting.figures.film_places import FilmPlaces

WORST = 4  # samples per region on the sheet of shortcuts

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MappedSamples:
    """Test samples with the maps of one method: rows of scores.csv; images, masks and maps (n, h, w).

    places: draws the whole film of a sample; None: sheets show what the model gets alone.
    """

    scores: pd.DataFrame
    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    maps: npt.NDArray[np.float16]
    places: FilmPlaces | None = None

    def draw_place(self, position: int) -> npt.NDArray[np.uint8] | None:
        """Return the whole film of the sample at a position, as film_places draws it."""
        return None if self.places is None else self.places.draw(str(self.scores["sample_id"].iloc[position]))


def choose_checked(samples: MappedSamples, sample_ids: Collection[str]) -> Positions:
    """Return the positions of the samples of these ids, errors first."""
    positions = np.flatnonzero(samples.scores["sample_id"].isin(sample_ids))
    outcomes = samples.scores["outcome"].to_numpy()[positions]
    rank = {"false negative": 0, "false positive": 1, "true positive": 2, "true negative": 3}
    return positions[np.argsort([rank[str(outcome)] for outcome in outcomes], kind="stable")]


def draw_overlays(samples: MappedSamples, sample_ids: Collection[str]) -> Figure:
    """Draw the maps over the samples of these ids, each under its outcome, errors first."""
    positions = choose_checked(samples, sample_ids)
    return _draw(samples, positions, [title_decision(samples.scores.iloc[at]) for at in positions])


def rank_worst(samples: MappedSamples) -> dict[str, Positions]:
    """Return by region of shortcuts.REGIONS the samples of which most of the map lies in it, above an even map."""
    return shortcuts.rank_worst(samples.scores, WORST)


def draw_shortcuts(samples: MappedSamples) -> Figure | None:
    """Draw the samples of which most of the map lies in a region of shortcuts.REGIONS; None where none does."""
    worst = rank_worst(samples)
    titles = [title_region(samples.scores.iloc[at], region) for region, rows in worst.items() for at in rows]
    return _draw(samples, np.concatenate(list(worst.values())), titles) if worst else None


def _draw(samples: MappedSamples, positions: Positions, titles: list[str]) -> Figure:
    maps = samples.maps[positions].astype(np.float32)
    places = [place for place in map(samples.draw_place, positions) if place is not None]
    return contact_sheets.draw_contact_sheet(samples.images[positions], samples.masks[positions], titles, maps, places)


def title_region(row: pd.Series, region: str) -> str:
    """Return what a sample of the sheet of shortcuts is, and the share of its map in the region."""
    share, area = row[f"{region}_share"], row[f"{region}_area"]
    return f"{row['sample_id']}\n{share:.0%} {shortcuts.REGIONS[region]}\n(even map: {area:.0%})"


def title_decision(row: pd.Series) -> str:
    """Return the outcome of a sample, with its probability and threshold: `FN  0.12 < 0.40`, and its name."""
    initials = "".join(word[0].upper() for word in str(row["outcome"]).split())
    sign = "<" if row["prob"] < row["threshold"] else "≥"
    return f"{initials}: {row['prob']:.2f} {sign} threshold {row['threshold']:.2f}\n{row['sample_id']}"
