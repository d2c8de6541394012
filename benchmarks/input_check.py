"""Measure how often mammo.data.images.input_check rejects mammograms (ideally never) and other images (always).

Films: every film of CBIS-DDSM's mass set in the given folder (default ../shared/cbis-ddsm-mass), and of the synthetic
cohort. Others: photographs as grey (those that scikit-learn and matplotlib bring along, whole, and random cuts and
mirror images of them), pydicom's CT and MR slices with and without their headers, drawn chest films, blanks, gradients,
noise, charts and lesion crops.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd
import pydicom
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_images
from tqdm import tqdm

from mammo.core.errors import InputError
from mammo.data.images import breast, dicom, input_check, io
from mammo.data.sources import demo
from mammo.reporting.figures import png

SEED = 0
CUTS = 200
COPIES = 100


def main() -> None:
    """Print a table: group of images, n, how many were rejected, and the most frequent reason."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/cbis-ddsm-mass")
    rows = [(name, *_count_rejected(reasons)) for name, reasons in _groups(root)]
    print(
        pd.DataFrame(rows, columns=["images", "n", "flagged", "share", "most frequent reason"]).to_string(index=False)
    )


def _count_rejected(reasons: list[str]) -> tuple[int, int, str, str]:
    non_empty = pd.Series([reason for reason in reasons if reason], dtype=str).str.replace(
        r"\d+%", "N%", n=1, regex=True
    )
    most_frequent = non_empty.value_counts().index[0] if len(non_empty) else ""
    return len(reasons), len(non_empty), f"{len(non_empty) / len(reasons):.2%}", most_frequent


def _groups(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each group of images and the rejection reason of each image ("" for none)."""
    rng = np.random.default_rng(SEED)
    if (root / "jpeg").is_dir():
        films = _real_films(root)
        yield "films of CBIS-DDSM", [input_check.rejection_reason(io.load(path)) for path in tqdm(films, "films")]
        yield "cuts out of them", [input_check.film_rejection_reason(cut) for cut in _cuts_of_films(films, rng)]
    yield "synthetic films", _of_demo()
    photographs = _photographs()
    yield "photographs", [input_check.film_rejection_reason(photograph) for photograph in photographs]
    cuts = [_cut(photographs[place], rng) for place in rng.integers(len(photographs), size=CUTS)]
    yield "cuts out of photographs", [input_check.film_rejection_reason(cut) for cut in cuts]
    yield "pydicom's CT and MR files", _of_dicoms(whole=True)
    yield "the same without a header", _of_dicoms(whole=False)
    yield "drawn chest films", [input_check.film_rejection_reason(_chest(rng)) for _ in range(COPIES)]
    yield "blanks, gradients, noise", [input_check.film_rejection_reason(film) for film in _flat(rng)]
    yield "charts", [input_check.film_rejection_reason(_chart(rng)) for _ in range(20)]


def _real_films(root: Path) -> list[Path]:
    """Return the whole films (no crops, no masks) that the description files name by their folder."""
    named = pd.concat([pd.read_csv(path) for path in sorted((root / "csv").glob("mass_case_description_*.csv"))])
    series = {str(path).split("/")[-2] for path in named["image file path"]}
    return sorted(path for name in series for path in (root / "jpeg" / name).glob("*.jpg"))


def _cuts_of_films(films: list[Path], rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield squares from inside a breast, like lesion crops."""
    for path in rng.choice(np.array(films, object), CUTS, replace=False):
        film = io.read_film(path)
        rows, columns = np.nonzero(cv2.erode(breast.breast_mask(film), np.ones((101, 101), np.uint8)))
        if len(rows):
            place = rng.integers(len(rows))
            top, left = max(rows[place] - 64, 0), max(columns[place] - 64, 0)
            yield film[top : top + 128, left : left + 128]


def _of_demo() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        demo.write_cohort(Path(folder), patients=60, height_px=320, signal=1.8, seed=SEED)
        return [input_check.rejection_reason(io.load(path)) for path in _real_films(Path(folder))]


def _photographs() -> list[np.ndarray]:
    bundled = Path(matplotlib.get_data_path()) / "sample_data"
    colour = [image[..., ::-1] for image in load_sample_images().images]
    colour += [cv2.imread(str(path)) for path in sorted(bundled.glob("*.jpg"))]
    return [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY) for image in colour]


def _cut(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = (int(side * rng.uniform(0.25, 1)) for side in image.shape)
    top, left = rng.integers(image.shape[0] - height + 1), rng.integers(image.shape[1] - width + 1)
    return np.ascontiguousarray(image[top : top + height, left : left + width][:, :: rng.choice([-1, 1])])


def _of_dicoms(whole: bool) -> list[str]:
    reasons = []
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        try:
            if dicom.read_tags(path, "Modality")["Modality"] in ("CT", "MR"):
                reasons.append(
                    input_check.rejection_reason(io.load(path))
                    if whole
                    else input_check.film_rejection_reason(dicom.decode(path))
                )
        except InputError:  # several of these files are damaged on purpose, or hold no pixels
            continue
    return reasons


def _chest(rng: np.random.Generator) -> np.ndarray:
    """Return a bright trunk that touches both sides and the bottom, with two dark lungs, a heart and ribs, blurred."""
    height, width = 512, int(rng.integers(420, 560))
    rows, columns = np.mgrid[:height, :width] / np.array([height, width])[:, np.newaxis, np.newaxis]
    neck = rng.uniform(0.04, 0.15)
    film = np.where(rows > neck + 0.25 * np.abs(columns - 0.5) ** 1.5, rng.uniform(150, 200), 15.0)
    for centre in (0.5 - rng.uniform(0.17, 0.22), 0.5 + rng.uniform(0.17, 0.22)):
        lung = ((rows - 0.48) / rng.uniform(0.28, 0.34)) ** 2 + ((columns - centre) / rng.uniform(0.12, 0.16)) ** 2 < 1
        film[lung] = rng.uniform(40, 70)
    heart = ((rows - 0.62) / 0.16) ** 2 + ((columns - 0.56) / 0.13) ** 2 < 1
    film[heart] = 190
    film += 12 * (np.sin(rows * 55 + 3 * np.abs(columns - 0.5)) > 0.6)
    return np.clip(cv2.GaussianBlur(film + rng.normal(0, 6, film.shape), (0, 0), 3), 0, 255).astype(np.uint8)


def _flat(rng: np.random.Generator) -> Iterator[np.ndarray]:
    for number in range(COPIES):
        shape = int(rng.integers(200, 500)), int(rng.integers(200, 500))
        level = rng.integers(256)
        ramp = np.linspace(0, 255, shape[1]) * np.ones(shape)
        noise = rng.integers(0, 256, shape)
        yield (np.full(shape, level), ramp, noise)[number % 3].astype(np.uint8)


def _chart(rng: np.random.Generator) -> np.ndarray:
    figure = Figure(figsize=(4, 3))
    figure.subplots().plot(rng.normal(size=50).cumsum())
    return cv2.imdecode(np.frombuffer(png.encode_png(figure), np.uint8), cv2.IMREAD_GRAYSCALE)


if __name__ == "__main__":
    main()
