"""Doubts about samples that only the pixels show: films that are no mammograms, masks that mark no lesion.

The limits are `ingest.checks`. A published crop is a witness: it shows what film and mask say, or one of the three is
of another row.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from mammo.core.config import ChecksConfig
from mammo.core.parallel import parallel_map
from mammo.core.schemas import BOX_PREFIX, PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data.datasets import Located
from mammo.data.images import crop_match, input_check, io, transforms
from mammo.data.images.breast import breast_mask
from mammo.data.images.dicom import PixelError
from mammo.data.images.io import Encoded
from mammo.data.images.transforms import Grey, Mask

LENGTH_PX = 256  # of the longer side, at least: films and masks are reduced as far
CONTEXT = 2.0  # side of the square of the greys around a lesion / longer side of the lesion
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checks:
    """The limits, and the crop of each mask that has one."""

    limits: ChecksConfig
    crops: Mapping[str, str]


@dataclass(frozen=True)
class _Examined:
    """Why a case cannot be what it is said to be, by its film and masks and by its crops; empty where it can.

    witnesses: how many of its crops could tell.
    """

    reason: str = ""
    crop_reason: str = ""
    witnesses: int = 0


def find_doubts(root: Path, located: Located, limits: ChecksConfig, workers: int) -> dict[str, str]:
    """Return why samples cannot be what they are said to be, by sample_id; the files lie below `root`."""
    cases, checks = located.cases, Checks(limits, located.crops)
    records = cast(list[dict[str, object]], cases.to_dict(orient="records"))
    with io.capture_decoder_warnings() as warnings:
        examined = list(
            parallel_map(lambda case: _examine_case(root, case, checks), records, workers, "looking at films")
        )
        damaged = bool(warnings())
    believed = _believe_crops(examined, limits)
    reasons = {
        sample: found.reason or (found.crop_reason if believed else "")
        for sample, found in zip(cases["sample_id"], examined, strict=True)
    }
    if damaged:  # one file at a time tells which
        reasons = {
            sample: _damage(root, case) or reasons[sample]
            for sample, case in zip(cases["sample_id"], records, strict=True)
        }
    return {sample: reason for sample, reason in reasons.items() if reason}


def _believe_crops(examined: list[_Examined], limits: ChecksConfig) -> bool:
    """Return whether a crop that does not match tells of an error: most of this copy's crops do match."""
    witnesses, mismatches = (
        sum(found.witnesses for found in examined),
        sum(bool(found.crop_reason) for found in examined),
    )
    if mismatches <= limits.crop_mismatches * witnesses:
        return True
    _log.warning(
        "%d of %d crops do not show their place on the film: those of this copy are of another kind, and none is asked",
        mismatches,
        witnesses,
    )
    return False


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


def _examine_case(root: Path, case: dict[str, object], checks: Checks) -> _Examined:
    try:
        films = [(io.load(root / film), [io.load(root / mask) for mask in masks]) for film, masks in _files(case)]
        reason = next((reason for film, masks in films for reason in _film_doubts(root, film, masks, checks)), "")
        if reason:
            return _Examined(reason)
        asked = (_ask_crop(root, film, mask, checks) for film, masks in films for mask in masks)
        told = [reason for reason in asked if reason is not None]
    except PixelError as error:
        return _Examined(str(error).replace(f"{root}/", ""))
    return _Examined(crop_reason=next(filter(None, told), ""), witnesses=len(told))


def _film_doubts(root: Path, film: Encoded, masks: list[Encoded], checks: Checks) -> Iterator[str]:
    grey = transforms.stretch_to_8_bits(io.decode(film, _reduction(film.shape)))
    if reason := input_check.gross_rejection_reason(grey):
        yield f"{film.path.relative_to(root).as_posix()}: not a mammogram: {reason}"
    breast = breast_mask(grey)
    for mask in masks:
        marked = io.foreground(mask, _reduction(mask.shape))
        if reason := mask_rejection_reason(marked, grey, breast, checks.limits):
            yield f"{mask.path.relative_to(root).as_posix()}: {reason}"


def _ask_crop(root: Path, film: Encoded, mask: Encoded, checks: Checks) -> str | None:
    """Return what the crop of a mask says, an empty text where it matches; None where it cannot tell, or is missing."""
    path = checks.crops.get(mask.path.relative_to(root).as_posix())
    if path is None:
        return None
    correlation = crop_match.correlate_crop(film, mask, io.load(root / path), checks.limits.crop_min_px)
    if correlation is None:
        return None
    if correlation >= checks.limits.crop_correlation:
        return ""
    return (
        f"{path}: the crop shows something else than the film at its mask (correlation {correlation:.2f}, at least "
        f"{checks.limits.crop_correlation:g}): film, mask or crop is of another row"
    )


def mask_rejection_reason(mask: Mask, grey: Grey, breast: Mask, limits: ChecksConfig) -> str:
    """Return why a mask (h, w) 0/1 cannot mark a lesion of its film, or an empty text; film and breast in any size."""
    share, (least, most) = mask.mean(), limits.marked_share
    if not least <= share <= most:
        return f"the mask marks {share:.3%} of the film; a lesion takes {least:.3%} to {most:.0%}"
    marks = transforms.resize_mask(mask, LENGTH_PX)
    inside = (marks & transforms.resize_mask(breast, LENGTH_PX)).sum() / marks.sum()
    if inside < limits.inside_breast:
        return f"{1 - inside:.0%} of the marked lesion lies outside the breast"
    shape = np.array([*grey.shape, *grey.shape]) / np.array([*mask.shape, *mask.shape])
    top, left, bottom, right = (np.array(transforms.bounding_box(mask)) * shape).round().astype(int).tolist()
    square = transforms.crop(grey, transforms.square_around((top, left, bottom, right), CONTEXT))
    if square.std() < limits.spread:
        return "the film is blank where the mask marks a lesion"
    return ""


def _reduction(shape: tuple[int, int]) -> int:
    return max(step for step in io.REDUCTIONS if step == 1 or max(shape) // step >= LENGTH_PX)
