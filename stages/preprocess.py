"""Write films and masks into the array store: square arrays, one per sample."""

import shutil
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pydicom

from mammo.core import resume, schemas
from mammo.core.config import Config, load_config
from mammo.core.files import fresh_folder, read_splits, read_table, sha256, write_table, write_text
from mammo.core.parallel import parallel_map
from mammo.core.paths import BORDERS, CASES, MANIFEST, PIXELS, RAW, SPLITS, data_fingerprint
from mammo.data import sources
from mammo.data.images import array_store, border, breast, dicom, io, preprocess, transforms, without_lesion
from mammo.data.images.preprocess import Sample
from mammo.data.images.without_lesion import REMOVALS
from mammo.tracking import live_run
from stages import run

Case = dict[str, object]
Measurements = npt.NDArray[np.float64]
MEASURED = ["lesion_share", "removal"]  # of each sample, before its borders; removal: its place in REMOVALS
CODE = (
    array_store,
    border,
    breast,
    dicom,
    io,
    preprocess,
    transforms,
    without_lesion,
)  # what the arrays' bytes depend on


def main() -> None:
    """Write images, the same without lesions, masks, index.csv, sizes.csv, without_lesion.csv and their fingerprint."""
    config = load_config()
    cases = read_splits(SPLITS).merge(
        _join_film_marks(read_table(CASES, schemas.CASES), config.ingest.unit),
        on=["sample_id", "patient_id"],
        validate="one_to_one",
    )
    manifest = read_table(MANIFEST, schemas.MANIFEST)
    root = sources.load_source(config.ingest.source).root(config.ingest, RAW)
    with resume.resumable_folder("pixels", _content_key(config, cases, manifest)) as folder:
        store, measurements = _fill_store(folder, config, cases, manifest, root)
        write_table(BORDERS, _tabulate_borders(cases, measurements[:, len(MEASURED) :]), schemas.BORDERS)
        with fresh_folder(PIXELS) as target:
            target.rmdir()
            shutil.move(store, target)
    _track(config, len(cases))


def _join_film_marks(cases: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Add film_mask_path: the marks of all lesions on the film, also of rows that have no split."""
    if unit != "lesion":
        return cases.assign(film_mask_path=cases["mask_path"])
    film = cases.groupby(["patient_id", "laterality", "view"])["mask_path"]
    return cases.assign(film_mask_path=film.transform(lambda marks: schemas.PATH_SEPARATOR.join(marks.dropna())))


def _content_key(config: Config, cases: pd.DataFrame, manifest: pd.DataFrame) -> str:
    """Return a hash of all inputs of the array store: tables, settings, library versions, code."""
    code = [*resume.source_texts(*CODE), Path(__file__).read_text(encoding="utf-8")]
    versions = [library.__version__ for library in (cv2, np, pydicom)]
    settings = [config.ingest.unit, config.preprocess.model_dump_json()]
    return resume.content_key(cases.to_csv(), manifest.to_csv(), *settings, *versions, *code)


def _fill_store(
    folder: Path, config: Config, cases: pd.DataFrame, manifest: pd.DataFrame, root: Path
) -> tuple[Path, Measurements]:
    """Fill the store in `folder`, from where a killed run stopped; return its path, and what was measured.

    The measurements are MEASURED, then the border statistics of each film of the sample, nan where it has fewer.
    """
    unit, settings = config.ingest.unit, config.preprocess
    digests = dict(zip(manifest["path"], manifest["sha256"], strict=True))
    shape = preprocess.square_shape(unit, settings.size_px)

    def prepare(case: Case) -> Sample:
        return preprocess.prepare_sample(case, root, unit, settings, digests)

    n_borders = (len(preprocess.VIEWS) if unit == "breast" else 1) * len(schemas.BORDER_STATISTICS)
    with array_store.Writer(folder, len(cases), shape, settings.bits, len(MEASURED) + n_borders) as writer:
        remaining = cast(list[Case], cases.iloc[writer.done :].to_dict(orient="records"))
        for sample in parallel_map(prepare, remaining, config.compute.workers, "preprocessing", writer.done):
            borders = np.full(n_borders, np.nan)
            borders[: sample.borders.size] = sample.borders.ravel()
            measured = [sample.square.lesion_share, REMOVALS.index(sample.removal), *borders]
            writer.append(sample.square.image, sample.without_lesion, sample.square.mask, measured)
    measurements = np.load(writer.measurements.path)
    _write_tables(writer.store, cases, pd.DataFrame(measurements[:, : len(MEASURED)], columns=MEASURED))
    fingerprint = writer.store / "fingerprint.txt"
    fingerprint.unlink(missing_ok=True)  # of a killed run: a fingerprint does not hash itself
    write_text(fingerprint, sha256(writer.store) + "\n")
    return writer.store, measurements


def _write_tables(store: Path, cases: pd.DataFrame, measurements: pd.DataFrame) -> None:
    """Write index.csv, sizes.csv and without_lesion.csv; measurements: MEASURED of each case."""
    write_table(store / "index.csv", cases[list(schemas.INDEX.columns)], schemas.INDEX)
    sizes = cases[["sample_id"]].assign(lesion_share=measurements["lesion_share"].to_numpy())
    write_table(store / "sizes.csv", sizes, schemas.SIZES)
    removals = cases[["sample_id"]].assign(removal=[REMOVALS[int(number)] for number in measurements["removal"]])
    write_table(store / "without_lesion.csv", removals, schemas.WITHOUT_LESION)


def _tabulate_borders(cases: pd.DataFrame, borders: Measurements) -> pd.DataFrame:
    """Return schemas.BORDERS, a row per film; borders: (cases, statistics of each film)."""
    films = cases["image_path"].str.split(schemas.VIEW_SEPARATOR)
    number = films.map(lambda paths: range(len(paths)))
    table = pd.DataFrame({"image_path": films, "case": range(len(cases)), "film": number}).explode(
        ["image_path", "film"]
    )
    by_film = borders.reshape(len(cases), -1, len(schemas.BORDER_STATISTICS))
    values = by_film[table["case"].to_numpy(int), table["film"].to_numpy(int)]
    statistics = pd.DataFrame(values.round(6), columns=schemas.BORDER_STATISTICS, index=table.index)
    return pd.concat([table["image_path"], statistics], axis=1).drop_duplicates("image_path")


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
