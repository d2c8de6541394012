"""The leak audit: patients, breasts, views or films that are on both sides of a split.

Two files show the same film, whatever their names, where their perceptual hashes differ in at most MAX_DISTANCE of
HASH_BITS bits. The threshold rests on the 1,592 films of the CBIS-DDSM mass set at 800 px, all of them
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
other film. What no hash of a whole film finds (cropped, upside down, inverted, bordered, shifted copies), ingest finds
by aligning films, and notes in the manifest's `copy_of` (mammo.data.film_copies).
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
    """A patient, breast, view or film is on both sides of a split; the message names it."""


def perceptual_hash(film: npt.NDArray[np.uint8]) -> str:
    """Return a hash of HASH_BITS bits, as hexadecimal digits, that is robust to encoding, size, window and mirroring.

    film: (h, w) uint8. The pHash of the film without its margin, folded onto its mirror image. White borders would
    make films alike. Bringing the chest wall to one side instead of folding would rest the hash on a decision that a
    border or a label can turn.
    """
    top, left = (round(MARGIN * side) for side in film.shape)
    inner = film[top : film.shape[0] - top, left : film.shape[1] - left]
    small = cv2.resize(inner, (2 * WORKING_PX, WORKING_PX), interpolation=cv2.INTER_AREA).astype(np.uint16)
    folded = ((small + small[:, ::-1]) // 2)[:, :WORKING_PX].astype(np.uint8)
    return str(imagehash.phash(Image.fromarray(folded), HASH_SIZE))


def hash_distances(hashes: Sequence[str], others: Sequence[str]) -> npt.NDArray[np.uint16]:
    """Count the bits in which each of n hashes differs from each of m others, (n, m)."""
    words, other_words = _words(hashes), _words(others)
    differing = np.zeros((len(words), len(other_words)), np.uint16)
    for word, other in zip(words.T, other_words.T, strict=True):
        differing += np.bitwise_count(word[:, None] ^ other[None, :])
    return differing


def find_shared_films(cases: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Find films under the names of two patients: patient_id, film, other_id, other_film, one row per pair.

    cases: schemas.CASES, manifest: schemas.MANIFEST. `film` names patient, laterality, view and path.
    """
    films = _films(cases, manifest)
    pairs, _ = _match_films(films, films)
    first, second = films.iloc[pairs[:, 0]], films.iloc[pairs[:, 1]]
    shared = pd.DataFrame(
        {
            "patient_id": first["patient_id"].to_numpy(),
            "film": first["name"].to_numpy(),
            "other_id": second["patient_id"].to_numpy(),
            "other_film": second["name"].to_numpy(),
        }
    )
    return shared[shared["patient_id"] < shared["other_id"]].reset_index(drop=True)


def audit(cases: pd.DataFrame, splits: pd.DataFrame, manifest: pd.DataFrame) -> dict[str, Any]:
    """Count what every two splits, and every two folds, have in common; `leaks`, the sum of all counts, must be 0.

    cases: schemas.CASES, splits: schemas.SPLITS, manifest: schemas.MANIFEST. Identical images and files are counted in
    pairs; nearest_distance is that of the two most similar films. Plain values, the same for the same tables.
    """
    placed = cases.merge(splits[["sample_id", "split", "fold"]], on="sample_id", validate="one_to_one")
    films = _films(placed, manifest, ["split", "fold"])
    sides = {
        f"{first}-{second}": [(films[films["split"] == first], films[films["split"] == second])]
        for first, second in combinations(SPLITS, 2)
    }
    sides["folds"] = list(combinations([rows for _, rows in films.groupby("fold")], 2))
    crossings = {name: _crossing(pairs) for name, pairs in sides.items()}
    counts = {name: {kind: len(names) for kind, names in common.items()} for name, (common, _) in crossings.items()}
    dropped = cases[~cases["sample_id"].isin(splits["sample_id"])]
    return {
        "leaks": sum(sum(by_kind.values()) for by_kind in counts.values()),
        "checks": {name: counts[name] | {"nearest_distance": nearest} for name, (_, nearest) in crossings.items()},
        "examples": _examples({name: common for name, (common, _) in crossings.items()}),
        "same_image_within_split": sum(_pairs_within(rows) for _, rows in films.groupby("split")),
        "dropped": {"rows": len(dropped), "patients": int(dropped["patient_id"].nunique())},
        "films": len(films),
        "max_distance": MAX_DISTANCE,
        "hash_bits": HASH_BITS,
    }


