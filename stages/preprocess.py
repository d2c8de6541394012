"""Films and masks -> the pixel store: square arrays, one per sample, on disk."""

import shutil
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pandas as pd
import pydicom
from matplotlib.figure import Figure

from mammo.core import resume, schemas
from mammo.core.config import Config, load_config
from mammo.core.files import fresh_folder, read_splits, read_table, sha256, write_table, write_text
from mammo.core.parallel import parallel_map
from mammo.core.paths import CASES, FIGURES, MANIFEST, PIXELS, RAW, SPLITS, data_fingerprint
from mammo.data import sources
from mammo.data.images import array_store, dicom, io, preprocess
from mammo.data.images.preprocess import Square
from mammo.reporting.figures import evaluation
from mammo.tracking import live_run
from stages import run

SHEET_SAMPLES = 8
FILM_PX = 400  # of the films on the sheet

Case = dict[str, object]


def main() -> None:
    """Write images.npy, masks.npy, index.csv, sizes.csv and their fingerprint."""
    loaded = load_config()
    cases = read_splits(SPLITS).merge(
        read_table(CASES, schemas.CASES), on=["sample_id", "patient_id"], validate="one_to_one"
    )
    manifest = read_table(MANIFEST, schemas.MANIFEST)
    root = sources.get(loaded.ingest.source).root(loaded.ingest, RAW)
    with resume.resumable_folder("pixels", _key(loaded, cases, manifest)) as folder:
        store = _write(folder, loaded, cases, manifest, root)
        with fresh_folder(PIXELS) as place:
            place.rmdir()
            shutil.move(store, place)
    _track(loaded, cases, root)


def _key(loaded: Config, cases: pd.DataFrame, manifest: pd.DataFrame) -> str:
    """Names all that the pixels rest on."""
    code = [*resume.source_texts(dicom, io, preprocess, array_store), Path(__file__).read_text(encoding="utf-8")]
    versions = [library.__version__ for library in (cv2, np, pydicom)]
    settings = [loaded.ingest.unit, loaded.preprocess.model_dump_json()]
    return resume.content_key(cases.to_csv(), manifest.to_csv(), *settings, *versions, *code)


def _write(folder: Path, loaded: Config, cases: pd.DataFrame, manifest: pd.DataFrame, root: Path) -> Path:
    """Fill the store in `folder`, from where an earlier run stopped; returns its place."""
    unit, settings = loaded.ingest.unit, loaded.preprocess
    digests = dict(zip(manifest["path"], manifest["sha256"], strict=True))
    shape = preprocess.shape(unit, settings.size_px)

    def square(case: Case) -> Square:
        return preprocess.prepare(case, root, unit, settings, digests)

    with array_store.Writer(folder, len(cases), shape, settings.bits) as writer:
        rest = cast(list[Case], cases.iloc[writer.done :].to_dict(orient="records"))
        for made in parallel_map(square, rest, loaded.compute.workers, "preprocessing", writer.done):
            writer.append(made.image, made.mask, made.lesion_share)
    shares = np.load(writer.lesion_shares.path)
    sizes = pd.DataFrame({"sample_id": cases["sample_id"], "lesion_share": shares})
    write_table(writer.store / "sizes.csv", sizes, schemas.SIZES)
    write_table(writer.store / "index.csv", cases[list(schemas.INDEX.columns)], schemas.INDEX)
    printed = writer.store / "fingerprint.txt"
    printed.unlink(missing_ok=True)  # of a run that was cut short here: it is no part of what it names
    write_text(printed, sha256(writer.store) + "\n")
    return writer.store


def _track(loaded: Config, cases: pd.DataFrame, root: Path) -> None:
    sheet = FIGURES / "preprocess.png"
    evaluation.save(_sheet(loaded, cases, root), sheet)
    with live_run.tracked_run(
        "preprocess",
        experiment=loaded.tracking.experiment,
        parameters=loaded.preprocess.model_dump() | {"unit": loaded.ingest.unit},
        tags={"unit": loaded.ingest.unit, "data": data_fingerprint()},
    ) as tracked:
        white = 2**loaded.preprocess.bits - 1
        mean_pixel = array_store.mean(PIXELS / "images.npy") * 255 / white
        tracked.log_metrics({"samples": len(cases), "mean_pixel": mean_pixel})
        tracked.log_artifact(sheet)


def _sheet(loaded: Config, cases: pd.DataFrame, root: Path) -> Figure:
    """Random training samples: the films as scanned, and what the models will see of them."""
    train = np.flatnonzero(cases["split"] == "train")
    chosen = np.sort(np.random.default_rng(loaded.seed).permutation(train)[:SHEET_SAMPLES])
    images, masks = (np.load(PIXELS / f"{name}.npy", mmap_mode="r")[chosen] for name in ("images", "masks"))
    rows = cases.iloc[chosen]
    films = [preprocess.overview(case, root, FILM_PX) for case in cast(list[Case], rows.to_dict(orient="records"))]
    titles = [f"{row.sample_id}\n{row.pathology}" for row in rows.itertuples()]
    return evaluation.before_after(films, images, masks, titles)


if __name__ == "__main__":
    run(main)
