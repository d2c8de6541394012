"""Write films and masks into the array store: square arrays, one per sample."""

import shutil
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pandas as pd
import pydicom

from mammo.core import resume, schemas
from mammo.core.config import Config, load_config
from mammo.core.files import fresh_folder, read_splits, read_table, sha256, write_table, write_text
from mammo.core.parallel import parallel_map
from mammo.core.paths import CASES, MANIFEST, PIXELS, RAW, SPLITS, data_fingerprint
from mammo.data import sources
from mammo.data.images import array_store, dicom, io, preprocess
from mammo.data.images.preprocess import Square
from mammo.tracking import live_run
from stages import run

Case = dict[str, object]


def main() -> None:
    """Write images.npy, masks.npy, index.csv, sizes.csv and their fingerprint."""
    config = load_config()
    cases = read_splits(SPLITS).merge(
        read_table(CASES, schemas.CASES), on=["sample_id", "patient_id"], validate="one_to_one"
    )
    manifest = read_table(MANIFEST, schemas.MANIFEST)
    root = sources.load_source(config.ingest.source).root(config.ingest, RAW)
    with resume.resumable_folder("pixels", _content_key(config, cases, manifest)) as folder:
        store = _fill_store(folder, config, cases, manifest, root)
        with fresh_folder(PIXELS) as target:
            target.rmdir()
            shutil.move(store, target)
    _track(config, len(cases))


def _content_key(config: Config, cases: pd.DataFrame, manifest: pd.DataFrame) -> str:
    """Return a hash of all inputs of the array store: tables, settings, library versions, code."""
    code = [*resume.source_texts(dicom, io, preprocess, array_store), Path(__file__).read_text(encoding="utf-8")]
    versions = [library.__version__ for library in (cv2, np, pydicom)]
    settings = [config.ingest.unit, config.preprocess.model_dump_json()]
    return resume.content_key(cases.to_csv(), manifest.to_csv(), *settings, *versions, *code)


def _fill_store(folder: Path, config: Config, cases: pd.DataFrame, manifest: pd.DataFrame, root: Path) -> Path:
    """Fill the store in `folder`, from where a killed run stopped; return its path."""
    unit, settings = config.ingest.unit, config.preprocess
    digests = dict(zip(manifest["path"], manifest["sha256"], strict=True))
    shape = preprocess.square_shape(unit, settings.size_px)

    def prepare(case: Case) -> Square:
        return preprocess.prepare_case(case, root, unit, settings, digests)

    with array_store.Writer(folder, len(cases), shape, settings.bits) as writer:
        remaining = cast(list[Case], cases.iloc[writer.done :].to_dict(orient="records"))
        for square in parallel_map(prepare, remaining, config.compute.workers, "preprocessing", writer.done):
            writer.append(square.image, square.mask, square.lesion_share)
    shares = np.load(writer.lesion_shares.path)
    sizes = pd.DataFrame({"sample_id": cases["sample_id"], "lesion_share": shares})
    write_table(writer.store / "sizes.csv", sizes, schemas.SIZES)
    write_table(writer.store / "index.csv", cases[list(schemas.INDEX.columns)], schemas.INDEX)
    fingerprint = writer.store / "fingerprint.txt"
    fingerprint.unlink(missing_ok=True)  # of a killed run: a fingerprint does not hash itself
    write_text(fingerprint, sha256(writer.store) + "\n")
    return writer.store


def _track(config: Config, n_samples: int) -> None:
    with live_run.tracked_run(
        "preprocess",
        experiment=config.tracking.experiment,
        parameters=config.preprocess.model_dump() | {"unit": config.ingest.unit},
        tags={"unit": config.ingest.unit, "data": data_fingerprint()},
    ) as run_log:
        white = 2**config.preprocess.bits - 1
        mean_pixel = array_store.mean(PIXELS / "images.npy") * 255 / white
        run_log.log_metrics({"samples": n_samples, "mean_pixel": mean_pixel})


if __name__ == "__main__":
    run(main)
