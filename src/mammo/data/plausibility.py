"""Doubts about samples that only the pixels show: films that are no mammograms, masks that mark no lesion.

The limits are `ingest.checks`, and schemas.CHECKS keeps what was measured, so that the data report can show the samples
next to a limit. A published crop is a witness: it shows what film and mask say, or one of the three is of another row.
"""

import logging
import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

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
DECIMALS = 5  # of what is measured, so that every machine writes the same table
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Doubts:
    """Why samples cannot be what they are said to be, by sample_id, and what was measured (schemas.CHECKS)."""

    reasons: dict[str, str]
    checks: pd.DataFrame


@dataclass(frozen=True)
class Checks:
    """The limits, and the crop of each mask that has one."""

    limits: ChecksConfig
    crops: Mapping[str, str]


@dataclass(frozen=True)
class MaskMeasures:
    """The share of the film that a mask marks, the part of that inside the breast, and the SD of the greys around it.

    NaN where nothing is marked.
    """

    marked_share: float = math.nan
    inside_breast: float = math.nan
    spread: float = math.nan


@dataclass(frozen=True)
class _Mark:
    """A mask on its film, or a film without masks; reason: why it cannot be one, empty where it can."""

    image_path: str
    mask_path: str = ""
    measures: MaskMeasures = MaskMeasures()
    crop_path: str = ""
    crop_correlation: float = math.nan
    reason: str = ""


def find_doubts(root: Path, located: Located, limits: ChecksConfig, workers: int) -> Doubts:
    """Measure the films, masks and crops of all samples, and return what is beyond a limit; files lie below `root`."""
    cases, checks = located.cases, Checks(limits, located.crops)
    records = cast(list[dict[str, object]], cases.to_dict(orient="records"))
    with io.capture_decoder_warnings() as warnings:
        marks = list(parallel_map(lambda case: _examine_case(root, case, checks), records, workers, "looking at films"))
        damaged = bool(warnings())
    table = _tabulate(cases["sample_id"].to_list(), marks)
    reasons = _find_reasons(table, limits)
    if damaged:  # one file at a time tells which
        for sample, case in zip(cases["sample_id"], records, strict=True):
            reasons[sample] = _damage(root, case) or reasons[sample]
    table["reason"] = table["sample_id"].map(reasons)
    return Doubts({sample: reason for sample, reason in reasons.items() if reason}, table.replace("", None))


def _tabulate(samples: list[str], marks: list[list[_Mark]]) -> pd.DataFrame:
    """Return one row per mark: the columns of schemas.CHECKS."""
    rows = [
        {"sample_id": sample, **asdict(mark), **asdict(mark.measures)}
        for sample, of_sample in zip(samples, marks, strict=True)
        for mark in of_sample
    ]
    return pd.DataFrame(rows).drop(columns="measures").round(DECIMALS)


def _find_reasons(checks: pd.DataFrame, limits: ChecksConfig) -> dict[str, str]:
    """Return the first reason of each sample, an empty text for most; a crop is asked where nothing else is wrong."""
    mismatch = checks["crop_correlation"] < limits.crop_correlation
    believed = _believe_crops(mismatch, checks["crop_correlation"].notna(), limits)
    crops = [
        _describe_crop(row, limits) if believed and is_mismatch else ""
        for row, is_mismatch in zip(checks.to_dict(orient="records"), mismatch, strict=True)
    ]
    by_sample = checks.assign(crop=crops).groupby("sample_id", sort=False)[["reason", "crop"]]
    return {str(sample): next(filter(None, [*rows["reason"], *rows["crop"]]), "") for sample, rows in by_sample}


