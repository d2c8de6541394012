"""CMMD, the Chinese Mammography Database: 5,202 digital mammograms of 1,775 women, proven by biopsy.

Cui et al., The Cancer Imaging Archive 2021, doi 10.7937/tcia.eqde-4b16; CC BY 4.0. Also in the Imaging Data Commons,
collection `cmmd`, whose files are the same.
A label is the biopsy's result, one per breast. Layout: DICOM files in any tree below the root, told apart by their
headers, and CMMD_clinicaldata_revision.xlsx (or its sheet saved as .csv) with one row per breast. No lesion is marked,
so that a sample is an image or a breast. A breast without a row in the table (the other one of many women) was not
proven: it is excluded, not taken as normal. Assumed, since no description says so: a woman's films are of one visit.
"""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import openpyxl
import pandas as pd
from openpyxl.utils.exceptions import InvalidFileException

from mammo.core.files import sha256
from mammo.core.parallel import parallel_map
from mammo.data.datasets import OUT_OF_SCOPE, DatasetError, Located, _annotations, _listing
from mammo.data.datasets._annotations import Row
from mammo.data.images import dicom, io

TABLE = "CMMD_clinicaldata_revision"
COLUMNS = ["ID1", "LeftRight", "abnormality", "classification"]
UNITS = ["image", "breast"]
CURE = (
    f"Download {TABLE}.xlsx from the collection's page at The Cancer Imaging Archive into that folder, "
    "or let `source: idc` bring it with the films (docs/external-data.md)"
)
TYPES = {"mass": "mass", "calcification": "calcification", "both": "mass+calcification"}
PATHOLOGIES = {"benign": "BENIGN", "malignant": "MALIGNANT"}
# SNOMED CT: craniocaudal and mediolateral oblique projection, in its new and in its retired coding.
VIEW_CODES = {"399162004": "CC", "399368009": "MLO", "R-10242": "CC", "R-10226": "MLO"}
TAGS = ["PatientID", "ImageLaterality", "ViewPosition", "ViewCodeSequence", "SOPInstanceUID"]

Breast = tuple[str, str]  # patient as the table names her, laterality


@dataclass(frozen=True)
class Film:
    """Values of one DICOM file's header, empty where missing. problem: why the file is unusable."""

    path: str
    patient: str = ""
    laterality: str = ""
    view: str = ""
    instance: str = ""
    problem: str = ""


def locate(root: Path, unit: str, abnormality_types: list[str], workers: int) -> Located:
    """Locate the cases under `root`; raises DatasetError for unit lesion, and where table or films are missing."""
    if unit not in UNITS:
        raise DatasetError(
            f"cmmd marks no lesions, so that a sample cannot be a {unit}; possible: ingest.unit {' or '.join(UNITS)}"
        )
    breasts = _breasts(root)
    listing = _listing.list_files(root, io.is_dicom_file)
    if not listing.files:
        raise DatasetError(
            f"{root} holds no DICOM files; download the collection there (docs/external-data.md)"
            f"{listing.describe_unread()}"
        )
    paths = [path.relative_to(root).as_posix() for path in listing.files]
    films = _exclude_copies(root, list(parallel_map(lambda path: _film(root, path), paths, workers, "reading headers")))
    rows = [row for film, name in _number_films(films) for row in _rows(film, name, breasts)]
    rows += _without_films(list(breasts), films, listing.describe_unread())
    return _annotations.locate(rows, unit, abnormality_types, _counts(films), root)


def published(abnormality_types: list[str]) -> dict[str, int]:
    """Return the counts of the whole set, whatever the types."""
    return {"images": 5_202, "patients": 1_775}


def _breasts(root: Path) -> dict[Breast, list[tuple[str, str]]]:
    """Return (abnormality, classification) of each row, by breast."""
    path, table = _read_table(root)
    breasts: dict[Breast, list[tuple[str, str]]] = {}
    for patient, side, abnormality, classification in table[table["ID1"] != ""].itertuples(index=False, name=None):
        breast = (patient, _annotations.LATERALITIES.get(side.upper(), side))
        breasts.setdefault(breast, []).append((abnormality, classification))
    if not breasts:
        raise DatasetError(f"{path} has no rows. {CURE}")
    return breasts


def _read_table(root: Path) -> tuple[Path, pd.DataFrame]:
    """Return the table and where it lies; raises DatasetError where there is none, or are several that differ."""
    listing = _listing.list_files(root, lambda path: path.name.startswith(TABLE) and path.suffix in (".xlsx", ".csv"))
    if not listing.files:
        raise DatasetError(f"{root} holds no {TABLE}.xlsx{listing.describe_unread()}. {CURE}")
    tables = [
        _read_xlsx(path) if path.suffix == ".xlsx" else _annotations.read_csv(path, COLUMNS, ",", CURE)
        for path in listing.files
    ]
    if not all(table.equals(tables[0]) for table in tables):
        names = " and ".join(path.relative_to(root).as_posix() for path in listing.files)
        raise DatasetError(f"{root}: {names} differ; keep the one as published")
    return listing.files[0], tables[0]


