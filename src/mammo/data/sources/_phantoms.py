"""Synthetic mammograms: film-like drawings of breasts with masses and calcifications.

Arrays in, arrays out, all randomness from the Generator passed in, no files. Every length scales with the film's
height. A lesion's drawing depends on its `suspicion`, not on its label. Between the drawing steps a film
is float32 (h, w), 0 (black) to 1, its chest wall at the left edge until the lesions are in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Kind = Literal["mass", "calcification"]
Laterality = Literal["LEFT", "RIGHT"]
View = Literal["CC", "MLO"]
Scanner = Literal["DBA", "HOWTEK", "LUMISYS"]
Canvas = NDArray[np.float32]
Pixels = NDArray[np.uint8]

SCANNERS: tuple[Scanner, ...] = ("DBA", "HOWTEK", "LUMISYS")
_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Lesion:
    """The traits of an abnormality that its drawings share, in one view or in two."""

    kind: Kind
    suspicion: float  # in SD, 0 halfway between the classes; shape, margin and density follow it
    extent: float  # longer side of the outline, as a share of the film's height
    conspicuity: float  # 0 (hardly visible) to 1 (obvious)


@dataclass(frozen=True)
class Anatomy:
    """The traits that the films of one breast share."""

    aspect: float  # film width / height
    reach: float  # chest wall to nipple, as a share of the film's width
    girth: float  # half the breast's height, as a share of the film's height
    density: int  # 1 (fatty) to 4 (dense)
    scanner: Scanner


@dataclass(frozen=True)
class Projection:
    """The side and view of a film, and its height in px."""

    laterality: Laterality
    view: View
    height_px: int


@dataclass(frozen=True)
class Film:
    """pixels: (h, w) uint8; masks: one (h, w) uint8 of 0 and 255 per lesion, in the order given."""

    pixels: Pixels
    masks: tuple[Pixels, ...]


def draw_anatomy(rng: np.random.Generator, density: int) -> Anatomy:
    """Draw a random breast of `density` 1-4 on a random scanner."""
    return Anatomy(
        aspect=rng.uniform(0.55, 0.66),
        reach=rng.uniform(0.6, 0.88),
        girth=rng.uniform(0.33, 0.44),
        density=density,
        scanner=SCANNERS[rng.integers(len(SCANNERS))],
    )


def draw_film(rng: np.random.Generator, anatomy: Anatomy, projection: Projection, lesions: Sequence[Lesion]) -> Film:
    """Draw one view of a breast, digitised to 8 bits, and the filled outline of each lesion."""
    laterality, view = projection.laterality, projection.view
    shape = (projection.height_px, round(projection.height_px * anatomy.aspect))
    inside = _silhouette(rng, anatomy, view, shape)
    muscle = _pectoral(rng, shape) if view == "MLO" else np.zeros(shape, np.float32)
    canvas = _tissue(rng, anatomy.density, inside, muscle)
    free = inside & (muscle < 0.2)
    masks = []
    for lesion in lesions:
        canvas, mask = _place(rng, canvas, free, lesion)
        free &= mask == 0
        masks.append(mask)
    if laterality == "RIGHT":
        canvas, masks = np.fliplr(canvas), [np.fliplr(mask) for mask in masks]
    canvas = _add_artefacts(rng, canvas, laterality, view)
    return Film(_scan(rng, canvas, anatomy.scanner), tuple(np.ascontiguousarray(mask) for mask in masks))


def _silhouette(rng: np.random.Generator, anatomy: Anatomy, view: View, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the breast's outline: a half-ellipse (CC), or one that runs up into the armpit (MLO)."""
    height, width = shape
    rows = np.linspace(0, 1, height)
    centre = rng.uniform(0.46, 0.54) if view == "CC" else rng.uniform(0.56, 0.64)
    above = anatomy.girth if view == "CC" else centre + rng.uniform(0.08, 0.3)
    along = np.where(rows < centre, (centre - rows) / above, (rows - centre) / anatomy.girth)
    skin = anatomy.reach * np.clip(1 - along ** rng.uniform(1.9, 2.5), 0, None) ** rng.uniform(0.5, 0.75)
    nipple = rng.uniform(0.015, 0.035) * np.exp(-(((rows - centre) / 0.016) ** 2))
    wobble = 1 + 0.012 * _noise(rng, (height, 1), height / 6)[:, 0]
    edge = width * (skin * wobble + nipple)
    return np.asarray(np.arange(width) < edge[:, None])


