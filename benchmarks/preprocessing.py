"""Time preprocessing of full-size films: `python benchmarks/preprocessing.py` (about a minute, two cores).

Generates films of 3000x5000 px as JPEG, each with a mask, and prints side by side: what `cv2.imread` + `cv2.resize` to
the same square cost, what libjpeg's reduced-scale decoding alone costs, and what `preprocess.prepare_case` costs, which
also checks the files' digests, finds the breast, windows and crops it. Then two workers against one, and the peak
memory of a run over ten times the images.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.core.config import PreprocessConfig
from mammo.core.parallel import parallel_map
from mammo.data.images.array_store import Writer
from mammo.data.images.preprocess import prepare_case, prepare_sample

HEIGHT_PX, WIDTH_PX, SIZE_PX, FILMS, ROUNDS, QUALITY = 5000, 3000, 224, 4, 7, 85
SETTINGS = PreprocessConfig(
    size_px=SIZE_PX,
    bits=8,
    context=2.0,
    clahe=None,
    window_percentiles=(1.0, 99.5),
    edge_margin=0.0,
    equalisation=0.0,
    blur_px=0.0,
)
FEW, MANY = 30, 300

Case = dict[str, str]


def film(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a film and its mask: breast with tissue at several scales and grain, label, dark rest, one lesion."""
    y, x = np.mgrid[:HEIGHT_PX, :WIDTH_PX].astype(np.float32)
    edge = 1 - ((y / HEIGHT_PX - 0.5) / 0.45) ** 2 - (x / WIDTH_PX / rng.uniform(0.6, 0.9)) ** 2
    breast = np.clip(4 * edge, 0, 1)
    tissue = sum(
        (
            amplitude * cv2.resize(rng.normal(size=cells).astype(np.float32), (WIDTH_PX, HEIGHT_PX))
            for amplitude, cells in ((22, (10, 6)), (14, (50, 30)), (7, (250, 150)), (4, (1250, 750)))
        ),
        np.zeros((HEIGHT_PX, WIDTH_PX), np.float32),
    )
    grain = cv2.GaussianBlur(rng.normal(size=(HEIGHT_PX, WIDTH_PX)).astype(np.float32), (0, 0), 1.2)
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    centre = (int(rng.integers(600, 1200)), int(rng.integers(1800, 3200)))
    cv2.ellipse(mask, centre, (220, 160), float(rng.uniform(0, 180)), 0, 360, 255, -1)
    image = breast * (100 + tissue + 40 * cv2.GaussianBlur(mask / np.float32(255), (0, 0), 30)) + 5
    image += grain * (2 + 10 * breast)
    grey = np.clip(image, 0, 255).astype(np.uint8)
    return np.asarray(cv2.putText(grey, "LCC", (2300, 400), cv2.FONT_HERSHEY_SIMPLEX, 8, (250,), 30), np.uint8), mask


def write_films(root: Path) -> tuple[list[Case], dict[str, str]]:
    """Return the cases and the digests of their files."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(FILMS):
        case = {"view": "CC", "image_path": f"{number}.jpg", "mask_path": f"{number}_mask.jpg"}
        for name, image in zip((case["image_path"], case["mask_path"]), film(rng), strict=True):
            cv2.imwrite(str(root / name), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        cases.append(case)
    return cases, {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.iterdir()}


def naive(root: Path, names: list[str]) -> None:
    """Decode whole, then scale."""
    for name in names:
        cv2.resize(cv2.imread(str(root / name), cv2.IMREAD_GRAYSCALE), (SIZE_PX, SIZE_PX))


def decode_alone(root: Path, names: list[str]) -> None:
    """Decode at an eighth of the size, which is what a square of SIZE_PX needs."""
    for name in names:
        cv2.imread(str(root / name), cv2.IMREAD_REDUCED_GRAYSCALE_8)


def core_seconds(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the CPU seconds of each way: the best of ROUNDS in which they take turns."""
    best = dict.fromkeys(ways, np.inf)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = process_time()
            way()
            best[name] = min(best[name], process_time() - start)
    return best


