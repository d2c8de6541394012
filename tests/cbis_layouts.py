"""The synthetic cohort's JPEG tree in the other layouts in which CBIS-DDSM is found.

Each builder writes a copy under `root` and returns where each of its image files comes from: new path -> path in the
JPEG tree, both relative.
"""

import csv
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tests.dicoms import write_dicom

Origins = dict[str, str]


@dataclass(frozen=True)
class Listed:
    """One image file as dicom_info.csv of the JPEG tree lists it."""

    path: str  # in the JPEG tree
    case: str  # DICOM's PatientID, the official case folder
    study: str
    series: str
    number: int  # within its series and study

    def pixels(self, cohort: Path) -> np.ndarray:
        return cv2.imread(str(cohort / self.path), cv2.IMREAD_GRAYSCALE)


def listed(cohort: Path) -> Iterator[Listed]:
    in_series: dict[str, int] = {}
    with (cohort / "csv" / "dicom_info.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            series = row["SeriesInstanceUID"]
            in_series[series] = in_series.get(series, 0) + 1
            path = row["image_path"].removeprefix("CBIS-DDSM/")
            yield Listed(path, row["PatientID"], row["StudyInstanceUID"], series, in_series[series])


def copy_tables(cohort: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in (cohort / "csv").glob("*_case_description_*.csv"):
        shutil.copy(path, folder)


def nbia(cohort: Path, root: Path) -> Origins:
    """As the NBIA Data Retriever writes it: DICOM, and no UID in any name."""
    copy_tables(cohort, root / "csv")
    return _dicoms(
        cohort,
        root,
        lambda file: (
            f"CBIS-DDSM/{file.case}/07-20-2016-DDSM-NA-{file.study[-5:]}/1.000000-images-{file.series[-5:]}/"
            f"1-{file.number}.dcm"
        ),
    )


def unnamed_dicom(cohort: Path, root: Path) -> Origins:
    """DICOM in one folder, names without meaning: the header alone tells what a file is."""
    copy_tables(cohort, root)
    order = {file.path: place for place, file in enumerate(sorted(listed(cohort), key=lambda file: file.series))}
    return _dicoms(cohort, root, lambda file: f"all/{order[file.path]:04d}.DCM")


def idc(cohort: Path, root: Path) -> Origins:
    """As the Imaging Data Commons is downloaded: a folder per series, files named by their own UID."""
    copy_tables(cohort, root / "csv")
    return _dicoms(cohort, root, lambda file: f"{file.series}/2.25.{file.number}{file.study[-9:]}.dcm")


def case_folders(cohort: Path, root: Path) -> Origins:
    """PNG files in the official case folders, crop and mask of a lesion in one folder."""
    copy_tables(cohort, root)
    in_case: dict[str, int] = {}
    origins = {}
    for file in listed(cohort):
        in_case[file.case] = in_case.get(file.case, 0) + 1
        origins[_png(cohort, root, file, f"images/{file.case}/{in_case[file.case]}.png")] = file.path
    return origins


def official_paths(cohort: Path, root: Path) -> Origins:
    """PNG files under the paths that the CSVs give."""
    copy_tables(cohort, root / "tables")
    return {
        _png(cohort, root, file, f"{file.case}/{file.study}/{file.series}/{file.number - 1:06d}.png"): file.path
        for file in listed(cohort)
    }


LAYOUTS: list[Callable[[Path, Path], Origins]] = [nbia, unnamed_dicom, idc, case_folders, official_paths]


def _dicoms(cohort: Path, root: Path, name: Callable[[Listed], str]) -> Origins:
    origins = {}
    for file in listed(cohort):
        path = name(file)
        write_dicom(
            root / path,
            _sixteen_bits(file.pixels(cohort)),
            SeriesInstanceUID=file.series,
            StudyInstanceUID=file.study,
            PatientID=file.case,
        )
        origins[path] = file.path
    return origins


def _sixteen_bits(image: np.ndarray) -> np.ndarray:
    return image.astype(np.uint16) * 257


def _png(cohort: Path, root: Path, file: Listed, path: str) -> str:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(cv2.imencode(".png", file.pixels(cohort))[1].tobytes())
    return path
