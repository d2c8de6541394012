"""From a case to the image and mask of a model's input: (size_px, size_px), of a breast (2 * size_px, size_px).

Files are read once, checked against the manifest if there is one, and JPEGs are decoded no finer than the output needs.
On 25 real films enlarged to 3000x5000 px, the square differs from that of a film decoded whole by 1.0 of 255 grey
levels on average (median 0.6) for a breast at 224 px, and by 1.4 (median 1.2) for a lesion at 64 px.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mammo.core.config import PreprocessConfig
from mammo.core.schemas import BOX_PREFIX, NONE_MARKED, PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data.images import border, io, transforms, without_lesion
from mammo.data.images.breast import BREAST_ANALYSIS_PX, breast_mask, breast_square
from mammo.data.images.dicom import PixelError
from mammo.data.images.io import Encoded
from mammo.data.images.transforms import Box, Film, Mask

VIEWS = ("CC", "MLO")
ASPECT_TOLERANCE = 0.01
OVERSAMPLING = 2  # a reduced film is at least this much finer than the square it becomes
LESION_BOX_PX = 128  # a lesion's box is measured on a mask that shows it at least this long

Mark = Encoded | Box


@dataclass(frozen=True)
class Square:
    """A model's input; image: (h, w) uint8 or uint16, mask: (h, w) 0/1, lesion_share: the marked share of the film."""

    image: Film
    mask: Mask
    lesion_share: float


@dataclass(frozen=True)
class Scene:
    """A film in memory, not yet decoded, with the marks of the case and those of all lesions of the film."""

    film: Encoded
    marks: list[Mark]
    film_marks: list[Mark]


class View(NamedTuple):
    """A decoded film with its breast and its lesions (0/1) in the same shape."""

    film: Film
    breast: Mask
    lesions: Mask


class Located(NamedTuple):
    """A decoded film with its breast (0/1) in the same shape, its lesions (0/1), and what to cut out.

    crop: the window of a lesion, on the film and on `lesions`, which then has a shape of its own; None: the breast.
    """

    film: Film
    breast: Mask
    lesions: Mask
    crop: tuple[Box, Box] | None


@dataclass(frozen=True)
class Sample:
    """A model's input, and the same sample without its lesions.

    without_lesion: (h, w) like the square's image; removal: how they were removed, of without_lesion.REMOVALS.
    borders: (films, len(schemas.BORDER_STATISTICS)), of each film of the case.
    """

    square: Square
    without_lesion: Film
    removal: str
    borders: npt.NDArray[np.float64]


def square_shape(unit: str, size_px: int) -> tuple[int, int]:
    """Return (h, w) of the square of a case."""
    return (len(VIEWS) * size_px if unit == "breast" else size_px), size_px


def prepare_case(
    case: Mapping[str, object],
    root: Path,
    unit: str,
    settings: PreprocessConfig,
    digests: Mapping[str, str] | None = None,
) -> Square:
    """Prepare one case (a row of schemas.CASES: view, image_path, mask_path) whose files lie under `root`.

    digests: SHA-256 by path of the manifest; a file that differs is refused. Raises PixelError naming the file.
    """
    scenes = _case_scenes(case, root, unit, digests)
    return _assemble([cut_square(_locate(scene, unit, settings), settings) for scene in scenes], scenes, case, unit)


def locate_film(film: Encoded, box: Box | None, unit: str, settings: PreprocessConfig) -> Located:
    """Decode one film whose lesion lies in `box`, for `cut_square`; raises PixelError naming the file.

    unit: lesion, or image, which needs no box.
    """
    io.refuse_tiny(film)
    return _locate(Scene(film, [] if box is None else [box], []), unit, settings)


def prepare_sample(
    case: Mapping[str, object],
    root: Path,
    unit: str,
    settings: PreprocessConfig,
    digests: Mapping[str, str] | None = None,
) -> Sample:
    """Prepare a case as `prepare_case` does, and the same sample without its lesions.

    The case's film_mask_path has the marks of all lesions of the film, like mask_path, which counts where it is
    missing: a crop must not show another lesion.
    """
    scenes = _case_scenes(case, root, unit, digests)
    views = [_locate(scene, unit, settings) for scene in scenes]
    hidden, removals = zip(*map(_remove_lesions, views, scenes), strict=True)
    whole, without = ([cut_square(view, settings) for view in each] for each in (views, hidden))
    removed = [removal for removal in removals if removal != NONE_MARKED]
    return Sample(
        _assemble(whole, scenes, case, unit),
        _assemble(without, scenes, case, unit).image,
        removed[0] if removed else NONE_MARKED,
        np.stack(
            [border.measure_border(view.film, scene.film.shape) for view, scene in zip(views, scenes, strict=True)]
        ),
    )