def compare(root: Path, cases: list[Case], digests: dict[str, str], columns: list[str]) -> tuple[float, float]:
    """Print what one image costs in each way; columns: which files of a case are read.

    Returns the speed against the naive way and the cost against decoding alone.
    """

    def ours() -> None:
        for case in cases:
            read = case | {"mask_path": case["mask_path"] if "mask_path" in columns else ""}
            prepare_case(read, root, "image", SETTINGS, digests)

    names = [case[column] for case in cases for column in columns]
    ways = {
        "cv2.imread + cv2.resize": lambda: naive(root, names),
        "reduced-scale decoding alone": lambda: decode_alone(root, names),
        "preprocess.prepare_case": ours,
    }
    each = {name: seconds / len(cases) for name, seconds in core_seconds(ways).items()}
    print(
        f"{' + '.join(column.removesuffix('_path') for column in columns)}: ms of one core per image, images/s and core"
    )
    for name, seconds in each.items():
        print(f"  {name:30}{1000 * seconds:8.1f}{1 / seconds:8.1f}")
    whole, reduced, prepared = each.values()
    return whole / prepared, prepared / reduced


def preprocess(root: Path, cases: list[Case], digests: dict[str, str], workers: int, store: Path) -> float:
    """Return the seconds that the store of `cases` takes on so many workers."""
    start = perf_counter()
    with Writer(store, len(cases), (SIZE_PX, SIZE_PX), 8) as writer:
        for sample in parallel_map(
            lambda case: prepare_sample(case, root, "image", SETTINGS, digests), cases, workers, "preprocessing"
        ):
            square = sample.square
            writer.append(square.image, sample.without_lesion, square.mask, [square.lesion_share])
    return perf_counter() - start


def scaling(root: Path, cases: list[Case], digests: dict[str, str], stores: Path) -> None:
    """Print how much faster two workers are than one, each the best of ROUNDS in which they take turns."""
    best = {1: np.inf, 2: np.inf}
    for turn in range(ROUNDS):
        for workers in best:
            store = stores / f"{turn}-{workers}"
            best[workers] = min(best[workers], preprocess(root, cases * 10, digests, workers, store))
    rates = {workers: 10 * len(cases) / seconds for workers, seconds in best.items()}
    print(f"images per second: {rates[1]:.1f} on one worker, {rates[2]:.1f} on two")
    print(f"  two workers against one         {rates[2] / rates[1]:7.2f} x   (at least 1.8)")


def peak_mib(root: Path, count: int) -> float:
    """Return the peak memory of a process that preprocesses so many images on two workers."""
    words = [sys.executable, __file__, str(root), str(count)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def print_own_peak(root: Path, count: int) -> None:
    """Preprocess and print the peak memory; the process that `peak_mib` starts (Linux)."""
    names = [f"{number % FILMS}" for number in range(count)]
    cases = [{"view": "CC", "image_path": f"{name}.jpg", "mask_path": f"{name}_mask.jpg"} for name in names]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.glob("*.jpg")}
    with TemporaryDirectory() as store:
        preprocess(root, cases, digests, 2, Path(store))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)


def main() -> None:
    """Print the measurements."""
    cv2.setNumThreads(1)
    with TemporaryDirectory() as films, TemporaryDirectory() as stores:
        root = Path(films)
        cases, digests = write_films(root)
        film_mb, mask_mb = (
            np.mean([(root / case[column]).stat().st_size for case in cases]) / 1e6
            for column in ("image_path", "mask_path")
        )
        print(
            f"films of {WIDTH_PX}x{HEIGHT_PX} px to {SIZE_PX} px, JPEG of quality {QUALITY}: "
            f"film {film_mb:.2f} MB, mask {mask_mb:.2f} MB"
        )
        speed, cost = compare(root, cases, digests, ["image_path", "mask_path"])
        print(f"  speed against cv2.imread      {speed:8.2f} x   (at least 1.8)")
        print(f"  cost against decoding alone   {cost:8.2f} x   (at most 1.3)")
        speed, cost = compare(root, cases, digests, ["image_path"])
        print(f"  speed {speed:.2f} x, cost {cost:.2f} x; a film whose marks are boxes, or that has none")
        scaling(root, cases, digests, Path(stores))
        few, many = peak_mib(root, FEW), peak_mib(root, MANY)
        print(f"peak memory: {few:.0f} MiB for {FEW} images, {many:.0f} MiB for {MANY}")
        print(f"  ten times the images            {many / few:7.2f} x   (at most 1.1)")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_own_peak(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        main()