def _pectoral(rng: np.random.Generator, shape: tuple[int, int]) -> Canvas:
    """Draw the pectoral muscle in the upper chest-wall corner: 0 outside, 1 inside, soft edge. float32 (h, w)."""
    height, width = shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    top, bottom = rng.uniform(0.3, 0.55) * width, rng.uniform(0.45, 0.75) * height
    bulge = rng.uniform(-0.05, 0.12) * np.sin(np.pi * np.clip(y / bottom, 0, 1))
    beyond = x / top + y / bottom - 1 - bulge
    return _sigmoid(-beyond / rng.uniform(0.015, 0.04))


def _tissue(rng: np.random.Generator, density: int, inside: NDArray[np.bool_], muscle: Canvas) -> Canvas:
    """Draw fat, gland and muscle under the skin, thinning towards it. float32 (h, w)."""
    shape, height = inside.shape, inside.shape[0]
    depth = _depth_px(inside) / height
    thickness = 1 - (1 - np.clip(depth / rng.uniform(0.08, 0.13), 0, 1)) ** 2
    fat = rng.uniform(0.3, 0.38) + 0.02 * _fractal(rng, shape, height / 5)
    relative_depth = np.clip(depth / 0.25, 0, 1)
    spread = _fractal(rng, shape, height / 4) + 3.0 * relative_depth * (1 - relative_depth)
    gland = _sigmoid((spread + 0.75 * density - 2.9) / 0.7)
    body = fat + gland * (0.11 + 0.03 * density) + _strands(rng, inside) * (0.07 + 0.11 * gland)
    body += muscle * (rng.uniform(0.62, 0.78) - body + 0.02 * _fractal(rng, shape, height / 12))
    skin = 0.06 * np.exp(-((depth / 0.004 - 1) ** 2))
    return np.where(inside, body * thickness + skin, 0).astype(np.float32)


