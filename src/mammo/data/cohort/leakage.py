"""Leaks: patients, breasts, views or films that are on both sides of a split.

Two files show the same film where their perceptual hashes differ in at most MAX_DISTANCE of HASH_BITS bits, under
whichever name they lie. The threshold rests on the 1,592 films of the CBIS-DDSM mass set at 800 px, all of them
different (`python benchmarks/perceptual_hash.py`). Bits that differ between a film and its changed copy, at most:

    mirrored                                                0
    JPEG quality 50 / 20                                    74 / 144
    resized to 1/2 / 1/8                                    38 / 58
    gamma 0.8 / 1.25                                        116 / 104
    mirrored, resized to 1/2, JPEG quality 50, gamma 0.8    146
    window 15-220 of 255                                    158

and between two films, at least (1,266,436 pairs):

    of one patient / of two patients                        298 / 276
    these, black outside the breast as digital ones are     384 / 338

The nearest two share the place of their label, not a breast. So 208 is 50 bits above every copy and 68 below every
other film. A copy in a much narrower window (30-190: up to 274) can escape, and one from which a margin was cut (1 % of
each side: up to 416) does.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import cv2
import imagehash
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from mammo.core.errors import InputError
from mammo.core.schemas import VIEW_SEPARATOR

HASH_SIZE = 32
HASH_BITS = HASH_SIZE**2
MAX_DISTANCE = 208
MARGIN = 0.03  # of each side, where the scan went beyond the film
WORKING_PX = 4 * HASH_SIZE  # the size at which ImageHash takes the frequencies

IDENTITIES = {
    "patients": ["patient_id"],
    "breasts": ["patient_id", "laterality"],
    "views": ["patient_id", "laterality", "view"],
}
SPLITS = ["train", "val", "test"]
EXAMPLES = 10
BLOCK = 256  # films that are compared with all others at a time


class LeakError(InputError):
    """Something is on both sides of a split; the message names it."""


def perceptual_hash(film: npt.NDArray[np.uint8]) -> str:
    """HASH_BITS bits as hexadecimal digits that hardly change with encoding, size, window or mirroring of the film.

    film: (h, w) uint8. The pHash of the film without its margin, folded onto its mirror image. White borders would
    make films alike. Bringing the chest wall to one side instead of folding would rest the hash on a decision that a
    border or a label can turn.
    """
    top, left = (round(MARGIN * side) for side in film.shape)
    inner = film[top : film.shape[0] - top, left : film.shape[1] - left]
    small = cv2.resize(inner, (2 * WORKING_PX, WORKING_PX), interpolation=cv2.INTER_AREA).astype(np.uint16)
    folded = ((small + small[:, ::-1]) // 2)[:, :WORKING_PX].astype(np.uint8)
    return str(imagehash.phash(Image.fromarray(folded), HASH_SIZE))


def distances(hashes: Sequence[str], others: Sequence[str]) -> npt.NDArray[np.uint16]:
    """Bits in which each of n hashes differs from each of m others, (n, m)."""
    words, other_words = _words(hashes), _words(others)
    differing = np.zeros((len(words), len(other_words)), np.uint16)
    for word, other in zip(words.T, other_words.T, strict=True):
        differing += np.bitwise_count(word[:, None] ^ other[None, :])
    return differing


def shared_films(cases: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Films that lie under the names of two patients: patient_id, film, other_id, other_film, one row per pair.

    cases: tables.CASES, manifest: tables.MANIFEST. `film` names patient, laterality, view and path.
    """
    films = _films(cases, manifest)
    pairs, _ = _same(films, films)
    one, other = films.iloc[pairs[:, 0]], films.iloc[pairs[:, 1]]
    found = pd.DataFrame(
        {
            "patient_id": one["patient_id"].to_numpy(),
            "film": one["name"].to_numpy(),
            "other_id": other["patient_id"].to_numpy(),
            "other_film": other["name"].to_numpy(),
        }
    )
    return found[found["patient_id"] < found["other_id"]].reset_index(drop=True)


def audit(cases: pd.DataFrame, splits: pd.DataFrame, manifest: pd.DataFrame) -> dict[str, Any]:
    """What every two splits, and every two folds, have in common; `leaks` is the sum of all counts, and must be 0.

    cases: tables.CASES, splits: tables.SPLITS, manifest: tables.MANIFEST. Identical images and files are counted in
    pairs; nearest_distance is that of the two most similar films. Plain values, the same for the same tables.
    """
    placed = cases.merge(splits[["sample_id", "split", "fold"]], on="sample_id", validate="one_to_one")
    films = _films(placed, manifest, ["split", "fold"])
    sides = {
        f"{one}-{other}": [(films[films["split"] == one], films[films["split"] == other])]
        for one, other in combinations(SPLITS, 2)
    }
    sides["folds"] = list(combinations([rows for _, rows in films.groupby("fold")], 2))
    crossings = {name: _crossing(pairs) for name, pairs in sides.items()}
    counts = {name: {kind: len(names) for kind, names in found.items()} for name, (found, _) in crossings.items()}
    dropped = cases[~cases["sample_id"].isin(splits["sample_id"])]
    return {
        "leaks": sum(sum(found.values()) for found in counts.values()),
        "checks": {name: counts[name] | {"nearest_distance": nearest} for name, (_, nearest) in crossings.items()},
        "examples": _examples({name: found for name, (found, _) in crossings.items()}),
        "same_image_within_split": sum(_pairs_within(rows) for _, rows in films.groupby("split")),
        "dropped": {"rows": len(dropped), "patients": int(dropped["patient_id"].nunique())},
        "films": len(films),
        "max_distance": MAX_DISTANCE,
        "hash_bits": HASH_BITS,
    }