def overview(case: Mapping[str, object], root: Path, size_px: int) -> list[View]:
    """The films of a case as scanned, a little larger than `size_px`, with breasts and lesions marked on them."""
    return [_view(scene, _coarsest(max(scene.film.shape), size_px)) for scene in _scenes(case, root, None)]


def _case_scenes(case: Mapping[str, object], root: Path, unit: str, digests: Mapping[str, str] | None) -> list[Scene]:
    scenes = _scenes(case, root, digests)
    if unit != "breast" and len(scenes) != 1:
        raise PixelError(f"{case['image_path']}: {len(scenes)} films for one {unit}; only a breast has several")
    return scenes


def _scenes(case: Mapping[str, object], root: Path, digests: Mapping[str, str] | None) -> list[Scene]:
    films = str(case["image_path"]).split(VIEW_SEPARATOR)
    marked, film_marked = (_mark_groups(case, column, len(films)) for column in ("mask_path", "film_mask_path"))
    return [
        _scene(film, (group, film_group or group), root, digests)
        for film, group, film_group in zip(films, marked, film_marked, strict=True)
    ]


def _mark_groups(case: Mapping[str, object], column: str, films: int) -> list[str]:
    """Return the cell's marks of each film."""
    cell = case.get(column)
    marked = cell if isinstance(cell, str) else ""  # an empty cell of a table is no text
    groups = marked.split(VIEW_SEPARATOR) if marked else [""] * films
    if len(groups) != films:
        raise PixelError(f"{case['image_path']}: {films} films but marks for {len(groups)}: {marked}")
    return groups


def _scene(path: str, groups: tuple[str, str], root: Path, digests: Mapping[str, str] | None) -> Scene:
    film = _load(root, path, digests)
    io.refuse_tiny(film)
    entries, film_entries = (group.split(PATH_SEPARATOR) if group else [] for group in groups)
    marks = {
        entry: _box(entry, film) if entry.startswith(BOX_PREFIX) else _load(root, entry, digests)
        for entry in dict.fromkeys([*entries, *film_entries])
    }
    for entry in entries:
        _refuse_other_aspect(marks[entry], film)
    # Two exposures of one view share a key, not their geometry: the mask of another shape is of the other film.
    on_film = [marks[entry] for entry in film_entries if _same_aspect(marks[entry], film)]
    return Scene(film, [marks[entry] for entry in entries], on_film)


def _load(root: Path, path: str, digests: Mapping[str, str] | None) -> Encoded:
    file = root / path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PixelError(f"{file}: cannot be read ({error.strerror}); see `dvc repro -f ingest`") from error
    if digests is not None and hashlib.sha256(data).hexdigest() != digests.get(path):
        raise PixelError(f"{file} has changed since ingest; run `dvc repro -f ingest` to ingest the data again")
    return io.parse_image(file, data)


def _refuse_other_aspect(mark: Mark, film: Encoded) -> None:
    if isinstance(mark, Encoded) and not _same_aspect(mark, film):
        height, width = mark.shape
        raise PixelError(f"{mark.path}: {height}x{width} px differs in aspect from its film, {film.shape}")


def _same_aspect(mark: Mark, film: Encoded) -> bool:
    if not isinstance(mark, Encoded):
        return True
    height, width = mark.shape
    aspect = width * film.shape[0] / (height * film.shape[1])
    return abs(aspect - 1) <= ASPECT_TOLERANCE


def _box(entry: str, film: Encoded) -> Box:
    try:
        top, left, bottom, right = map(int, entry.removeprefix(BOX_PREFIX).split(","))
    except ValueError as error:
        raise PixelError(f"{film.path}: {entry!r} is not {BOX_PREFIX}top,left,bottom,right") from error
    height, width = film.shape
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise PixelError(f"{film.path}: {entry!r} is not on the film of {height}x{width} px")
    return top, left, bottom, right