def _believe_crops(mismatch: "pd.Series[bool]", witness: "pd.Series[bool]", limits: ChecksConfig) -> bool:
    """Return whether a crop that does not match tells of an error: most of this copy's crops do match."""
    if mismatch.sum() <= limits.crop_mismatches * witness.sum():
        return True
    _log.warning(
        "%d of %d crops do not show their place on the film: those of this copy are of another kind, and none is asked",
        mismatch.sum(),
        witness.sum(),
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


def _examine_case(root: Path, case: dict[str, object], checks: Checks) -> list[_Mark]:
    marks: list[_Mark] = []
    for film, masks in _files(case):
        try:
            marks.extend(_examine_film(root, film, masks, checks))
        except PixelError as error:
            marks.append(_Mark(film, masks[0] if masks else "", reason=str(error).replace(f"{root}/", "")))
    return marks


def _examine_film(root: Path, path: str, masks: list[str], checks: Checks) -> Iterator[_Mark]:
    """Yield the marks of a film, one without a mask where it has none; raises PixelError."""
    film = io.load(root / path)
    grey = transforms.stretch_to_8_bits(io.decode(film, _reduction(film.shape)))
    reason = input_check.gross_rejection_reason(grey)
    doubt = f"{path}: not a mammogram: {reason}" if reason else ""
    if not masks:
        yield _Mark(path, reason=doubt)
        return
    breast = breast_mask(grey)
    for mask_path in masks:
        mask = io.load(root / mask_path)
        measures = measure_mask(io.foreground(mask, _reduction(mask.shape)), grey, breast)
        reason = mask_rejection_reason(measures, checks.limits)
        crop = checks.crops.get(mask_path, "")
        yield _Mark(
            path,
            mask_path,
            measures,
            crop,
            _correlate(root, crop, (film, mask), checks.limits) if crop and not reason else math.nan,
            doubt or (f"{mask_path}: {reason}" if reason else ""),
        )


def _correlate(root: Path, crop: str, marked: tuple[Encoded, Encoded], limits: ChecksConfig) -> float:
    """Return the correlation of a crop with its place on the film, NaN where it cannot tell; marked: film and mask."""
    correlation = crop_match.correlate_crop(*marked, io.load(root / crop), limits.crop_min_px)
    return math.nan if correlation is None else correlation


def _describe_crop(row: Mapping[Hashable, object], limits: ChecksConfig) -> str:
    return (
        f"{row['crop_path']}: the crop shows something else than the film at its mask (correlation "
        f"{row['crop_correlation']:.2f}, at least {limits.crop_correlation:g}): film, mask or crop is of another row"
    )


def measure_mask(mask: Mask, grey: Grey, breast: Mask) -> MaskMeasures:
    """Measure a mask (h, w) 0/1 on its film; film and breast in any size."""
    if not mask.any():
        return MaskMeasures(0.0)
    marks = transforms.resize_mask(mask, LENGTH_PX)
    inside = (marks & transforms.resize_mask(breast, LENGTH_PX)).sum() / marks.sum()
    shape = np.array([*grey.shape, *grey.shape]) / np.array([*mask.shape, *mask.shape])
    top, left, bottom, right = (np.array(transforms.bounding_box(mask)) * shape).round().astype(int).tolist()
    square = transforms.crop(grey, transforms.square_around((top, left, bottom, right), CONTEXT))
    return MaskMeasures(float(mask.mean()), float(inside), float(square.std()))


def mask_rejection_reason(measures: MaskMeasures, limits: ChecksConfig) -> str:
    """Return why a mask cannot mark a lesion of its film, or an empty text."""
    least, most = limits.marked_share
    if not least <= measures.marked_share <= most:
        return f"the mask marks {measures.marked_share:.3%} of the film; a lesion takes {least:.3%} to {most:.0%}"
    if measures.inside_breast < limits.inside_breast:
        return f"{1 - measures.inside_breast:.0%} of the marked lesion lies outside the breast"
    return "the film is blank where the mask marks a lesion" if measures.spread < limits.spread else ""


def _reduction(shape: tuple[int, int]) -> int:
    return max(step for step in io.REDUCTIONS if step == 1 or max(shape) // step >= LENGTH_PX)
