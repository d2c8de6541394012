"""Films and masks -> the pixel store: square arrays, one per sample, on disk."""

from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from mammo import compute, figures, params, pixels, sources, tables, tracking
from mammo.params import PreprocessParams
from stages import run
from stages.paths import CASES, FIGURES, MANIFEST, PIXELS, RAW, SPLITS, fingerprint

SHEET_SAMPLES = 12

Case = dict[Hashable, str]
Square = tuple[pixels.Grey, pixels.Mask, float]  # and the share of the film that is marked as lesion


def main() -> None:
    """Write images.npy, masks.npy, index.csv, sizes.csv and their fingerprint."""
    loaded = params.load()
    cases = tables.read_splits(SPLITS).merge(
        tables.read(CASES, tables.CASES), on=["sample_id", "patient_id"], validate="one_to_one"
    )
    manifest = tables.read(MANIFEST, tables.MANIFEST).set_index("path")["sha256"]
    root = sources.get(loaded.ingest.source).root(loaded.ingest, RAW)
    square = _square_of(root, manifest, loaded.ingest.unit, loaded.preprocess)
    with tables.fresh_folder(PIXELS) as folder:
        done = compute.run(square, cases.to_dict(orient="records"), loaded.compute.workers, "preprocessing")
        shares = _store(folder, done, len(cases), loaded.preprocess.size_px)
        sizes = pd.DataFrame({"sample_id": cases["sample_id"], "lesion_share": shares})
        tables.write(folder / "sizes.csv", sizes, tables.SIZES)
        tables.write(folder / "index.csv", cases[list(tables.INDEX.columns)], tables.INDEX)
        tables.write_text(folder / "fingerprint.txt", tables.sha256(folder) + "\n")
    _track(loaded, cases)


def _square_of(root: Path, manifest: pd.Series, unit: str, settings: PreprocessParams) -> Callable[[Case], Square]:
    """The function that turns one case into its image and mask, (size_px, size_px) each, and the lesion's share."""

    def square(case: Case) -> Square:
        masks = case["mask_path"].split(tables.PATH_SEPARATOR)
        for path in (case["image_path"], *masks):
            _assert_unchanged(root, path, manifest)
        film = pixels.read_grey(root / case["image_path"])
        lesions = np.maximum.reduce([pixels.read_mask(root / path, film.shape) for path in masks])
        breast = pixels.breast_mask(film)
        film = pixels.window(film, breast, settings.window_percentiles)
        if unit == "lesion":
            image, mask = pixels.lesion_square(film, lesions, settings.size_px, settings.context)
        else:
            image, mask = pixels.breast_square(film, lesions, breast, settings.size_px)
        return image, mask, float(lesions.mean())

    return square


def _assert_unchanged(root: Path, path: str, manifest: pd.Series) -> None:
    file = root / path
    if not file.is_file() or tables.sha256(file) != manifest[path]:
        raise pixels.PixelError(
            f"{file} is not the file that ingest saw; run `dvc repro -f ingest` to take the data in anew"
        )


def _store(folder: Path, squares: Iterator[Square], count: int, size_px: int) -> list[float]:
    shape = (count, size_px, size_px)
    images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    masks = np.lib.format.open_memmap(folder / "masks.npy", mode="w+", dtype=np.uint8, shape=shape)
    shares = []
    for number, (image, mask, share) in enumerate(squares):
        images[number], masks[number] = image, mask
        shares.append(share)
    return shares


def _track(loaded: params.Params, cases: pd.DataFrame) -> None:
    sheet = FIGURES / "preprocess.png"
    figures.save(_sheet(cases, loaded.seed), sheet)
    with tracking.run(
        "preprocess",
        experiment=loaded.tracking.experiment,
        parameters=loaded.preprocess.model_dump() | {"unit": loaded.ingest.unit},
        tags={"unit": loaded.ingest.unit, "data": fingerprint()},
    ) as tracked:
        images: npt.NDArray[np.uint8] = np.load(PIXELS / "images.npy", mmap_mode="r")
        tracked.log_metrics({"samples": len(images), "mean_pixel": float(images.mean())})
        tracked.log_artifact(sheet)


def _sheet(cases: pd.DataFrame, seed: int) -> Figure:
    """Random training samples as the models will see them."""
    train = np.flatnonzero(cases["split"] == "train")
    chosen = np.sort(np.random.default_rng(seed).permutation(train)[:SHEET_SAMPLES])
    images, masks = (np.load(PIXELS / f"{name}.npy", mmap_mode="r")[chosen] for name in ("images", "masks"))
    titles = [f"{row.sample_id}\n{row.pathology}" for row in cases.iloc[chosen].itertuples()]
    return figures.samples(images, masks, titles)


if __name__ == "__main__":
    run(main)
