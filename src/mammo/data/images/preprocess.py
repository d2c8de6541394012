"""From a case to the image and mask of a model's input: (size_px, size_px), of a breast (2 * size_px, size_px).

Files are read once, checked against the manifest if there is one, and JPEGs are decoded no finer than the output needs.
On 25 real films enlarged to 3000x5000 px, the square differs from that of a film decoded whole by 1.0 of 255 grey
levels on average (median 0.6) for a breast at 224 px, and by 1.4 (median 1.2) for a lesion at 64 px.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mammo.core.config import PreprocessConfig
from mammo.core.schemas import BOX_PREFIX, PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data.images import io, transforms
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
    """A film in memory with the marks on it, not yet decoded."""

    film: Encoded
    marks: list[Mark]


class View(NamedTuple):
    """A decoded film with its breast and its lesions (0/1) in the same shape."""

    film: Film
    breast: Mask
    lesions: Mask


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
    scenes = _scenes(case, root, digests)
    if unit == "breast":
        return _both_views(scenes, str(case["view"]), settings)
    if len(scenes) != 1:
        raise PixelError(f"{case['image_path']}: {len(scenes)} films for one {unit}; only a breast has several")
    return _lesion(scenes[0], settings) if unit == "lesion" else _breast(scenes[0], settings)


def overview(case: Mapping[str, object], root: Path, size_px: int) -> list[View]:
    """The films of a case as scanned, a little larger than `size_px`, with breasts and lesions marked on them."""
    return [_view(scene, _coarsest(max(scene.film.shape), size_px)) for scene in _scenes(case, root, None)]


def _scenes(case: Mapping[str, object], root: Path, digests: Mapping[str, str] | None) -> list[Scene]:
    films = str(case["image_path"]).split(VIEW_SEPARATOR)
    marked = case["mask_path"] if isinstance(case["mask_path"], str) else ""  # an empty cell of a table is no text
    groups = marked.split(VIEW_SEPARATOR) if marked else [""] * len(films)
    if len(groups) != len(films):
        raise PixelError(f"{case['image_path']}: {len(films)} films but marks for {len(groups)}: {marked}")
    return [_scene(film, group, root, digests) for film, group in zip(films, groups, strict=True)]


def _scene(path: str, group: str, root: Path, digests: Mapping[str, str] | None) -> Scene:
    film = _load(root, path, digests)
    io.refuse_tiny(film)
    entries = group.split(PATH_SEPARATOR) if group else []
    marks = [
        _box(entry, film) if entry.startswith(BOX_PREFIX) else _mask(_load(root, entry, digests), film)
        for entry in entries
    ]
    return Scene(film, marks)


def _load(root: Path, path: str, digests: Mapping[str, str] | None) -> Encoded:
    file = root / path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PixelError(f"{file}: cannot be read ({error.strerror}); see `dvc repro -f ingest`") from error
    if digests is not None and hashlib.sha256(data).hexdigest() != digests.get(path):
        raise PixelError(f"{file} has changed since ingest; run `dvc repro -f ingest` to ingest the data again")
    return io.parse_image(file, data)


def _mask(mask: Encoded, film: Encoded) -> Encoded:
    height, width = mask.shape
    aspect = width * film.shape[0] / (height * film.shape[1])
    if abs(aspect - 1) > ASPECT_TOLERANCE:
        raise PixelError(f"{mask.path}: {height}x{width} px differs in aspect from its film, {film.shape}")
    return mask


def _box(entry: str, film: Encoded) -> Box:
    try:
        top, left, bottom, right = map(int, entry.removeprefix(BOX_PREFIX).split(","))
    except ValueError as error:
        raise PixelError(f"{film.path}: {entry!r} is not {BOX_PREFIX}top,left,bottom,right") from error
    height, width = film.shape
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise PixelError(f"{film.path}: {entry!r} is not on the film of {height}x{width} px")
    return top, left, bottom, right


def _lesion(scene: Scene, settings: PreprocessConfig) -> Square:
    """Return a square around the lesion, from the film no more reduced than the square allows."""
    if not scene.marks:
        raise PixelError(f"{scene.film.path}: no lesion is marked; `ingest.unit: image` needs none")
    lesions, mask_reduction = _merge_marks(scene, max(LESION_BOX_PX, settings.size_px / settings.context))
    box = transforms.square_around(_scale_box(transforms.bounding_box(lesions), mask_reduction), settings.context)
    film_reduction = min(
        _coarsest(box[2] - box[0], OVERSAMPLING * settings.size_px),
        _coarsest(max(scene.film.shape), BREAST_ANALYSIS_PX),
    )
    film = io.decode(scene.film, film_reduction)
    enhance = _enhancement(film, breast_mask(film), settings)
    image = transforms.resize(enhance(transforms.crop(film, _scale_box(box, 1 / film_reduction))), settings.size_px)
    mask = transforms.resize_mask(transforms.crop(lesions, _scale_box(box, 1 / mask_reduction)), settings.size_px)
    return Square(image, mask, float(lesions.mean()))


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


def _breast(scene: Scene, settings: PreprocessConfig) -> Square:
    """Return the square of a whole breast."""
    view = _view_of_breast(scene, OVERSAMPLING * settings.size_px)
    enhance = _enhancement(view.film, view.breast, settings)
    image, mask = breast_square(view.film, view.lesions, view.breast, settings.size_px, enhance)
    return Square(image, mask, float(view.lesions.mean()))


def _both_views(scenes: list[Scene], view: str, settings: PreprocessConfig) -> Square:
    """Stack CC above MLO, the chest wall left in both; a missing view is black."""
    names = view.split(VIEW_SEPARATOR)
    if len(names) != len(scenes) or not set(names) <= set(VIEWS):
        raise PixelError(f"{scenes[0].film.path}: view {view!r} for {len(scenes)} film(s); valid: {', '.join(VIEWS)}")
    squares = {name: _breast(scene, settings) for name, scene in zip(names, scenes, strict=True)}
    blank = np.zeros_like(next(iter(squares.values())).image), np.zeros_like(next(iter(squares.values())).mask)
    layers = [(squares[name].image, squares[name].mask) if name in squares else blank for name in VIEWS]
    film_px = [np.prod(scene.film.shape) for scene in scenes]
    share = np.average([square.lesion_share for square in squares.values()], weights=film_px)
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

    def enhance(part: Film) -> Film:
        windowed = transforms.window(part, low, high, settings.bits)
        return windowed if settings.clahe is None else transforms.equalise(windowed, settings.clahe)

    return enhance


def _lesions(scene: Scene, reduction: int) -> Mask:
    """Return all marks of a film as 0/1, at its reduced shape; raises PixelError for a mask without foreground."""
    height, width = (-(-side // reduction) for side in scene.film.shape)
    lesions = np.zeros((height, width), np.uint8)
    for mark in scene.marks:
        if isinstance(mark, Encoded):
            mask = io.foreground(mark, _coarsest(max(mark.shape), max(height, width)))
            if not mask.any():
                raise PixelError(f"{mark.path}: a mask without foreground")
            lesions |= transforms.fit(mask, (height, width))
        else:
            top, left, bottom, right = mark
            lesions[top // reduction : -(-bottom // reduction), left // reduction : -(-right // reduction)] = 1
    return lesions