def _assemble(squares: list[Square], scenes: list[Scene], case: Mapping[str, object], unit: str) -> Square:
    """Return the input of a case from the squares of its films."""
    return _stack_views(squares, scenes, case) if unit == "breast" else squares[0]


def cut_square(view: Located, settings: PreprocessConfig) -> Square:
    """Return the window of a lesion, or the whole breast."""
    breast = transforms.cut_margin(view.breast, settings.edge_margin)
    enhance = _enhancement(view.film, breast, settings)
    if view.crop is None:
        image, mask = breast_square(view.film, view.lesions, breast, settings.size_px, enhance)
        # Blurred, the outline would spread over the black around it.
        image = transforms.blur(image, settings.blur_px) * (image > 0)
    else:
        window, mask_window = view.crop
        image = transforms.resize(enhance(transforms.crop(view.film, window)), settings.size_px)
        image = transforms.blur(image, settings.blur_px)
        mask = transforms.resize_mask(transforms.crop(view.lesions, mask_window), settings.size_px)
    return Square(image, mask, cv2.countNonZero(view.lesions) / view.lesions.size)


def _remove_lesions(view: Located, scene: Scene) -> tuple[Located, str]:
    """Return the view without a lesion of its film, and how they were removed, of without_lesion.REMOVALS."""
    boxes = _mark_boxes(scene, view.film)
    if not boxes:
        return view, NONE_MARKED
    if view.crop is None:
        return view._replace(film=without_lesion.inpaint(view.film, boxes)), without_lesion.INPAINTED
    hidden = without_lesion.hide(view.breast.shape, boxes)
    window = without_lesion.find_healthy_window(view.breast, hidden, view.crop[0])
    if window is None:
        return view._replace(film=without_lesion.inpaint(view.film, boxes)), without_lesion.INPAINTED
    # The lesion's own brightness sets no grey level of a crop without it.
    return view._replace(breast=view.breast & ~hidden, crop=(window, view.crop[1])), without_lesion.HEALTHY_TISSUE


def _mark_boxes(scene: Scene, film: Film) -> list[Box]:
    """Return the box of each lesion of the film, in px of the decoded film; nothing of a lesion lies outside it."""
    boxes = []
    for mark in scene.film_marks:
        box, shape = (mark, scene.film.shape) if not isinstance(mark, Encoded) else _measure_box(mark)
        down, across = film.shape[0] / shape[0], film.shape[1] / shape[1]
        top, left, bottom, right = box
        boxes.append((int(top * down), int(left * across), ceil(bottom * down), ceil(right * across)))
    return boxes


def _measure_box(mask: Encoded) -> tuple[Box, tuple[int, int]]:
    """Return the box of a mask's foreground, measured on a reduced mask, and the reduced shape."""
    pixels = _foreground(mask, _coarsest(max(mask.shape), BREAST_ANALYSIS_PX))
    height, width = pixels.shape
    return transforms.bounding_box(pixels), (height, width)


def _locate(scene: Scene, unit: str, settings: PreprocessConfig) -> Located:
    if unit == "lesion":
        return _locate_lesion(scene, settings)
    return Located(*_view_of_breast(scene, OVERSAMPLING * settings.size_px), None)


def _locate_lesion(scene: Scene, settings: PreprocessConfig) -> Located:
    """Decode the film, no more reduced than the square allows, with the window around the lesion."""
    if not scene.marks:
        raise PixelError(f"{scene.film.path}: no lesion is marked; `ingest.unit: image` needs none")
    lesions, mask_reduction = _merge_marks(scene, max(LESION_BOX_PX, settings.size_px / settings.context))
    box = transforms.square_around(_scale_box(transforms.bounding_box(lesions), mask_reduction), settings.context)
    film_reduction = min(
        _coarsest(box[2] - box[0], OVERSAMPLING * settings.size_px),
        _coarsest(max(scene.film.shape), BREAST_ANALYSIS_PX),
    )
    film = io.decode(scene.film, film_reduction)
    window, mask_window = _scale_box(box, 1 / film_reduction), _scale_box(box, 1 / mask_reduction)
    return Located(film, breast_mask(film), lesions, (window, mask_window))