def refuse(audited: dict[str, Any], where: str) -> None:
    """Raise LeakError where an audit found leaks; `where` says where the whole audit can be read."""
    if audited["leaks"]:
        raise LeakError(
            f"the split leaks, so it was not written: {'; '.join(audited['examples'])}. All counts: {where}. "
            "Take the data in again and split them anew (dvc repro -f ingest split); what still leaks then must "
            "leave the data set"
        )


def _words(hashes: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Hashes as (n, HASH_BITS / 64); raises LeakError for those of another kind."""
    digits = HASH_BITS // 4
    foreign = [value for value in hashes if not isinstance(value, str) or len(value) != digits]
    if foreign:
        raise LeakError(
            f"{len(foreign)} film(s) without a perceptual hash of {digits} digits; `dvc repro -f ingest` hashes anew"
        )
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, HASH_BITS // 64)


def _films(cases: pd.DataFrame, manifest: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """One row per film and place: patient_id, laterality, view, path, `more`, name, sha256, perceptual_hash."""
    views = cases["view"].str.split(VIEW_SEPARATOR, regex=False)
    paths = cases["image_path"].str.split(VIEW_SEPARATOR, regex=False)
    single = cases.assign(view=views, path=paths).explode(["view", "path"])
    films = single[["patient_id", "laterality", "view", "path", *more]].drop_duplicates(ignore_index=True)
    missing = films.loc[~films["path"].isin(manifest["path"]), "path"]
    if len(missing):
        raise LeakError(
            f"{len(missing)} film(s) of the cases are not in the manifest, e.g. {missing.iloc[0]}; "
            "run `dvc repro -f ingest` to write both anew"
        )
    films["name"] = films[["patient_id", "laterality", "view", "path"]].agg(" ".join, axis=1)
    return films.merge(manifest[["path", "sha256", "perceptual_hash"]], on="path")


def _same(films: pd.DataFrame, others: pd.DataFrame) -> tuple[npt.NDArray[np.intp], int | None]:
    """Positions (k, 2) of the films that are the same, and the smallest distance of all; None where there is none."""
    pairs = [np.empty((0, 2), np.intp)]
    nearest = []
    hashes, other_hashes = films["perceptual_hash"].to_list(), others["perceptual_hash"].to_list()
    for start in range(0, len(hashes) if other_hashes else 0, BLOCK):
        found = distances(hashes[start : start + BLOCK], other_hashes)
        pairs.append(np.argwhere(found <= MAX_DISTANCE) + np.array([start, 0]))
        nearest.append(int(found.min()))
    return np.concatenate(pairs), min(nearest, default=None)


def _pairs_within(films: pd.DataFrame) -> int:
    pairs, _ = _same(films, films)
    return int((pairs[:, 0] < pairs[:, 1]).sum())


def _crossing(sides: list[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[dict[str, list[str]], int | None]:
    """The names of what is on both of any two sides, by kind, and the smallest distance between their films."""
    found: dict[str, set[str]] = {kind: set() for kind in [*IDENTITIES, "identical_images", "identical_files"]}
    nearest = []
    for one, other in sides:
        for kind, columns in IDENTITIES.items():
            both = one[columns].merge(other[columns])
            found[kind] |= set(both.agg(" ".join, axis=1)) if len(both) else set()
        pairs, distance = _same(one, other)
        nearest.append(distance)
        found["identical_images"] |= _equations(one["name"].iloc[pairs[:, 0]], other["name"].iloc[pairs[:, 1]])
        files = one.merge(other, on="sha256", suffixes=("", "_other"))
        found["identical_files"] |= _equations(files["name"], files["name_other"])
    known = [distance for distance in nearest if distance is not None]
    return {kind: sorted(names) for kind, names in found.items()}, min(known, default=None)


def _equations(names: pd.Series, others: pd.Series) -> set[str]:
    return {f"{name} = {other}" for name, other in zip(names, others, strict=True)}


def _examples(found: dict[str, dict[str, list[str]]]) -> list[str]:
    """The first of every kind, then the second ..., at most EXAMPLES."""
    told = [
        (number, f"{sides}, {kind.replace('_', ' ')}: {name}")
        for sides, kinds in found.items()
        for kind, names in kinds.items()
        for number, name in enumerate(names[:EXAMPLES])
    ]
    return [text for _, text in sorted(told, key=lambda item: item[0])[:EXAMPLES]]