def match_manifests(manifest: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Find the films of one manifest that are in another under any name: path, known_path, one row per pair.

    Both schemas.MANIFEST; files of equal bytes and films whose perceptual hashes agree count.
    """
    films, known_films = (
        table[table["perceptual_hash"].notna()].reset_index(drop=True) for table in (manifest, _with_copies(known))
    )
    foreign = "foreign " + films["path"]  # a path means another file below another root
    pairs, _ = _match_films(films.assign(copy_of=foreign), known_films)
    alike = pd.DataFrame(
        {
            "path": films["path"].iloc[pairs[:, 0]].to_numpy(),
            "known_path": known_films["path"].iloc[pairs[:, 1]].to_numpy(),
        }
    )
    equal = films.merge(known_films, on="sha256", suffixes=("", "_known"))[["path", "path_known"]]
    both = pd.concat([alike, equal.rename(columns={"path_known": "known_path"})], ignore_index=True)
    return both.drop_duplicates(ignore_index=True)


def refuse_leaks(result: dict[str, Any], where: str) -> None:
    """Raise LeakError where an audit has leaks; `where` names the file of the whole audit."""
    if result["leaks"]:
        raise LeakError(
            f"the split leaks, so it was not written: {'; '.join(result['examples'])}. All counts: {where}. "
            "Ingest and split the data again (dvc repro -f ingest split); what still leaks then must be removed from "
            "the data set"
        )


def _words(hashes: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Return hashes as words (n, HASH_BITS / 64); raises LeakError for hashes of another kind."""
    digits = HASH_BITS // 4
    foreign = [value for value in hashes if not isinstance(value, str) or len(value) != digits]
    if foreign:
        raise LeakError(
            f"{len(foreign)} film(s) without a perceptual hash of {digits} digits; `dvc repro -f ingest` computes them"
        )
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, HASH_BITS // 64)


def _films(cases: pd.DataFrame, manifest: pd.DataFrame, more: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row per film and place: patient_id, laterality, view, path, `more`, name, sha256, perceptual_hash."""
    views = cases["view"].str.split(VIEW_SEPARATOR, regex=False)
    paths = cases["image_path"].str.split(VIEW_SEPARATOR, regex=False)
    single = cases.assign(view=views, path=paths).explode(["view", "path"])
    films = single[["patient_id", "laterality", "view", "path", *more]].drop_duplicates(ignore_index=True)
    missing = films.loc[~films["path"].isin(manifest["path"]), "path"]
    if len(missing):
        raise LeakError(
            f"{len(missing)} film(s) of the cases are not in the manifest, e.g. {missing.iloc[0]}; "
            "run `dvc repro -f ingest` to write both again"
        )
    films["name"] = films[["patient_id", "laterality", "view", "path"]].agg(" ".join, axis=1)
    return films.merge(_with_copies(manifest)[["path", "sha256", "perceptual_hash", "copy_of"]], on="path")


def _with_copies(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest with a name in `copy_of` for each film: its own path, where it has no copy."""
    copies = manifest["copy_of"].fillna(manifest["path"]) if "copy_of" in manifest else manifest["path"]
    return manifest.assign(copy_of=copies)


def _match_films(films: pd.DataFrame, others: pd.DataFrame) -> tuple[npt.NDArray[np.intp], int | None]:
    """Return positions (k, 2) of the same films, by hash or `copy_of`, and the smallest distance, if any."""
    pairs = [np.empty((0, 2), np.intp)]
    nearest = []
    hashes, other_hashes = films["perceptual_hash"].to_list(), others["perceptual_hash"].to_list()
    for start in range(0, len(hashes) if other_hashes else 0, BLOCK):
        distances = hash_distances(hashes[start : start + BLOCK], other_hashes)
        pairs.append(np.argwhere(distances <= MAX_DISTANCE) + np.array([start, 0]))
        nearest.append(int(distances.min()))
    left, right = (table.assign(place=np.arange(len(table)))[["copy_of", "place"]] for table in (films, others))
    pairs.append(left.merge(right, on="copy_of")[["place_x", "place_y"]].to_numpy(np.intp))
    return np.unique(np.concatenate(pairs), axis=0), min(nearest, default=None)


def _pairs_within(films: pd.DataFrame) -> int:
    pairs, _ = _match_films(films, films)
    return int((pairs[:, 0] < pairs[:, 1]).sum())


def _crossing(sides: list[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[dict[str, list[str]], int | None]:
    """Return the names of what two sides have in common, by kind, and the smallest distance between their films."""
    common: dict[str, set[str]] = {kind: set() for kind in [*IDENTITIES, "identical_images", "identical_files"]}
    nearest = []
    for left, right in sides:
        for kind, columns in IDENTITIES.items():
            both = left[columns].merge(right[columns])
            common[kind] |= set(both.agg(" ".join, axis=1)) if len(both) else set()
        pairs, distance = _match_films(left, right)
        nearest.append(distance)
        common["identical_images"] |= _equations(left["name"].iloc[pairs[:, 0]], right["name"].iloc[pairs[:, 1]])
        files = left.merge(right, on="sha256", suffixes=("", "_other"))
        common["identical_files"] |= _equations(files["name"], files["name_other"])
    distances = [distance for distance in nearest if distance is not None]
    return {kind: sorted(names) for kind, names in common.items()}, min(distances, default=None)


def _equations(names: pd.Series, others: pd.Series) -> set[str]:
    return {f"{name} = {other}" for name, other in zip(names, others, strict=True)}


def _examples(common: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return the first leak of every kind, then the second ..., at most EXAMPLES."""
    numbered = [
        (number, f"{sides}, {kind.replace('_', ' ')}: {name}")
        for sides, kinds in common.items()
        for kind, names in kinds.items()
        for number, name in enumerate(names[:EXAMPLES])
    ]
    return [text for _, text in sorted(numbered, key=lambda item: item[0])[:EXAMPLES]]
