"""INbreast: 410 full-field digital mammograms of 115 examinations in Porto, with contours of the lesions.

Moreira et al., Academic Radiology 2012;19(2):236-248, doi 10.1016/j.acra.2011.09.014. Granted on request for research
only; it must not be passed on.
A label is a radiologist's BI-RADS category of the film, not a pathology: 4, 5 and 6 are positive, 1 to 3 negative (the
column pathology repeats that). A lesion has its film's category, since no other is published. Layout: INbreast.csv
(semicolons), AllDICOMs/<film>_<patient>_MG_<R|L>_<CC|ML>_ANON.dcm and AllXML/<film>.xml, OsiriX property lists whose
regions are polygons of points "(x, y)" in px; a film without marks has no XML file. Lesions are the contours of masses,
distortions and asymmetries and the outlines of clusters; marks of single calcifications and of spicules count for the
type of their film only. The patient is the code in the file name, one for all of a woman's examinations.
"""

import plistlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from mammo.core.parallel import parallel_map
from mammo.data.datasets import OUT_OF_SCOPE, DatasetError, Located, _annotations, _listing
from mammo.data.datasets._annotations import Box, Row
from mammo.data.images import io

TABLE = "INbreast.csv"
DICOMS, MARKS = "AllDICOMs", "AllXML"
COLUMNS = ["Laterality", "View", "Acquisition date", "File Name", "ACR", "Bi-Rads"]
CURE = "Set `root` to the folder `INbreast Release 1.0` as published: INbreast.csv, AllDICOMs/ and AllXML/"
# The publishers' names of a region, misspellings included, less case; True: it outlines a whole lesion.
REGIONS = {
    "mass": ("mass", True),
    "cluster": ("calcification", True),
    "distortion": ("architectural_distortion", True),
    "asymmetry": ("asymmetry", True),
    "assymetry": ("asymmetry", True),
    "spiculated region": ("mass", False),
    "espiculated region": ("mass", False),
    "calcification": ("calcification", False),
    "calcifications": ("calcification", False),
    "unnamed": ("calcification", False),
    "point 1": ("calcification", False),
    "point 3": ("calcification", False),
}

Region = tuple[str, Box | None]  # type, and its box where it outlines a whole lesion


class MarkError(ValueError):
    """A file of AllXML is not as published."""


def locate(root: Path, unit: str, abnormality_types: list[str], workers: int) -> Located:
    """Locate the cases under `root`; raises DatasetError where the layout or the table is not as published."""
    if not (root / DICOMS).is_dir():
        raise DatasetError(f"{root} holds no {DICOMS}/. {CURE}")
    table = _annotations.read_csv(root / TABLE, COLUMNS, ";", CURE)
    table = table[(table != "").any(axis=1)]  # empty lines end it
    listing = _listing.list_files(root / DICOMS, io.is_dicom_file)
    named = _annotations.files_by_name(root, listing.files, lambda path: path.name.split("_")[0])
    files = {film_id: root / paths[0] for film_id, paths in named.items()}
    records = [dict(zip(COLUMNS, values, strict=True)) for values in table.itertuples(index=False, name=None)]
    problems = _annotations.film_problems(root, [_relative(root, path) for path in files.values()], workers)
    problems |= {paths[0]: _annotations.ambiguity(paths) for paths in named.values() if len(paths) > 1}
    unread = listing.describe_unread()
    rows_of_films = parallel_map(
        lambda record: _film(root, record, files.get(record["File Name"], unread), problems),
        records,
        workers,
        "reading marks",
    )
    listed = set(table["File Name"])
    rows = [row for film_rows in rows_of_films for row in film_rows]
    rows += [_unlisted(root, path) for film_id, path in files.items() if film_id not in listed]
    return _annotations.locate(rows, unit, abnormality_types, _counts(rows), root)


def published(abnormality_types: list[str]) -> dict[str, int]:
    """Return the counts of the whole set, whatever the types."""
    return {"films": 410}


