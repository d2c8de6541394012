"""Doubts about samples that only the pixels show: films that are no mammograms, masks that mark no lesion.

The limits lie far beyond the 1,696 lesions of the CBIS-DDSM mass set: a mask there marks .0004 to .078 of its film, at
least 82 % of it lies inside the breast, and the grey values around a lesion have an SD of at least 6.5.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from mammo.core.parallel import parallel_map
from mammo.core.schemas import BOX_PREFIX, PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data.images import input_check, io, transforms
from mammo.data.images.breast import breast_mask
from mammo.data.images.dicom import PixelError
from mammo.data.images.transforms import Grey, Mask

LENGTH_PX = 256  # of the longer side, at least: films and masks are reduced as far
MARKED_SHARE = (0.00004, 0.5)  # of the film
INSIDE_BREAST = 0.5  # of the mark
SPREAD = 2.0  # SD of the grey values in the lesion's square, of 255
CONTEXT = 2.0  # side of that square / longer side of the lesion


def find_doubts(root: Path, cases: pd.DataFrame, workers: int) -> dict[str, str]:
    """Return why samples cannot be what they are said to be, by sample_id; cases: schemas.CASES, files below `root`."""
    records = cast(list[dict[str, object]], cases.to_dict(orient="records"))
    with io.capture_decoder_warnings() as warnings:
        found = parallel_map(lambda case: next(_case_doubts(root, case), ""), records, workers, "looking at films")
        reasons = dict(zip(cases["sample_id"], found, strict=True))
        damaged = bool(warnings())
    if damaged:  # one file at a time tells which
        reasons = {
            sample: _damage(root, case) or reasons[sample]
            for sample, case in zip(cases["sample_id"], records, strict=True)
        }
    return {sample: reason for sample, reason in reasons.items() if reason}


def _damage(root: Path, case: dict[str, object]) -> str:
    """Return the first warning of the decoder about a file of a case, or an empty text."""
    for film, masks in _files(case):
        for path in (film, *masks):
            if damage := io.find_damage(root / path):
                return f"{path}: damaged ({damage})"
    return ""


def _files(case: dict[str, object]) -> list[tuple[str, list[str]]]:
    """Return the films of a case, each with its masks."""
    films = str(case["image_path"]).split(VIEW_SEPARATOR)
    marked = case["mask_path"] if isinstance(case["mask_path"], str) else ""
    groups = marked.split(VIEW_SEPARATOR) if marked else [""] * len(films)
    return [
        (film, [path for path in group.split(PATH_SEPARATOR) if path and not path.startswith(BOX_PREFIX)])
        for film, group in zip(films, groups, strict=True)
    ]


def _case_doubts(root: Path, case: dict[str, object]) -> Iterator[str]:
    try:
        for film, masks in _files(case):
            yield from _film_doubts(root, film, masks)
    except PixelError as error:
        yield str(error).replace(f"{root}/", "")


def _film_doubts(root: Path, film: str, masks: list[str]) -> Iterator[str]:
    image = io.load(root / film)
    grey = transforms.stretch_to_8_bits(io.decode(image, _reduction(image.shape)))
    if reason := input_check.gross_rejection_reason(grey):
        yield f"{film}: not a mammogram: {reason}"
    breast = breast_mask(grey)
    for path in masks:
        mask = io.load(root / path)
        if reason := mask_rejection_reason(io.foreground(mask, _reduction(mask.shape)), grey, breast):
            yield f"{path}: {reason}"


def mask_rejection_reason(mask: Mask, grey: Grey, breast: Mask) -> str:
    """Return why a mask (h, w) 0/1 cannot mark a lesion of its film, or an empty text; film and breast in any size."""
    share = mask.mean()
    if not MARKED_SHARE[0] <= share <= MARKED_SHARE[1]:
        return f"the mask marks {share:.3%} of the film; a lesion takes {MARKED_SHARE[0]:.3%} to {MARKED_SHARE[1]:.0%}"
    marks = transforms.resize_mask(mask, LENGTH_PX)
    inside = (marks & transforms.resize_mask(breast, LENGTH_PX)).sum() / marks.sum()
    if inside < INSIDE_BREAST:
        return f"{1 - inside:.0%} of the marked lesion lies outside the breast"
    shape = np.array([*grey.shape, *grey.shape]) / np.array([*mask.shape, *mask.shape])
    top, left, bottom, right = (np.array(transforms.bounding_box(mask)) * shape).round().astype(int).tolist()
    square = transforms.crop(grey, transforms.square_around((top, left, bottom, right), CONTEXT))
    if square.std() < SPREAD:
        return "the film is blank where the mask marks a lesion"
    return ""


def _reduction(shape: tuple[int, int]) -> int:
    return max(step for step in io.REDUCTIONS if step == 1 or max(shape) // step >= LENGTH_PX)
