"""The share of a saliency map where no diagnosis can come from: a sign of a shortcut (Geirhos et al., 2020).

Three regions of an image, each beside the share that an even map has there, which is the region's area:

- `outside`: the black background, where preprocessing or the film shows nothing;
- `marks`: what is bright and no tissue: parts apart from the breast (labels, tape, clips), and straight white strips
  along a side (bare light past the film's edge);
- `sides`: the outermost SIDES of the image, by place alone: chest wall, film edges, and what a network's padding adds.

A mark that overlaps the breast, or a tilted strip, cannot be told from tissue by its pixels and is not counted.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.metrics.clustered_means import clustered_means
from mammo.metrics.resampling import Resampling

REGIONS = {"outside": "outside the breast", "marks": "on film marks", "sides": "along the image's sides"}
BLACK = 0  # what preprocessing leaves outside the breast
WHITE = 245 / 255  # of the depth
MIN_AREA = {"outside": 0.01, "marks": 0.001, "sides": 0.0}  # of the image; less is a few pixels of noise
SIDES = 0.05  # of the shorter side
STRIP = 0.05  # of a side: a wider white strip is a muscle
STRIP_WHITE = 0.8  # of a line's pixels that are not black; a line of a strip has as much white
STRIP_LONG = 0.5  # of a side; along a shorter edge the breast itself is burnt out
FILM = 0.02  # of a line's pixels; a line with fewer that are not black is still beyond the film
LINES_BEFORE = 3  # a strip begins within so many lines of the side: resampling leaves grey ones before it

Floats = npt.NDArray[np.float64]
Maps = npt.NDArray[np.floating]
Images = npt.NDArray[np.unsignedinteger]
Region = npt.NDArray[np.bool_]


def measure_shares(maps: Maps, images: Images) -> pd.DataFrame:
    """Measure one row per map: <region>_share of the map's sum, and <region>_area of the image, for each of REGIONS.

    maps: (n, h, w) >= 0; images: (n, h, w) of the pixel store, BLACK outside the breast; of both the part that the
    model sees (Explainer.crop_visible). nan where an image has no such region (MIN_AREA), and the share also where
    a map is empty.
    """
    rows = [_measure_map(heat, image) for heat, image in zip(maps, images, strict=True)]
    return pd.DataFrame(rows, columns=[f"{region}_{kind}" for region in REGIONS for kind in ("share", "area")])


def _measure_map(heat: Maps, image: Images) -> list[float]:
    values: list[float] = []
    total = heat.sum(dtype=np.float64)
    for name, region in find_regions(image).items():
        area = float(region.mean())
        present = area > 0 and area >= MIN_AREA[name]
        share = float(heat[region].sum(dtype=np.float64) / total) if present and total > 0 else np.nan
        values += [share, area if present else np.nan]
    return values


def find_regions(image: Images) -> dict[str, Region]:
    """Return REGIONS of an image (h, w) by name, each (h, w)."""
    return {"outside": _outside(image), "marks": _apart(image) | _strips(image), "sides": _sides(image.shape)}


def _outside(image: Images) -> Region:
    """Find black regions that touch a side."""
    _, parts = cv2.connectedComponents(np.asarray(image <= BLACK, np.uint8))
    rim = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.asarray(np.isin(parts, rim[rim > 0]))


def _apart(image: Images) -> Region:
    """Find what is not black and not connected with the largest such part, the breast."""
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(np.asarray(image > BLACK, np.uint8))
    if count < 2:
        return np.zeros(image.shape, bool)
    breast = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    return np.asarray((parts > 0) & (parts != breast))


def _strips(image: Images) -> Region:
    """Find white strips along the sides, or along the black that fills a crop beyond its film."""
    strips = np.zeros(image.shape, bool)
    for turns in range(4):
        turned, marked = np.rot90(image, turns), np.rot90(strips, turns)
        white = turned >= WHITE * np.iinfo(image.dtype).max
        lines = _find_strip(white.mean(axis=1), (turned > BLACK).mean(axis=1))
        marked[lines] |= white[lines]
    return strips


def _find_strip(white: Floats, film: Floats) -> slice:
    """Return the lines from the first side on that are a strip.

    white, film: the shares (h,) of each line's pixels that are white and that are not black.
    """
    full = (white >= STRIP_WHITE * film) & (film >= STRIP_LONG)
    filled = int(np.argmax(film >= FILM))
    starts = np.flatnonzero(full[filled : filled + LINES_BEFORE])
    if not len(starts):
        return slice(0, 0)
    start = filled + int(starts[0])
    count = int(np.argmin([*full[start:], False]))
    return slice(start, start + count) if count <= STRIP * len(white) else slice(0, 0)


def _sides(shape: tuple[int, ...]) -> Region:
    width = max(1, round(SIDES * min(shape)))
    sides = np.ones(shape, bool)
    sides[width:-width, width:-width] = False
    return sides


def summarize_shares(rows: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """Average one row per region: the mean share with limits by patient, beside what an even map has there.

    rows: `measure_shares` with patient_id. Columns: region, mean, low, high, n, n_patients, even, above_even (mean
    less even) with its limits above_low and above_high, n_undefined (without such a region, or with an empty map).
    """
    return pd.DataFrame(list(_summarize_regions(rows, resampling)))


def _summarize_regions(rows: pd.DataFrame, resampling: Resampling) -> Iterator[dict[str, object]]:
    for region in REGIONS:
        share, area = (rows[f"{region}_{kind}"].to_numpy(np.float64) for kind in ("share", "area"))
        means = clustered_means(np.column_stack([share, area, share - area]), rows["patient_id"], resampling)
        above = {"above_even": means.mean[2], "above_low": means.low[2], "above_high": means.high[2]}
        yield {
            **{"region": region, **means.row(), "even": means.mean[1]},
            **above,
            "n_undefined": len(rows) - means.n,
        }


def rank_worst(rows: pd.DataFrame, count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return positions of up to `count` maps with the largest share in each region, largest first.

    rows: `measure_shares`. Only maps with more in a region than an even map has there; regions without any are
    omitted.
    """
    worst = {}
    for region in REGIONS:
        share, area = (rows[f"{region}_{kind}"].to_numpy(np.float64) for kind in ("share", "area"))
        order = np.argsort(-share, kind="stable")
        worst[region] = order[share[order] > area[order]][:count]
    return {region: positions for region, positions in worst.items() if len(positions)}
