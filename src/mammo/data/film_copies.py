"""Copies of a film under other names: mirrored, turned, inverted, cropped, bordered, shifted, re-encoded.

Two steps. Candidates: the low frequencies of a film's frames (the breast's own box and the whole film, each also with
margins cut off) in 8 orientations and both polarities, compared with those of all other films. Verification: the
nearest film's frame is aligned with the own one (ECC: Evangelidis & Psarakis, IEEE TPAMI 2008), and their fine
structure, which no other film has, must correlate. `python benchmarks/perceptual_hash.py` counts what is found and the
false alarms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mammo.data.images.breast import breast_mask
from mammo.data.images.transforms import Grey, Mask, bounding_box, crop

Floats = npt.NDArray[np.float32]

THUMBNAIL_PX = 256  # of the longer side; everything is measured at this size
FLAT = 24  # an outer line whose grey values span less shows nothing: border, or air
MIN_PX = 32  # of a side, without flat lines
# Shares cut off top, bottom, and each side; beside the breast there is air, so that the far side does not matter.
CUTS = [(top, bottom, side) for side in (0.0, 0.05, 0.1) for top, bottom in ((0, 0), (0.05, 0.05), (0.1, 0), (0, 0.1))]
WHOLE = CUTS[0]
KINDS = 2  # of frames: the breast's own box, and all of the film
BRIGHT = 100  # of 255: only a film of a higher mean can be inverted
GRID_PX, FREQUENCIES = 32, 12
FRAME_PX = 96
MIN_SIMILARITY = 0.8  # of the nearest film's low frequencies
FINE_SIGMA_PX = (1.0, 5.0)  # of FRAME_PX: the band of fine structure
RIM_PX = 9  # of FRAME_PX: the outline of all breasts is alike
MIN_INSIDE = 0.1  # of the frame
MIN_CORRELATION = 0.8  # of 1,592 different films none reaches 0.76, changed copies have 0.84 and more
ECC_STEPS = 30
BLOCK = 32  # films that are compared with all others at a time

Cut = tuple[float, float, float]


class Copy(NamedTuple):
    """Two films, by their places, that show the same; correlation: of their fine structure, aligned."""

    first: int
    second: int
    correlation: float


class _Candidate(NamedTuple):
    """Film `first`, inverted or not and turned, looks like film `second` without CUTS[cut]."""

    first: int
    inverted: bool
    turn: int
    kind: int
    second: int
    cut: int


@dataclass(frozen=True)
class Portrait:
    """A film of at most THUMBNAIL_PX without flat outer lines, its breast, and the low frequencies of its frames.

    frames: (KINDS, CUTS, FREQUENCIES**2) of unit length. inverted: the film with black for white, where it can be that.
    """

    film: Grey
    breast: Mask
    frames: Floats
    inverted: "Portrait | None" = None

    def frame(self, kind: int, cut: Cut) -> Grey:
        """Return the part of the film without `cut`; kind 0: the box of its breast, 1: all of it."""
        part = _cut(self.film, cut)
        return part if kind else _box(part, _cut(self.breast, cut))


def draw_portrait(film: Grey) -> Portrait:
    """Reduce a film (h, w) uint8 to what tells it from others."""
    scale = THUMBNAIL_PX / max(film.shape)
    size = max(1, round(film.shape[1] * scale)), max(1, round(film.shape[0] * scale))
    small = np.asarray(cv2.resize(film, size, interpolation=cv2.INTER_AREA) if scale < 1 else film, np.uint8)
    trimmed = _trim(_trim(small))
    inverted = _portray(255 - trimmed, [WHOLE], None) if trimmed.mean() > BRIGHT else None
    return _portray(trimmed, CUTS, inverted)


def _portray(film: Grey, cuts: Sequence[Cut], inverted: Portrait | None) -> Portrait:
    plain = Portrait(film, breast_mask(film), np.empty(0, np.float32))
    frames = [_signatures([plain.frame(kind, cut) for cut in cuts]) for kind in range(KINDS)]
    return Portrait(film, plain.breast, np.stack(frames), inverted)


def group_copies(paths: Sequence[str], portraits: Sequence[Portrait]) -> dict[str, str]:
    """Return, by path, the first path of the films that show the same; films without a copy are left out."""
    first = {path: path for path in paths}
    for copy in find_copies(portraits):
        one, other = sorted(first[paths[place]] for place in (copy.first, copy.second))
        first = {path: one if name == other else name for path, name in first.items()}
    names = list(first.values())
    return {path: name for path, name in first.items() if names.count(name) > 1}


def find_copies(portraits: Sequence[Portrait], others: Sequence[Portrait] | None = None) -> list[Copy]:
    """Return the pairs of films that show the same, first < second; or of two lists, the first of `portraits`."""
    right = portraits if others is None else others
    copies: dict[tuple[int, int], float] = {}
    for candidate in _candidates(portraits, right, others is None):
        pair = (candidate.first, candidate.second)
        if others is None:
            pair = (min(pair), max(pair))
        if copies.get(pair, 0) < MIN_CORRELATION:
            correlation = _correlation(candidate, portraits[candidate.first], right[candidate.second])
            copies[pair] = max(correlation, copies.get(pair, 0))
    return [Copy(*pair, round(value, 3)) for pair, value in sorted(copies.items()) if value >= MIN_CORRELATION]


def _trim(film: Grey) -> Grey:
    """Cut off outer lines that show nothing."""
    spans = [np.ptp(film, axis=axis) > FLAT for axis in (1, 0)]
    if min(int(span.sum()) for span in spans) < MIN_PX:
        return film
    (top, bottom), (left, right) = (np.flatnonzero(span)[[0, -1]] for span in spans)
    return film[top : bottom + 1, left : right + 1]


def _cut(image: Grey, cut: Cut) -> Grey:
    height, width = image.shape
    top, bottom, side = round(cut[0] * height), round(cut[1] * height), round(cut[2] * width)
    return image[top : height - bottom, side : width - side]


def _box(film: Grey, breast: Mask) -> Grey:
    return np.asarray(crop(film, bounding_box(breast)), np.uint8) if breast.any() else film


def _signatures(frames: Sequence[Grey]) -> Floats:
    """Return the low frequencies of frames, (n, FREQUENCIES**2) of unit length; 1/f is made even."""
    order = np.hypot(*np.mgrid[:FREQUENCIES, :FREQUENCIES]).astype(np.float32)
    order[order < 1.5] = 0
    grids = [cv2.resize(frame, (GRID_PX, GRID_PX), interpolation=cv2.INTER_AREA).astype(np.float32) for frame in frames]
    low = np.stack([cv2.dct(grid)[:FREQUENCIES, :FREQUENCIES] * order for grid in grids]).reshape(len(grids), -1)
    return np.asarray(low / np.maximum(np.linalg.norm(low, axis=1, keepdims=True), 1e-6), np.float32)


def _turned_signatures(signatures: Floats) -> Floats:
    """Return the signatures (n, FREQUENCIES**2) of frames in the 8 orientations of `_turn`, (8, n, ...)."""
    square = signatures.reshape(-1, FREQUENCIES, FREQUENCIES)
    signs = (-1.0) ** np.arange(FREQUENCIES, dtype=np.float32)
    turned = []
    for turn in range(8):
        image = square.swapaxes(1, 2) if turn & 4 else square
        image = image * signs[:, np.newaxis] if turn & 2 else image
        turned.append((image * signs if turn & 1 else image).reshape(signatures.shape))
    return np.stack(turned)


def _turn(image: Grey, turn: int) -> Grey:
    """Transpose (4), then turn upside down (2), then mirror (1)."""
    image = image.T if turn & 4 else image
    image = image[::-1] if turn & 2 else image
    return image[:, ::-1] if turn & 1 else image


def _candidates(portraits: Sequence[Portrait], others: Sequence[Portrait], is_one_list: bool) -> Iterator[_Candidate]:
    """Yield the nearest other film of each film, in frames of either kind and in either polarity."""
    plain = [(place, False, portrait) for place, portrait in enumerate(portraits)]
    inverted = [(place, True, film.inverted) for place, film in enumerate(portraits) if film.inverted]
    queries = [*plain, *inverted] if others else []
    for kind in range(KINDS):
        right = np.stack([portrait.frames[kind] for portrait in others]) if queries else np.empty(0, np.float32)
        for start in range(0, len(queries), BLOCK):
            block = queries[start : start + BLOCK]
            left = np.stack([portrait.frames[kind, 0] for _, _, portrait in block])
            places = [place for place, _, _ in block] if is_one_list else None
            for row, second, turn, cut in _nearest(left, right, places):
                yield _Candidate(block[row][0], block[row][1], turn, kind, second, cut)


def _nearest(left: Floats, right: Floats, places: list[int] | None) -> Iterator[tuple[int, int, int, int]]:
    """Yield row, most similar other film, turn and cut; places: those of the rows among the others, to leave out."""
    films, cuts = right.shape[:2]
    similarity = (_turned_signatures(left) @ right.reshape(films * cuts, -1).T).reshape(8, len(left), films, cuts)
    best = similarity.max(axis=(0, 3))
    if places is not None:
        best[np.arange(len(left)), places] = -1
    for row, film in enumerate(best.argmax(axis=1)):
        if best[row, film] >= MIN_SIMILARITY:
            turn, cut = divmod(int(similarity[:, row, film].argmax()), cuts)
            yield row, int(film), turn, cut


def _correlation(candidate: _Candidate, first: Portrait, second: Portrait) -> float:
    """Align the two frames of a candidate, and return the correlation of their fine structure; 0 where none aligns."""
    query = first.inverted if candidate.inverted and first.inverted else first
    cut = CUTS[candidate.cut]
    moving = _scale(_turn(query.frame(candidate.kind, WHOLE), candidate.turn))
    fixed = _scale(second.frame(candidate.kind, cut))
    breast = _scale(
        _cut(second.breast, cut) if candidate.kind else _box(_cut(second.breast, cut), _cut(second.breast, cut))
    )
    inside = cv2.erode(np.pad(breast, 1), np.ones((2 * RIM_PX + 1, 2 * RIM_PX + 1)))[1:-1, 1:-1] > 0.5
    warp = _align(fixed, moving)
    return 0.0 if warp is None else _compare(fixed, moving, warp, np.asarray(inside))


def _align(fixed: Floats, moving: Floats) -> Floats | None:
    """Return the affine map (2, 3) from `fixed` to `moving`, found at half their size, or None without convergence."""
    half = [cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for image in (fixed, moving)]
    coarse = [cv2.GaussianBlur(image, (0, 0), 1) - cv2.GaussianBlur(image, (0, 0), 5) for image in half]
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, ECC_STEPS, 1e-3)
    if min(image.std() for image in coarse) < 0.1:
        return None
    try:
        # The stub of OpenCV lacks gaussFiltSize; 1: the images are smooth.
        _, warp = cv2.findTransformECC(  # type: ignore[call-overload]
            *coarse, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, criteria, None, 1
        )
    except cv2.error:  # the frames have nothing in common
        return None
    # Pixel centres: x at half the size is 2 x + 0.5 at full size.
    matrix = np.asarray(warp, np.float32)
    matrix[:, 2] = 2 * matrix[:, 2] + 0.5 - 0.5 * matrix[:, :2].sum(axis=1)
    return matrix


def _scale(frame: Grey) -> Floats:
    small = cv2.resize(np.ascontiguousarray(frame), (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _compare(fixed: Floats, moving: Floats, warp: Floats, inside: npt.NDArray[np.bool_]) -> float:
    """Return the correlation of fine structure inside the breast, where both frames show it."""
    size, flags = (FRAME_PX, FRAME_PX), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    aligned = cv2.warpAffine(moving, warp, size, flags=flags)
    shown = cv2.erode(cv2.warpAffine(np.ones_like(moving), warp, size, flags=flags), np.ones((7, 7))) > 0.99
    both = inside & np.asarray(shown)
    if both.mean() < MIN_INSIDE:
        return 0.0
    one, other = (_fine(image)[both] for image in (fixed, np.asarray(aligned, np.float32)))
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / max(np.linalg.norm(one) * np.linalg.norm(other), 1e-6))


def _fine(image: npt.NDArray[np.generic]) -> Floats:
    """Return the band of fine structure, each place in units of its surroundings' contrast."""
    small, large = (cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), sigma) for sigma in FINE_SIGMA_PX)
    band = small - large
    return np.asarray(band / (np.sqrt(cv2.GaussianBlur(band**2, (0, 0), 2 * FINE_SIGMA_PX[1])) + 2), np.float32)