def _read_xlsx(path: Path) -> pd.DataFrame:
    try:
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
        lines = [
            ["" if cell is None else cell for cell in line]
            for line in workbook.worksheets[0].iter_rows(values_only=True)
        ]
    except (InvalidFileException, zipfile.BadZipFile, OSError, KeyError, ValueError) as error:
        raise DatasetError(f"{path} is no Excel table ({type(error).__name__}: {error}). {CURE}") from error
    header, *records = lines or [[]]
    return _annotations.select_columns(pd.DataFrame(records, columns=header), COLUMNS, path, CURE)


def _film(root: Path, path: str) -> Film:
    try:
        header = dicom.read_tags(root / path, *TAGS)
    except dicom.DicomError as error:
        return Film(path, problem=str(error).replace(f"{root}/", ""))
    return Film(
        path,
        header["PatientID"].strip(),
        _annotations.LATERALITIES.get(header["ImageLaterality"].strip().upper(), ""),
        _view(header["ViewPosition"].strip().upper(), header["ViewCodeSequence"]),
        header["SOPInstanceUID"].strip(),
        _annotations.film_problem(root, path),
    )


def _view(position: str, codes: str) -> str:
    coded = {view for code, view in VIEW_CODES.items() if code in codes}
    return _annotations.VIEWS.get(position) or (coded.pop() if len(coded) == 1 else "")


def _exclude_copies(root: Path, films: list[Film]) -> list[Film]:
    """Return films, of equal files of one image all but the first with a problem, of different files all."""
    by_instance: dict[str, list[Film]] = {}
    for film in films:
        if film.instance and not film.problem:
            by_instance.setdefault(film.instance, []).append(film)
    problems: dict[str, str] = {}
    for copies in by_instance.values():
        problems |= _copy_problems(root, [film.path for film in copies])
    return [replace(film, problem=problems.get(film.path, film.problem)) for film in films]


def _copy_problems(root: Path, paths: list[str]) -> dict[str, str]:
    """Return path -> problem of the files that cannot be used of those of one image."""
    if len(paths) == 1 or len({sha256(root / path) for path in paths}) == 1:
        return {path: f"{path}: a second copy of the same image" for path in paths[1:]}
    return dict.fromkeys(paths, f"{len(paths)} different files are of one image: {', '.join(paths)}; keep one")


def _number_films(films: list[Film]) -> list[tuple[Film, str]]:
    """Return films with their number among those of the same breast and view, independent of folder names."""
    counts: dict[tuple[str, str, str], int] = {}
    numbered = []
    for film in sorted(films, key=lambda film: (film.instance, film.path)):
        place = (film.patient, film.laterality, film.view)
        counts[place] = counts.get(place, 0) + 1
        numbered.append((film, str(counts[place])))
    return numbered


def _rows(film: Film, name: str, breasts: dict[Breast, list[tuple[str, str]]]) -> list[Row]:
    """Return one row per table row of the film's breast, or one where the table has none."""
    base = Row(
        patient_id=f"cmmd_{film.patient}",
        film_id=film.path if film.problem else name,
        laterality=film.laterality,
        view=film.view,
        image_path=film.path,
        reason=film.problem,
    )
    biopsies = breasts.get((film.patient, film.laterality), [])
    if film.problem or not biopsies:
        reason = film.problem or f"{OUT_OF_SCOPE}no biopsy: {TABLE} has no row of this breast"
        return [replace(base, reason=reason)]
    return [
        replace(
            base,
            abnormality_id=str(number),
            abnormality_type=TYPES.get(abnormality.lower(), _annotations.OTHER),
            pathology=PATHOLOGIES.get(classification.lower(), ""),
            reason=_table_problem(abnormality, classification),
        )
        for number, (abnormality, classification) in enumerate(biopsies, start=1)
    ]


def _table_problem(abnormality: str, classification: str) -> str:
    for column, value, valid in (
        ("abnormality", abnormality, TYPES),
        ("classification", classification, PATHOLOGIES),
    ):
        if value.lower() not in valid:
            return f"{TABLE}: unknown {column} {value!r} (valid: {', '.join(valid)})"
    return ""


def _without_films(breasts: list[Breast], films: list[Film], unread: str) -> list[Row]:
    """Return rows for the table's breasts without a film; patients without any film are out of scope.

    unread: the folders that could not be listed, as the end of a reason; where there are any, no film is out of scope.
    """
    patients, with_film = {film.patient for film in films}, {(film.patient, film.laterality) for film in films}
    missing = f"no film of this breast among the DICOM files{unread}"
    return [
        Row(
            f"cmmd_{patient}", "", side, reason=missing if unread or patient in patients else f"{OUT_OF_SCOPE}{missing}"
        )
        for patient, side in breasts
        if (patient, side) not in with_film
    ]


def _counts(films: list[Film]) -> dict[str, int]:
    whole = [film for film in films if not film.problem]
    return {"images": len({film.instance for film in whole}), "patients": len({film.patient for film in whole})}
