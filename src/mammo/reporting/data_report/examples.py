"""The section with films of training samples, which the HTML page alone shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.data.cohort.summary import PATHOLOGIES
from mammo.reporting.figures import contact_sheets, overlays, png
from mammo.reporting.page import Block, Note, Picture, Pictures, Section

EXAMPLES_PER_CLASS = 5


@dataclass(frozen=True)
class Films:
    """Films for the HTML page alone: pictures by pathology, and a contact sheet (PNG) of preprocessing.

    odd: pictures of odd_samples by group.
    """

    examples: Mapping[str, Sequence[Picture]] = field(default_factory=dict)
    sheet: bytes = b""
    odd: Mapping[str, Sequence[Picture]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.examples or self.sheet)


def draw_examples(
    cases: pd.DataFrame,
    images: npt.NDArray[np.uint8] | npt.NDArray[np.uint16],
    masks: npt.NDArray[np.uint8],
    seed: int,
) -> dict[str, list[Picture]]:
    """Draw films of random training samples by pathology, as the models see them, their lesions outlined.

    cases: schemas.CASES with `split`, one row per image; images, masks: (n, h, w). Of a breast both views are drawn.
    """
    rng = np.random.default_rng(seed)
    pictures: dict[str, list[Picture]] = {}
    for pathology in PATHOLOGIES:
        rows = np.flatnonzero((cases["split"] == "train") & (cases["pathology"] == pathology))
        chosen = np.sort(rng.permutation(rows)[:EXAMPLES_PER_CLASS])
        if len(chosen):
            pictures[pathology] = [
                picture
                for row in chosen
                for picture in _draw_views(cases.iloc[row], contact_sheets.to_eight_bits(images[row]), masks[row])
            ]
    return pictures


def _draw_views(case: pd.Series, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8]) -> list[Picture]:
    """Draw one picture per view: those of a breast lie above each other, and one that is missing is black."""
    squares = max(1, image.shape[0] // image.shape[1])
    parts = zip(np.vsplit(image, squares), np.vsplit(mask, squares), strict=True)
    views = ["CC", "MLO"] if squares > 1 else [case["view"]]
    details = f"{case['pathology']}, {case['abnormality_type']}, BI-RADS {_format_grade(case['birads'])}"
    return [
        Picture(
            f"{case['sample_id']}, {view}, {details}, lesion outlined",
            f"{case['sample_id']}: {case['abnormality_type']}, {view}, BI-RADS {_format_grade(case['birads'])}",
            png.encode_webp(overlays.encode_case(film, outlined)),
        )
        for view, (film, outlined) in zip(views, parts, strict=True)
        if film.any()
    ]


def _format_grade(value: object) -> str:
    return "unknown" if value is pd.NA else str(value)


def build_films_section(films: Films) -> Section:
    """Build the section with films by pathology, and the contact sheet of what preprocessing did."""
    guide = (
        "Random training samples as the models see them, the marked lesion outlined in green; none is from the test "
        "set, which stays unseen."
    )
    blocks: list[Block] = []
    for pathology, pictures in films.examples.items():
        blocks += [Note(pathology), Pictures(list(pictures), size="thumbnail")]
    if films.sheet:
        alt = "Films as scanned, with the detected breasts and marked lesions, beside the images that models see"
        blocks.append(
            Pictures([Picture(alt, "Before and after preprocessing", png.encode_webp(films.sheet))], size="full")
        )
    return Section("examples", "Examples", guide, blocks)
