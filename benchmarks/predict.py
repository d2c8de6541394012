"""Time `predict`: one file against importing Keras and loading the model, a folder against the model alone.

`python benchmarks/predict.py MODEL FOLDER [FILES]` (default: light_cnn, the synthetic films, 200 files). MODEL: as
`--model`; FOLDER: films; for a model of lesions a box in the middle of each. One file: whole processes, of which the
quickest of three counts. The folder: from file to row, against the model's own batches of prepared images in memory;
and what memory a second pass over the folder adds.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mammo.data.images import io
from mammo.inference.films import Corners
from mammo.inference.predictor import Predictor, load
from mammo.training import predict

REPEATS = 3
KERAS = "import sys, keras; keras.models.load_model(sys.argv[1], compile=False)"


def main() -> None:
    """Print a line per measure."""
    model, folder, count = (*sys.argv[1:], *("light_cnn", "data/raw/demo/jpeg", "200")[len(sys.argv) - 1 :])
    films = _films(Path(folder))
    films = [films[place % len(films)] for place in range(int(count))]
    predictor = load(model)
    boxes = {film: [_middle(film)] for film in films} if predictor.about.unit == "lesion" else None
    _one_file(model, films[0], boxes)
    _folder(predictor, films, boxes)


def _films(folder: Path) -> list[Path]:
    """Grey images that can be films; masks are not."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in io.IMAGE_SUFFIXES)
    return [path for path in files if min(io.read_shape(path)) >= 128 and not io.is_binary(path)]


def _middle(film: Path) -> Corners:
    height, width = io.read_shape(film)
    return width // 3, height // 3, width // 2, height // 2


def _one_file(model: str, film: Path, boxes: dict[Path, list[Corners]] | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "model.keras"
        load(model).model.save(weights)
        base = _seconds([sys.executable, "-c", KERAS, str(weights)])
    command = [sys.executable, "-m", "mammo", "predict", "--model", model, "--json"]
    box = [] if boxes is None else ["--box", ",".join(map(str, boxes[film][0]))]
    whole = _seconds([*command, *box, str(film)])
    print(f"one file: {whole:.2f} s; importing Keras and loading the model: {base:.2f} s; ratio {whole / base:.2f}")


def _seconds(command: list[str]) -> float:
    """Wall time of the quickest run."""
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return min(taken)


def _folder(predictor: Predictor, films: list[Path], boxes: dict[Path, list[Corners]] | None) -> None:
    images = np.stack([predictor.prepare(film, None if boxes is None else boxes[film][0]).image for film in films])
    film_boxes = _select_boxes(films, boxes)
    predictor.predict(films[: predict.BATCH], boxes=_select_boxes(films[: predict.BATCH], boxes))  # compiles the graph
    before = _peak_mib()
    # In turns, so that what else runs on the machine meets both alike.
    alone, taken = zip(
        *(
            (
                _timed(lambda: predictor.probabilities(images)),
                _timed(lambda: predictor.predict(films, boxes=film_boxes)),
            )
            for _ in range(REPEATS)
        ),
        strict=True,
    )
    after = _peak_mib()
    predictor.predict([*films, *films], boxes=film_boxes)
    for place, clock in enumerate(("wall", "CPU")):
        model, whole = (min(times[place] for times in measured) / len(films) for measured in (alone, taken))
        print(f"{clock} of a film in a folder: {1000 * whole:.1f} ms; the model alone: {1000 * model:.1f} ms")
        print(f"  the folder's throughput is {model / whole:.2f} of the model's")
    print(f"peak memory: {before:.0f} MiB, after the folder {after:.0f}, after twice as many files {_peak_mib():.0f}")
    print(json.dumps({"model": predictor.about.name, "image_shape": predictor.about.image_shape, "files": len(films)}))


def _select_boxes(films: list[Path], boxes: dict[Path, list[Corners]] | None) -> dict[Path, list[Corners]] | None:
    return None if boxes is None else {film: boxes[film] for film in films}


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of the processor."""
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
