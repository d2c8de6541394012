"""Films and masks -> the pixel store: square arrays, one per sample, on disk."""

import shutil
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pandas as pd
import pydicom
from matplotlib.figure import Figure

from mammo import (
    compute,
    dicom,
    figures,
    params,
    pixel_store,
    pixels,
    preprocessing,
    sources,
    tables,
    tracking,
    workshop,
)
from mammo.params import Params
from mammo.preprocessing import Square
from stages import run
from stages.paths import CASES, FIGURES, MANIFEST, PIXELS, RAW, SPLITS, fingerprint

SHEET_SAMPLES = 8
FILM_PX = 400  # of the films on the sheet

Case = dict[str, object]


def main() -> None:
    """Write images.npy, masks.npy, index.csv, sizes.csv and their fingerprint."""
    loaded = params.load()
    cases = tables.read_splits(SPLITS).merge(
        tables.read(CASES, tables.CASES), on=["sample_id", "patient_id"], validate="one_to_one"
    )
    manifest = tables.read(MANIFEST, tables.MANIFEST)
    root = sources.get(loaded.ingest.source).root(loaded.ingest, RAW)
    with workshop.unfinished("pixels", _key(loaded, cases, manifest)) as folder:
        store = _write(folder, loaded, cases, manifest, root)
        with tables.fresh_folder(PIXELS) as place:
            place.rmdir()
            shutil.move(store, place)
    _track(loaded, cases, root)


def _key(loaded: Params, cases: pd.DataFrame, manifest: pd.DataFrame) -> str:
    """Names all that the pixels rest on."""
    code = [*workshop.code(dicom, pixels, preprocessing, pixel_store), Path(__file__).read_text(encoding="utf-8")]
    versions = [library.__version__ for library in (cv2, np, pydicom)]
    settings = [loaded.ingest.unit, loaded.preprocess.model_dump_json()]
    return workshop.key(cases.to_csv(), manifest.to_csv(), *settings, *versions, *code)


def _write(folder: Path, loaded: Params, cases: pd.DataFrame, manifest: pd.DataFrame, root: Path) -> Path:
    """Fill the store in `folder`, from where an earlier run stopped; returns its place."""
    unit, settings = loaded.ingest.unit, loaded.preprocess
    digests = dict(zip(manifest["path"], manifest["sha256"], strict=True))
    shape = preprocessing.shape(unit, settings.size_px)

    def square(case: Case) -> Square:
        return preprocessing.prepare(case, root, unit, settings, digests)

    with pixel_store.Writer(folder, len(cases), shape, settings.bits) as writer:
        rest = cast(list[Case], cases.iloc[writer.done :].to_dict(orient="records"))
        for made in compute.run(square, rest, loaded.compute.workers, "preprocessing", writer.done):
            writer.append(made.image, made.mask, made.lesion_share)
    shares = np.load(writer.lesion_shares.path)
    sizes = pd.DataFrame({"sample_id": cases["sample_id"], "lesion_share": shares})
    tables.write(writer.store / "sizes.csv", sizes, tables.SIZES)
    tables.write(writer.store / "index.csv", cases[list(tables.INDEX.columns)], tables.INDEX)
    printed = writer.store / "fingerprint.txt"
    printed.unlink(missing_ok=True)  # of a run that was cut short here: it is no part of what it names
    tables.write_text(printed, tables.sha256(writer.store) + "\n")
    return writer.store


def _track(loaded: Params, cases: pd.DataFrame, root: Path) -> None:
    sheet = FIGURES / "preprocess.png"
    figures.save(_sheet(loaded, cases, root), sheet)
    with tracking.run(
        "preprocess",
        experiment=loaded.tracking.experiment,
        parameters=loaded.preprocess.model_dump() | {"unit": loaded.ingest.unit},
        tags={"unit": loaded.ingest.unit, "data": fingerprint()},
    ) as tracked:
        white = 2**loaded.preprocess.bits - 1
        mean_pixel = pixel_store.mean(PIXELS / "images.npy") * 255 / white
        tracked.log_metrics({"samples": len(cases), "mean_pixel": mean_pixel})
        tracked.log_artifact(sheet)


def _sheet(loaded: Params, cases: pd.DataFrame, root: Path) -> Figure:
    """Random training samples: the films as scanned, and what the models will see of them."""
    train = np.flatnonzero(cases["split"] == "train")
    chosen = np.sort(np.random.default_rng(loaded.seed).permutation(train)[:SHEET_SAMPLES])
    images, masks = (np.load(PIXELS / f"{name}.npy", mmap_mode="r")[chosen] for name in ("images", "masks"))
    rows = cases.iloc[chosen]
    films = [preprocessing.overview(case, root, FILM_PX) for case in cast(list[Case], rows.to_dict(orient="records"))]
    titles = [f"{row.sample_id}\n{row.pathology}" for row in rows.itertuples()]
    return figures.before_after(films, images, masks, titles)


if __name__ == "__main__":
    run(main)