def _strands(rng: np.random.Generator, inside: NDArray[np.bool_]) -> Canvas:
    """Draw fibrous strands that run from the nipple into the breast. float32 (h, w), about 0 to 1."""
    height, width = inside.shape
    nipple_x = float(inside.sum(axis=1).max())
    nipple_y = float(inside.sum(axis=1).argmax())
    y, x = np.mgrid[:height, :width].astype(np.float32)
    # Without the warp the strands are straight rays: a drawing, not tissue.
    warp = 0.035 * height
    x = x - 1.05 * nipple_x + warp * _noise(rng, (height, width), height / 7)
    y = y - nipple_y + warp * _noise(rng, (height, width), height / 7)
    side = 256
    unrolled = _noise(rng, (side, side), (side / 44, side / 5))
    rolled = cv2.remap(
        _ridges(unrolled) + 0.6 * _ridges(_noise(rng, (side, side), (side / 80, side / 8))),
        (np.hypot(x, y) * (side / height / 1.3)).astype(np.float32),
        ((np.arctan2(y, -x) / (2 * np.pi) + 0.5) * (side - 1)).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    mesh = _fractal(rng, (height, width), height / 12) + _ridges(_fractal(rng, (height, width), height / 12))
    return np.asarray(0.45 * rolled + 0.22 * mesh, dtype=np.float32)


def _depth_px(inside: NDArray[np.bool_]) -> Canvas:
    """Return the distance to the skin in pixels; film edges are not skin."""
    beyond = cv2.copyMakeBorder(inside.astype(np.uint8), 1, 1, inside.shape[1], 0, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.distanceTransform(beyond, cv2.DIST_L2, 5)[1:-1, inside.shape[1] :], dtype=np.float32)


def _place(rng: np.random.Generator, canvas: Canvas, free: NDArray[np.bool_], lesion: Lesion) -> tuple[Canvas, Pixels]:
    """Draw `lesion` at a random spot that `free` allows; returns the new film and the lesion's mask."""
    extent_px = lesion.extent * canvas.shape[0]
    patch_px = 2 * round(1.25 * extent_px) + 1
    draw = _mass if lesion.kind == "mass" else _calcifications
    added, outline = draw(rng, lesion, extent_px, patch_px)
    row, column = _spot(rng, free, extent_px)
    light = _paste(added, row, column, canvas.shape)
    mask = _paste(outline.astype(np.float32), row, column, canvas.shape) > 0.5
    # Screen blending: what is bright already gains little, and no film saturates.
    brighter = 1 - (1 - canvas) * (1 - light * _sigmoid((canvas - 0.08) / 0.03))
    return brighter.astype(np.float32), np.where(mask, 255, 0).astype(np.uint8)


def _spot(rng: np.random.Generator, free: NDArray[np.bool_], extent_px: float) -> tuple[int, int]:
    """Choose a random (row, column) at least half the extent away from skin, muscle, film edge and other lesions."""
    # Borders of zeros, so that the film's edge counts.
    room = cv2.distanceTransform(np.pad(free, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    enough = min(0.62 * extent_px, 0.98 * float(room.max()))
    candidates = np.flatnonzero(room >= enough)
    row, column = divmod(int(rng.choice(candidates)), free.shape[1])
    return row, column


def _paste(patch: Canvas, row: int, column: int, shape: tuple[int, ...]) -> Canvas:
    """Place `patch` centred at (row, column) on an empty film, cut at its edges."""
    half = patch.shape[0] // 2
    film = np.zeros((shape[0] + 2 * half, shape[1] + 2 * half), np.float32)
    film[row : row + patch.shape[0], column : column + patch.shape[1]] = patch
    return film[half : half + shape[0], half : half + shape[1]]


def _grade(rng: np.random.Generator, suspicion: float) -> float:
    """Draw how malignant one trait looks, 0 to 1, around the suspicion."""
    return float(_sigmoid(np.float32(2.1 * suspicion + rng.normal(0, 0.3))))


def _mass(
    rng: np.random.Generator, lesion: Lesion, extent_px: float, patch_px: int
) -> tuple[Canvas, NDArray[np.bool_]]:
    """Draw the light that a mass adds, and its outline; both (patch_px, patch_px).

    From benign to malignant: round or oval, circumscribed -> irregular, ill-defined, spiculated, denser.
    """
    radii = _outline_radii(rng, _grade(rng, lesion.suspicion))
    y, x = np.mgrid[:patch_px, :patch_px].astype(np.float32) - patch_px // 2
    angle = np.arctan2(y, x)
    radii *= extent_px / _longer_side(radii)
    edge = np.interp(angle, np.linspace(-np.pi, np.pi, radii.size), radii).astype(np.float32)
    from_centre = np.hypot(x, y) / edge
    margin = _grade(rng, lesion.suspicion)
    circumscribed = _sigmoid((1 - from_centre) / 0.04) * (1 - 0.15 * np.clip(from_centre, 0, 1) ** 2)
    ill_defined = 1.25 * np.exp(-1.6 * from_centre**1.5)
    body = (1 - margin) * circumscribed + margin * ill_defined
    body *= 1 + 0.1 * _fractal(rng, (patch_px, patch_px), extent_px / 2)
    density = 0.19 + 0.14 * lesion.conspicuity + 0.14 * _grade(rng, lesion.suspicion)
    spicules = _spicules(rng, _grade(rng, lesion.suspicion), extent_px, patch_px)
    return np.clip(density * (body + 0.9 * spicules), 0, 0.8).astype(np.float32), from_centre < 1


def _outline_radii(rng: np.random.Generator, irregularity: float) -> NDArray[np.float64]:
    """Draw an outline's radius by angle, (361,), first = last: an ellipse, lobed or jagged by `irregularity` 0-1."""
    angles = np.linspace(-np.pi, np.pi, 361)
    ratio = rng.uniform(0.68, 1.0)
    tilt = rng.uniform(0, np.pi)
    radii = ratio / np.sqrt((ratio * np.cos(angles - tilt)) ** 2 + np.sin(angles - tilt) ** 2)
    for waves in range(2, 10):
        swing = (0.015 + 0.13 * irregularity) * rng.normal() / np.sqrt(waves / 2)
        radii *= np.exp(swing * np.cos(waves * angles + rng.uniform(0, 2 * np.pi)))
    return np.asarray(radii)


def _longer_side(radii: NDArray[np.float64]) -> float:
    """Return the longer side of the bounding box of an outline about the origin."""
    angles = np.linspace(-np.pi, np.pi, radii.size)
    return float(max(np.ptp(radii * np.cos(angles)), np.ptp(radii * np.sin(angles))))


def _spicules(rng: np.random.Generator, grade: float, extent_px: float, patch_px: int) -> Canvas:
    """Draw tapering lines that radiate from a lesion; number, length and strength grow with `grade` 0-1."""
    count = round(6 + 16 * grade)
    scale = _SUPERSAMPLING
    sheet = np.zeros((patch_px * scale, patch_px * scale), np.float32)
    centre = np.full(2, patch_px * scale / 2)
    spread = rng.uniform(0.12, 0.3)
    for turn in rng.uniform(0, 2 * np.pi, count):
        root = centre + rng.normal(0, spread / 2, 2) * extent_px * scale
        length = extent_px * scale * (0.45 + 0.9 * grade * rng.beta(1.5, 1.2))
        width = extent_px * scale * rng.uniform(0.025, 0.065)
        tip = root + length * np.array([np.cos(turn), np.sin(turn)])
        aside = np.array([-np.sin(turn), np.cos(turn)])
        middle = (root + tip) / 2 + rng.normal(0, 0.07) * length * aside
        across = width * aside
        spike = [root + across, middle + across / 2, tip, middle - across / 2, root - across]
        cv2.fillPoly(sheet, [np.array(spike).round().astype(np.int32)], rng.uniform(0.35, 0.9))
    lines = cv2.resize(sheet, (patch_px, patch_px), interpolation=cv2.INTER_AREA)
    return np.asarray(grade * cv2.GaussianBlur(lines, (0, 0), 0.022 * extent_px + 0.3), dtype=np.float32)


def _calcifications(
    rng: np.random.Generator, lesion: Lesion, extent_px: float, patch_px: int
) -> tuple[Canvas, NDArray[np.bool_]]:
    """Draw the light that a group of calcifications adds, and the outline of its region; both (patch_px, patch_px).

    From benign to malignant: few, coarse, round, scattered -> many, fine, pleomorphic, clustered or lined up.
    """
    y, x = np.mgrid[:patch_px, :patch_px].astype(np.float32) - patch_px // 2
    radii = _outline_radii(rng, 0.15)
    radii *= extent_px / _longer_side(radii)
    edge = np.interp(np.arctan2(y, x), np.linspace(-np.pi, np.pi, radii.size), radii)
    region = np.hypot(x, y) < edge
    count = round(4 * np.exp(2.2 * _grade(rng, lesion.suspicion) + rng.normal(0, 0.15)))
    spots = _scatter(rng, count, _grade(rng, lesion.suspicion)) * extent_px / 2
    # Larger groups have larger grains, though not in proportion: as the root of their share of the film.
    grain_px = 0.02 * extent_px / np.sqrt(lesion.extent)
    grains = _grains(rng, spots, _grade(rng, lesion.suspicion), grain_px, patch_px)
    haze = np.exp(-2 * (np.hypot(x, y) / edge) ** 2) * (0.02 + 0.17 * _grade(rng, lesion.suspicion))
    light = grains * (0.45 + 0.4 * lesion.conspicuity) + haze
    return np.clip(light, 0, 0.9).astype(np.float32), np.asarray(region)


def _scatter(rng: np.random.Generator, count: int, grade: float) -> NDArray[np.float64]:
    """Draw offsets from the centre, (count, 2), in radii of the region: scattered -> clustered or lined up."""
    angle = rng.uniform(0, 2 * np.pi, count)
    scattered = np.sqrt(rng.uniform(0, 0.85, count))[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    width = rng.choice([0.1, 0.3])
    tilt = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    gathered = np.clip(rng.normal(0, 1, (count, 2)) * [0.38, width], -0.85, 0.85) @ turn
    return np.asarray(np.where(rng.random((count, 1)) < grade, gathered, scattered))


def _grains(
    rng: np.random.Generator, spots: NDArray[np.float64], grade: float, grain_px: float, patch_px: int
) -> Canvas:
    """Draw bright grains at `spots` (offsets in pixels): coarse, round -> fine, of many forms. float32, 0 to 1."""
    scale = _SUPERSAMPLING
    sheet = np.zeros((patch_px * scale, patch_px * scale), np.float32)
    for spot in (spots + patch_px / 2) * scale:
        size = scale * grain_px * (1 - 0.55 * grade) * np.exp(rng.normal(0, 0.12 + 0.22 * grade))
        slender = rng.uniform(1, 1 + 1.6 * grade)
        axes = (max(1, round(size * slender**0.5)), max(1, round(size / slender**0.5)))
        light = rng.uniform(0.65, 1)
        centre = (round(spot[0]), round(spot[1]))
        cv2.ellipse(sheet, centre, axes, rng.uniform(0, 180), 0, 360, light, cv2.FILLED)
    return np.asarray(cv2.resize(sheet, (patch_px, patch_px), interpolation=cv2.INTER_AREA), dtype=np.float32)


def _add_artefacts(rng: np.random.Generator, canvas: Canvas, laterality: Laterality, view: View) -> Canvas:
    """Add what is no part of a breast: label, tape, border, scratches, each on a part of the films."""
    canvas = np.ascontiguousarray(canvas)
    if rng.random() < 0.75:
        canvas = _add_label(rng, canvas, laterality, view)
    if rng.random() < 0.15:
        canvas = _add_tape(rng, canvas, laterality)
    if rng.random() < 0.35:
        canvas = _add_border(rng, canvas)
    if rng.random() < 0.3:
        canvas = _add_scratch(rng, canvas)
    return canvas


def _add_label(rng: np.random.Generator, canvas: Canvas, laterality: Laterality, view: View) -> Canvas:
    """Add lead letters such as LCC, some of them boxed or on end, in an upper corner away from the chest wall."""
    height = canvas.shape[0]
    letters = _letters(rng, laterality[0] + view, height)
    top = round(rng.uniform(0.02, 0.1) * height)
    gap = round(rng.uniform(0.01, 0.06) * height)
    left = canvas.shape[1] - letters.shape[1] - gap if laterality == "LEFT" else gap
    window = canvas[top : top + letters.shape[0], left : left + letters.shape[1]]
    np.maximum(window, letters, out=window)
    return canvas


def _letters(rng: np.random.Generator, text: str, height_px: int) -> Canvas:
    """Draw `text` on a patch just large enough, some boxed, some on end. float32, 0 to 1."""
    scale = _SUPERSAMPLING
    font, size = cv2.FONT_HERSHEY_SIMPLEX, height_px * scale * rng.uniform(0.0011, 0.0017)
    stroke = max(1, round(height_px * scale * 0.004))
    (text_width, text_height), _ = cv2.getTextSize(text, font, size, stroke)
    margin = 3 * stroke
    sheet = np.zeros((text_height + 2 * margin, text_width + 2 * margin), np.uint8)
    cv2.putText(sheet, text, (margin, text_height + margin), font, size, 255, stroke, cv2.LINE_AA)
    if rng.random() < 0.4:
        cv2.rectangle(sheet, (0, 0), (sheet.shape[1] - 1, sheet.shape[0] - 1), 200, stroke)
    sheet = np.ascontiguousarray(np.rot90(sheet, rng.choice([0, 0, 1, 3])))
    patch = (max(1, sheet.shape[1] // scale), max(1, sheet.shape[0] // scale))
    dimmed = cv2.resize(sheet, patch, interpolation=cv2.INTER_AREA) * (rng.uniform(0.55, 0.95) / 255)
    return np.asarray(dimmed, dtype=np.float32)


def _add_tape(rng: np.random.Generator, canvas: Canvas, laterality: Laterality) -> Canvas:
    """Add a strip of tape across a lower corner away from the chest wall."""
    height, width = canvas.shape
    far = width if laterality == "LEFT" else 0
    inward = -1 if laterality == "LEFT" else 1
    rise, run = rng.uniform(0.04, 0.14) * height, rng.uniform(0.08, 0.25) * width
    breadth = rng.uniform(0.015, 0.035) * height
    strip = np.array(
        [
            [far, height - rise],
            [far + inward * run, height],
            [far + inward * (run + breadth), height],
            [far, height - rise - breadth],
        ]
    )
    tape = np.zeros_like(canvas)
    cv2.fillPoly(tape, [strip.round().astype(np.int32)], rng.uniform(0.5, 0.9))
    return np.maximum(canvas, tape)


def _add_border(rng: np.random.Generator, canvas: Canvas) -> Canvas:
    """Add white where the scan exceeds the film: some sides, a few pixels, slightly askew."""
    height, width = canvas.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for distance, across in ((y, x), (height - 1 - y, x), (x, y), (width - 1 - x, y)):
        if rng.random() < 0.4:
            breadth = rng.uniform(0.004, 0.02) * height + rng.normal(0, 0.006) * across
            canvas = np.where(distance < breadth, np.float32(0.97), canvas)
    return canvas


def _add_scratch(rng: np.random.Generator, canvas: Canvas) -> Canvas:
    """Add one to three faint straight scratches."""
    height, width = canvas.shape
    for _ in range(rng.integers(1, 4)):
        start = rng.uniform(0, 1, 2) * (width, height)
        end = start + rng.normal(0, 0.15 * height, 2)
        scratch = np.zeros_like(canvas)
        cv2.line(scratch, start.round().astype(int).tolist(), end.round().astype(int).tolist(), 1.0)
        canvas = canvas + rng.choice([-0.08, 0.12, 0.2]) * scratch
    return canvas


def _scan(rng: np.random.Generator, canvas: Canvas, scanner: Scanner) -> Pixels:
    """Digitise: the scanner's intensity curve, fog and grain. (h, w) uint8."""
    light = np.clip(canvas, 0, 1)
    if scanner == "DBA":
        curve, fog, grain = light**1.25 * 1.08, 0.01, 0.008
    elif scanner == "HOWTEK":
        curve, fog, grain = light**0.8 * 0.95, 0.035, 0.014
    else:
        curve, fog, grain = _sigmoid((light - 0.48) / 0.15) - _sigmoid(np.float32(-0.48 / 0.15)), 0.02, 0.005
    exposed = fog * rng.uniform(0.5, 1.5) + (1 - fog) * curve * rng.uniform(0.92, 1.05)
    noisy = exposed + grain * rng.standard_normal(canvas.shape, dtype=np.float32)
    return np.asarray(np.clip(np.rint(255 * noisy), 0, 255), dtype=np.uint8)


def _noise(rng: np.random.Generator, shape: tuple[int, int], cell_px: float | tuple[float, float]) -> Canvas:
    """Draw smooth noise, about mean 0 and SD 1, of grain `cell_px` (or rows, columns). float32 `shape`."""
    cells = cell_px if isinstance(cell_px, tuple) else (cell_px, cell_px)
    grid = [max(2, round(side / max(cell, 1)) + 1) for side, cell in zip(shape, cells, strict=True)]
    coarse = rng.standard_normal(grid, dtype=np.float32)
    # Interpolation between independent cells takes about a third of their SD away.
    return np.asarray(1.4 * cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _fractal(rng: np.random.Generator, shape: tuple[int, int], coarsest_px: float) -> Canvas:
    """Draw noise of four scales, each half as wide and .6 as strong as the last. SD about 1, float32 `shape`."""
    layers = [0.6**octave * _noise(rng, shape, coarsest_px / 2**octave) for octave in range(4)]
    return np.asarray(sum(layers) / 1.2, dtype=np.float32)


def _ridges(noise: Canvas) -> Canvas:
    """Return thin bright lines where `noise` crosses 0. float32, 0 to 1."""
    return np.asarray(np.exp(-2 * np.abs(noise)), dtype=np.float32)


def _sigmoid(x: Any) -> Canvas:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -50, 50))), dtype=np.float32)
