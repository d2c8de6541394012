"""Measure how far films differ, and how many manipulated copies are found.

MAX_DISTANCE in src/mammo/data/cohort/leakage.py and MIN_CORRELATION in src/mammo/data/film_copies.py rest on it.
`python benchmarks/perceptual_hash.py [root]` takes 5 minutes on one core.
root: the mass set of CBIS-DDSM in the Kaggle layout; default $MAMMO_CBIS_DDSM_MASS, else ../shared/cbis-ddsm-mass.
Prints by how many bits the hash of a changed film differs from the film's own, and how near two films come.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.data import film_copies
from mammo.data.cohort import leakage
from mammo.data.images import breast, io

REPOSITORY = Path(__file__).resolve().parents[1]
Film = NDArray[np.uint8]

QUANTILES = [0.5, 0.99]


def reencoded(film: Film, quality: int) -> Film:
    """Return the film after JPEG compression."""
    _, content = cv2.imencode(".jpg", film, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE), np.uint8)


def resized(film: Film, factor: float) -> Film:
    """Return the film at `factor` of its size."""
    return np.asarray(cv2.resize(film, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def curved(film: Film, gamma: float) -> Film:
    """Return the film with another gradation."""
    return np.asarray((255 * (film / 255) ** gamma).round(), np.uint8)


def windowed(film: Film, low: int, high: int) -> Film:
    """Return the film with `low` as black and `high` as white."""
    return np.asarray(np.clip((film - float(low)) * (255 / (high - low)), 0, 255), np.uint8)


def cut(film: Film, share: float) -> Film:
    """Return the film without a margin of `share` of each side."""
    height, width = (round(share * side) for side in film.shape)
    return film[height:-height, width:-width]


def breast_alone(film: Film) -> Film:
    """Return the film black outside the breast, as a digital detector shows it."""
    return np.where(breast.breast_mask(film) > 0, film, 0).astype(np.uint8)


CHANGES: dict[str, Callable[[Film], Film]] = {
    "mirrored": lambda film: film[:, ::-1],
    "JPEG quality 50": lambda film: reencoded(film, 50),
    "JPEG quality 20": lambda film: reencoded(film, 20),
    "resized to 1/2": lambda film: resized(film, 1 / 2),
    "resized to 1/8": lambda film: resized(film, 1 / 8),
    "gamma 0.8": lambda film: curved(film, 0.8),
    "gamma 1.25": lambda film: curved(film, 1.25),
    "window 15-220": lambda film: windowed(film, 15, 220),
    "mirrored, 1/2, JPEG 50, gamma 0.8": lambda film: curved(reencoded(resized(film[:, ::-1], 1 / 2), 50), 0.8),
    "window 30-190": lambda film: windowed(film, 30, 190),
    "1 % cut off each side": lambda film: cut(film, 0.01),
}


def bordered(film: Film, share: float, grey: int) -> Film:
    """Return the film in a border of `share` of its height."""
    px = round(share * film.shape[0])
    return np.asarray(cv2.copyMakeBorder(film, px, px, px, px, cv2.BORDER_CONSTANT, value=[grey]), np.uint8)


def shifted(film: Film, share: float) -> Film:
    """Return the film moved down and right by `share` of its sides, black where it left."""
    moved = np.array([[1, 0, share * film.shape[1]], [0, 1, share * film.shape[0]]])
    return np.asarray(cv2.warpAffine(film, moved, film.shape[::-1]), np.uint8)


EVERY = 20  # films of which manipulated copies are made
MANIPULATIONS: dict[str, Callable[[Film], Film]] = {
    **CHANGES,
    "5 % cut off each side": lambda film: cut(film, 0.05),
    "10 % cut off each side": lambda film: cut(film, 0.1),
    "upside down": lambda film: film[::-1],
    "turned by 90 degrees": lambda film: film.T[:, ::-1],
    "inverted": lambda film: 255 - film,
    "white border of 5 %": lambda film: bordered(film, 0.05, 255),
    "grey border of 10 %": lambda film: bordered(film, 0.1, 128),
    "shifted by 5 %": lambda film: shifted(film, 0.05),
    "shifted by -5 %": lambda film: shifted(film, -0.05),
    "shifted by 10 %": lambda film: shifted(film, 0.1),
    "5 % cut off, inverted, upside down": lambda film: 255 - cut(film, 0.05)[::-1],
}


def print_copies(table: pd.DataFrame) -> None:
    """Print which films are taken for copies of each other, and how many manipulated copies are found."""
    start = perf_counter()
    portraits = [film_copies.draw_portrait(io.read_grey(path)) for path in table["path"]]
    drawn = perf_counter() - start
    copies = film_copies.find_copies(portraits)
    seconds = perf_counter() - start - drawn
    print(f"copies by alignment: {drawn / len(table) * 1000:.1f} ms per film, {seconds:.0f} s for all pairs")
    print(f"  {len(copies)} pairs of the {len(table):,} films are taken for copies")
    for copy in copies:
        print(f"    {copy.correlation:.2f}: {table['name'][copy.first]} and {table['name'][copy.second]}")
    originals = range(0, len(table), EVERY)
    for name, change in MANIPULATIONS.items():
        changed = [
            film_copies.draw_portrait(np.ascontiguousarray(change(io.read_grey(table["path"][place]))))
            for place in originals
        ]
        pairs = film_copies.find_copies(changed, portraits)
        right = sum(originals[pair.first] == pair.second for pair in pairs)
        print(f"  {name:36} {right:3d} of {len(originals)} found, {len(pairs) - right} false")


def films(root: Path) -> pd.DataFrame:
    """Return one row per film: patient_id, name, path."""
    tables = [pd.read_csv(file, dtype=str) for file in sorted((root / "csv").glob("mass_case_description_*.csv"))]
    rows = pd.concat(tables)
    series = rows["image file path"].str.strip().str.split("/").str[-2]
    name = rows[["patient_id", "left or right breast", "image view"]].agg(" ".join, axis=1)
    table = pd.DataFrame({"patient_id": rows["patient_id"], "name": name, "series": series}).drop_duplicates("series")
    return table.assign(path=[next((root / "jpeg" / uid).iterdir()) for uid in table["series"]]).reset_index(drop=True)


def hash_of(film: Film) -> str:
    """Return the hash of a film in any memory order."""
    return leakage.perceptual_hash(np.ascontiguousarray(film))


def bits_apart(hashes: list[str], others: list[str]) -> NDArray[np.int64]:
    """Return the distance of each hash to that at the same place in the other list."""
    return np.array([int(leakage.hash_distances([a], [b])[0, 0]) for a, b in zip(hashes, others, strict=True)])


def print_pairs(title: str, table: pd.DataFrame, hashes: list[str]) -> None:
    """Print the nearest pairs of films, of one and of two patients."""
    start = perf_counter()
    apart = leakage.hash_distances(hashes, hashes)
    seconds = perf_counter() - start
    first, second = np.triu_indices(len(hashes), 1)
    apart = apart[first, second]
    patients = table["patient_id"].to_numpy()
    same = patients[first] == patients[second]
    print(f"{title}: {len(apart):,} pairs of films, compared in {seconds:.2f} s")
    for word, selected in (("one patient", same), ("two patients", ~same)):
        print(f"  of {word:12} {selected.sum():9,} pairs, nearest {np.sort(apart[selected])[:8].tolist()}")
    for pair in np.argsort(apart, kind="stable")[:3]:
        print(f"    {apart[pair]}: {table['name'][first[pair]]} and {table['name'][second[pair]]}")


def main() -> None:
    """Print the two distributions that the threshold must keep apart."""
    default = os.environ.get("MAMMO_CBIS_DDSM_MASS", str(REPOSITORY.parent / "shared" / "cbis-ddsm-mass"))
    table = films(Path(sys.argv[1] if len(sys.argv) > 1 else default))
    hashes: list[str] = []
    blackened: list[str] = []
    changed: dict[str, list[str]] = {change: [] for change in CHANGES}
    seconds = 0.0
    for path in table["path"]:
        film = io.read_grey(path)
        start = perf_counter()
        hashes.append(hash_of(film))
        seconds += perf_counter() - start
        blackened.append(hash_of(breast_alone(film)))
        for change, function in CHANGES.items():
            changed[change].append(hash_of(function(film)))
    print(f"{len(table):,} films, {leakage.HASH_BITS} bits, threshold {leakage.MAX_DISTANCE}")
    print(f"hashing takes {seconds / len(table) * 1000:.1f} ms per decoded film")
    print("the same film, changed: bits that differ (median, 99th percentile, largest; films above the threshold)")
    for change, others in changed.items():
        apart = bits_apart(hashes, others)
        median, high = np.quantile(apart, QUANTILES)
        above = int((apart > leakage.MAX_DISTANCE).sum())
        print(f"  {change:34} {median:4.0f} {high:4.0f} {apart.max():4d} {above:5d}")
    print_pairs("as they are", table, hashes)
    print_pairs("black outside the breast", table, blackened)
    print_copies(table)


if __name__ == "__main__":
    main()
