"""A planted shortcut: films of the synthetic cohort whose border is brighter where a lesion is malignant.

It stands for what two digitisers do to the benign and the malignant films of a real data set.
"""

import csv
from pathlib import Path

import cv2
import numpy as np

STRIP = 0.02  # outer share of the film's longer side
GREYS_PER_SD = 12
DARKEST = 30  # the border before the cue; film is darker


def plant_border_cue(root: Path, cue: float, seed: int) -> None:
    """Brighten the border of each film under `root` by N(0, 1) SD, and of malignant ones by `cue` SD more.

    A film is malignant if one of its lesions is; the border alone then has an AUC of Phi(cue / sqrt(2)) or a little
    less, as greys are clipped. The same parameters write the same bytes.
    """
    rng = np.random.default_rng(seed)
    for series, malignant in sorted(_read_films(root).items()):
        (path,) = (root / "jpeg" / series).glob("*.jpg")
        grey = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.float64)
        lift = DARKEST + GREYS_PER_SD * (rng.normal() + cue * malignant)
        width = max(2, round(STRIP * max(grey.shape)))
        strip = np.ones(grey.shape, bool)
        strip[width:-width, width:-width] = False
        grey[strip] += max(0.0, lift)
        cv2.imwrite(str(path), np.clip(grey, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])


def _read_films(root: Path) -> dict[str, bool]:
    """Return whether a film is malignant, by the UID of its series."""
    films: dict[str, bool] = {}
    for table in sorted((root / "csv").glob("*_case_description_*.csv")):
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                series = row["image file path"].strip().split("/")[-2]
                films[series] = films.get(series, False) or row["pathology"] == "MALIGNANT"
    return films