def _film(root: Path, record: dict[str, str], path: Path | str, problems: dict[str, str]) -> list[Row]:
    """Return the rows of one line of the table: its marked regions, or one row for a film without marks.

    path: of the film, or, where it is missing, the folders that could not be listed.
    """
    film_id = record["File Name"]
    if isinstance(path, str):
        image_path, patient, reason = "", "unknown", f"{DICOMS}/{film_id}_*.dcm is missing{path}"
    else:
        image_path, patient = _relative(root, path), path.stem.split("_")[1] if "_" in path.stem else ""
        reason = problems[image_path] or _contradiction(record, path) or _assessment_problem(record["Bi-Rads"])
    regions: list[Region] = []
    try:
        regions = _regions(root / MARKS / f"{film_id}.xml")
    except MarkError as error:
        reason = reason or str(error)
    film_row = _film_row(record, patient, image_path, reason)
    if not regions:
        return [film_row]
    rows = []
    for number, (kind, outline) in enumerate(regions, start=1):
        box = _annotations.clip_box(root, image_path, outline) if outline and not reason else ""
        outside = f"{MARKS}/{film_id}.xml: region {number} lies outside the film" if outline and not box else ""
        marked = replace(film_row, abnormality_id=str(number), abnormality_type=kind)
        rows.append(replace(marked, box=box, reason=reason or outside))
    return rows


def _film_row(record: dict[str, str], patient: str, image_path: str, reason: str) -> Row:
    """Return the row of a film without marks."""
    birads = _annotations.parse_birads(record["Bi-Rads"])
    return Row(
        patient_id=f"inbreast_{patient}",
        film_id=record["File Name"],
        laterality=_annotations.LATERALITIES.get(record["Laterality"].upper(), record["Laterality"]),
        view=_annotations.VIEWS.get(record["View"].upper(), record["View"]),
        exam=record["Acquisition date"],
        pathology="" if birads is None else _annotations.pathology_from_birads(birads),
        breast_density=int(record["ACR"]) if record["ACR"] in {"1", "2", "3", "4"} else None,
        birads=birads,
        image_path=image_path,
        reason=reason,
    )


def _unlisted(root: Path, path: Path) -> Row:
    return Row("inbreast_unknown", path.name, reason=f"{_relative(root, path)} has no line in {TABLE}")


def _assessment_problem(text: str) -> str:
    category = _annotations.parse_birads(text)
    if category is None:
        return f"unknown BI-RADS category {text!r}"
    return f"{OUT_OF_SCOPE}BI-RADS 0 is no final assessment" if category == 0 else ""


def _contradiction(record: dict[str, str], path: Path) -> str:
    """Return where the table and the file name disagree about side or view, or an empty text."""
    words = {word.upper() for word in path.stem.split("_")[2:]}
    side = {_annotations.LATERALITIES[word] for word in words & set(_annotations.LATERALITIES)}
    view = {_annotations.VIEWS[word] for word in words & set(_annotations.VIEWS)}
    listed = (
        {_annotations.LATERALITIES.get(record["Laterality"].upper())},
        {_annotations.VIEWS.get(record["View"].upper())},
    )
    if (side, view) == listed:
        return ""
    return f"{TABLE} says {record['Laterality']} {record['View']}, the file is named {path.name}"


def _regions(path: Path) -> list[Region]:
    """Return outlined lesions one by one, and each type that is marked in another way once."""
    if _listing.is_missing(path):
        return []
    try:
        with path.open("rb") as file:
            regions = plistlib.load(file, fmt=plistlib.FMT_XML)["Images"][0]["ROIs"]
        parsed = [_region(region) for region in regions if region["Point_px"]]
    except (
        ExpatError,
        plistlib.InvalidFileException,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        OSError,
    ) as error:
        raise MarkError(f"{MARKS}/{path.name} is no OsiriX property list ({type(error).__name__}: {error})") from error
    outlined = [region for region in parsed if region[1]]
    return [*outlined, *dict.fromkeys(region for region in parsed if not region[1])]


def _region(region: dict[str, Any]) -> Region:
    kind, whole = REGIONS.get(str(region["Name"]).strip().lower(), (_annotations.OTHER, False))
    points = [point.strip("() ").split(",") for point in region["Point_px"]]
    columns, rows = [float(x) for x, _ in points], [float(y) for _, y in points]
    box = (int(min(rows)), int(min(columns)), int(max(rows)) + 1, int(max(columns)) + 1)
    return kind, box if whole else None


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _counts(rows: list[Row]) -> dict[str, int]:
    return {"films": len({row.film_id for row in rows if row.image_path})}