def _merge_marks(scene: Scene, needed_px: float) -> tuple[Mask, int]:
    """Return all marks, reduced as far as leaves them `needed_px` long together, and the reduction."""
    coarse = max(io.REDUCTIONS)
    lesions = _lesions(scene, coarse)
    top, left, bottom, right = transforms.bounding_box(lesions)
    reduction = _coarsest(coarse * max(bottom - top, right - left), needed_px)
    return (lesions if reduction == coarse else _lesions(scene, reduction)), reduction


def _scale_box(box: Box, factor: float) -> Box:
    """Scale `box` by `factor`; a square stays a square."""
    top, left, bottom, right = box
    new_top, new_left = round(top * factor), round(left * factor)
    return new_top, new_left, new_top + round((bottom - top) * factor), new_left + round((right - left) * factor)


def _stack_views(squares: list[Square], scenes: list[Scene], case: Mapping[str, object]) -> Square:
    """Stack CC above MLO, the chest wall left in both; a missing view is black."""
    names = str(case["view"]).split(VIEW_SEPARATOR)
    if len(names) != len(squares) or not set(names) <= set(VIEWS):
        raise PixelError(
            f"{case['image_path']}: view {case['view']!r} for {len(squares)} film(s); valid: {', '.join(VIEWS)}"
        )
    by_view = dict(zip(names, squares, strict=True))
    blank = np.zeros_like(squares[0].image), np.zeros_like(squares[0].mask)
    layers = [(by_view[name].image, by_view[name].mask) if name in by_view else blank for name in VIEWS]
    film_px = [np.prod(scene.film.shape) for scene in scenes]
    share = np.average([square.lesion_share for square in squares], weights=film_px)
    return Square(np.vstack([image for image, _ in layers]), np.vstack([mask for _, mask in layers]), float(share))


def _view(scene: Scene, reduction: int) -> View:
    film = io.decode(scene.film, reduction)
    return View(film, breast_mask(film), _lesions(scene, reduction))


def _view_of_breast(scene: Scene, needed_px: int) -> View:
    """Decode the film, reduced as far as leaves its breast at least `needed_px` long."""
    reduction = _coarsest(max(scene.film.shape), max(needed_px, BREAST_ANALYSIS_PX))
    while True:
        view = _view(scene, reduction)
        top, left, bottom, right = transforms.bounding_box(view.breast)
        if reduction == 1 or max(bottom - top, right - left) >= needed_px:
            return view
        reduction //= 2


def _coarsest(length_px: int, needed_px: float) -> int:
    """Return the strongest reduction that leaves `length_px` at least `needed_px` long; 1 where none does."""
    return max(step for step in io.REDUCTIONS if step == 1 or -(-length_px // step) >= needed_px)


def _enhancement(film: Film, breast: Mask, settings: PreprocessConfig) -> Callable[[Film], Film]:
    """Return the function that windows any part of the film by its breast, and equalises it where clahe is set."""
    low, high = transforms.percentile_levels(film, breast, settings.window_percentiles)

    levels = transforms.rank_levels(film, breast, settings.equalisation, low, high) if settings.equalisation else None

    def enhance(part: Film) -> Film:
        if levels is None:
            windowed = transforms.window(part, low, high, settings.bits)
        else:
            windowed = transforms.map_levels(part, levels, settings.bits)
        return windowed if settings.clahe is None else transforms.equalise(windowed, settings.clahe)

    return enhance


def _lesions(scene: Scene, reduction: int) -> Mask:
    """Return all marks of a film as 0/1, at its reduced shape; raises PixelError for a mask without foreground."""
    height, width = (-(-side // reduction) for side in scene.film.shape)
    lesions = np.zeros((height, width), np.uint8)
    for mark in scene.marks:
        if isinstance(mark, Encoded):
            mask = _foreground(mark, _coarsest(max(mark.shape), max(height, width)))
            lesions |= transforms.fit(mask, (height, width))
        else:
            top, left, bottom, right = mark
            lesions[top // reduction : -(-bottom // reduction), left // reduction : -(-right // reduction)] = 1
    return lesions


def _foreground(mark: Encoded, reduction: int) -> Mask:
    mask = io.foreground(mark, reduction)
    if not mask.any():
        raise PixelError(f"{mark.path}: a mask without foreground")
    return mask
