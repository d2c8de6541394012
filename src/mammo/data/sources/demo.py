"""A deterministic synthetic cohort on disk, in the layout of the Kaggle copy of CBIS-DDSM, pitfalls included.

The same arguments write the same bytes. The images come first and `csv/dicom_info.csv` last, so that an interrupted
run does not pass for a complete cohort.
"""

import csv
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import NormalDist
from typing import Literal, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from mammo.core.config import IngestConfig
from mammo.data.sources import _phantoms
from mammo.data.sources._border_cue import plant_border_cue
from mammo.data.sources._phantoms import Kind, Laterality, View

OfficialSplit = Literal["Training", "Test"]
Row = dict[str, str | int]
Described = dict[tuple[Kind, OfficialSplit], list[Row]]
T = TypeVar("T")

MIN_PATIENTS = 20
MIN_HEIGHT_PX = 96

_COLLECTION = "CBIS-DDSM"
_KINDS: dict[Kind, str] = {"mass": "Mass", "calcification": "Calc"}
_SPLITS: dict[OfficialSplit, str] = {"Training": "train", "Test": "test"}
_FULL, _CROP, _MASK = "full mammogram images", "cropped images", "ROI mask images"

_TEST_FRACTION = 0.3
_MALIGNANT_FRACTION = 0.43
# Further lesions of a finding, by whether each has the first one's label, and the share of the findings.
_NEIGHBOURS: tuple[tuple[tuple[bool, ...], float], ...] = (
    ((True,), 0.08),
    ((False,), 0.05),
    ((True, True), 0.03),
    ((True, False), 0.02),
)
_LEAKING_FRACTION = 0.02  # of the patients: mass in train, calcification in test
_SHARED_FRACTION = 0.02  # of the patients: one breast in the mass and in the calc set
_BILATERAL_FRACTION = 0.08  # of the patients
_BOTH_VIEWS_FRACTION = 0.8  # of the breasts
_UNDESCRIBED_FRACTION = 0.05  # of the files: no SeriesDescription
_DENSITY_SHARES = (0.2, 0.42, 0.27, 0.11)  # of the patients, density 1 to 4
# SD of a reader's error, in units of the suspicion's SD; with signal 1.8 BI-RADS reaches an AUC of about .80.
_READER_NOISE = 0.95
# Descriptors of benign-looking to malignant-looking lesions.
_MASS_SHAPES = (
    ("OVAL", "OVAL", "ROUND", "LOBULATED", "LYMPH_NODE"),
    ("OVAL", "LOBULATED", "LOBULATED", "IRREGULAR", "FOCAL_ASYMMETRIC_DENSITY"),
    ("IRREGULAR", "IRREGULAR", "IRREGULAR-ARCHITECTURAL_DISTORTION", "ARCHITECTURAL_DISTORTION", "LOBULATED"),
)
_MASS_MARGINS = (
    ("CIRCUMSCRIBED", "CIRCUMSCRIBED", "OBSCURED", "N/A"),
    ("CIRCUMSCRIBED", "OBSCURED", "ILL_DEFINED", "MICROLOBULATED"),
    ("SPICULATED", "SPICULATED", "ILL_DEFINED", "ILL_DEFINED-SPICULATED"),
)
_CALC_TYPES = (
    ("LUCENT_CENTER", "ROUND_AND_REGULAR", "PUNCTATE", "COARSE", "VASCULAR"),
    ("PUNCTATE", "AMORPHOUS", "AMORPHOUS", "PLEOMORPHIC", "PUNCTATE-PLEOMORPHIC"),
    ("PLEOMORPHIC", "PLEOMORPHIC", "FINE_LINEAR_BRANCHING", "AMORPHOUS"),
)
_CALC_DISTRIBUTIONS = (
    ("CLUSTERED", "REGIONAL", "DIFFUSELY_SCATTERED", "SEGMENTAL"),
    ("CLUSTERED", "CLUSTERED", "SEGMENTAL"),
    ("CLUSTERED", "CLUSTERED", "LINEAR", "SEGMENTAL", "CLUSTERED-LINEAR"),
)


@dataclass(frozen=True)
class _Layout:
    """The series and columns of one row's crop and mask."""

    separate: bool = False  # each in a series of its own
    swapped: bool = False  # each in the other's CSV column


_LAYOUTS = (  # and their shares of the rows
    (_Layout(swapped=True), 0.14),
    (_Layout(separate=True), 0.05),
    (_Layout(separate=True, swapped=True), 0.03),
)


@dataclass(frozen=True)
class _Lesion:
    """An abnormality with its description by a reader."""

    number: int  # the official abnormality id
    appearance: _phantoms.Lesion
    pathology: str
    assessment: int
    subtlety: int
    descriptors: tuple[str, str]


@dataclass(frozen=True)
class _Truth:
    """The hidden truth of a lesion; suspicion in SD, signal: the distance of the classes' means."""

    malignant: bool
    suspicion: float
    signal: float


@dataclass(frozen=True)
class _Finding:
    """The lesions of one kind in one breast, described in one official CSV."""

    patient_id: str
    laterality: Laterality
    kind: Kind
    split: OfficialSplit
    lesions: tuple[_Lesion, ...] = ()


@dataclass(frozen=True)
class _Breast:
    """A breast, its views and its findings: two where it is in the mass and in the calc set."""

    anatomy: _phantoms.Anatomy
    views: tuple[View, ...]
    findings: tuple[_Finding, ...]


@dataclass(frozen=True)
class _Place:
    """The folder and the names of a file."""

    patient_id: str  # DICOM's: Mass-Training_P_00001_LEFT_CC_1
    study_uid: str
    series_uid: str
    file_name: str  # without suffix: 1-057


@dataclass(frozen=True)
class _View:
    """A drawn view of a breast. masks: mask and layout of each lesion, which its findings take in order."""

    view: View
    density: int
    pixels: _phantoms.Pixels
    masks: Iterator[tuple[_phantoms.Pixels, _Layout]]


@dataclass(frozen=True)
class _Image:
    """A file to be written."""

    place: _Place
    description: str
    pixels: _phantoms.Pixels


def fetch(ingest: IngestConfig, raw: Path, seed: int) -> Path:
    """Write the cohort of `ingest.demo` under `raw`; the same parameters write the same bytes."""
    demo = ingest.demo
    write_cohort(root(ingest, raw), demo.patients, demo.height_px, demo.signal, seed)
    if demo.border_cue:
        plant_border_cue(root(ingest, raw), demo.border_cue, seed)
    return root(ingest, raw)


def root(ingest: IngestConfig, raw: Path) -> Path:
    """Return the cohort's folder under `raw`."""
    return raw / "demo"


def write_cohort(root: Path, patients: int, height_px: int, signal: float, seed: int) -> None:
    """Write `patients` patients with films `height_px` high under the new or empty folder `root`.

    signal: distance between the classes' mean suspicion in SD; the suspicion itself has an AUC of
    Phi(signal / sqrt(2)): .5 at 0, .90 at 1.8. Raises ValueError for a size too small to hold every pitfall,
    and FileExistsError where `root` holds files already.
    """
    _check(root, patients, height_px, signal)
    rng = np.random.default_rng(seed)
    breasts = _plan(rng, patients, signal)
    films = [(breast, view) for breast in breasts for view in breast.views]
    described: Described = {(k, s): [] for k in _KINDS for s in _SPLITS}
    listed: list[Row] = []
    layouts = _layouts(rng, breasts)
    film_rngs = rng.spawn(len(films))
    for (breast, view), film_rng in zip(tqdm(films, desc="demo films", unit="film"), film_rngs, strict=True):
        lesions = [lesion.appearance for finding in breast.findings for lesion in finding.lesions]
        projection = _phantoms.Projection(breast.findings[0].laterality, view, height_px)
        film = _phantoms.draw_film(film_rng, breast.anatomy, projection, lesions)
        masks = zip(film.masks, layouts, strict=False)
        drawing = _View(view, breast.anatomy.density, film.pixels, masks)
        for finding in breast.findings:
            images, rows = _file_finding(film_rng, finding, drawing, seed)
            described[finding.kind, finding.split] += rows
            listed += [_write(root, image) for image in images]
    series = list(_series(listed))
    _spoil(rng, described, listed)
    _write_tables(root, described, series, listed)


def _check(root: Path, patients: int, height_px: int, signal: float) -> None:
    if patients < MIN_PATIENTS or height_px < MIN_HEIGHT_PX or not (math.isfinite(signal) and signal >= 0):
        raise ValueError(
            f"the synthetic cohort needs patients >= {MIN_PATIENTS}, height_px >= {MIN_HEIGHT_PX}, signal >= 0; "
            f"got patients={patients}, height_px={height_px}, signal={signal}"
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} is not an empty folder; delete it or name another one for the demo cohort")


def _plan(rng: np.random.Generator, patients: int, signal: float) -> list[_Breast]:
    """Draw every breast of the cohort, in the order of the patients."""
    findings = _with_lesions(rng, _findings(rng, patients), signal)
    by_breast = groupby(findings, key=lambda finding: (finding.patient_id, finding.laterality))
    grouped = [tuple(group) for _, group in by_breast]
    pairs: list[tuple[View, ...]] = _shares(rng, len(grouped), [(("CC", "MLO"), _BOTH_VIEWS_FRACTION)], ())
    densities = {group[0].patient_id: int(rng.choice(4, p=_DENSITY_SHARES)) + 1 for group in grouped}
    return [
        _Breast(
            anatomy=_phantoms.draw_anatomy(rng, densities[group[0].patient_id]),
            views=views or (("CC",), ("MLO",))[rng.integers(2)],
            findings=group,
        )
        for group, views in zip(grouped, pairs, strict=True)
    ]


def _findings(rng: np.random.Generator, patients: int) -> list[_Finding]:
    """Draw patients, sides, kinds and official splits of the findings, without lesions; by patient and side."""
    leaking = max(2, round(_LEAKING_FRACTION * patients))
    shared = max(1, round(_SHARED_FRACTION * patients))
    bilateral = round(_BILATERAL_FRACTION * patients)
    order = [f"P_{number + 1:05d}" for number in rng.permutation(patients)]
    findings: list[_Finding] = []
    # The official split leaks like this: 31 of its patients are in train with one kind and in test with the other.
    for patient_id in order[:leaking]:
        first, second = _sides(rng)
        findings.append(_Finding(patient_id, first, "mass", "Training"))
        findings.append(_Finding(patient_id, second, "calcification", "Test"))
    for patient_id in order[leaking : leaking + shared]:
        side, _ = _sides(rng)
        findings += [_Finding(patient_id, side, kind, "Training") for kind in _KINDS]
    plain = order[leaking + shared :]
    splits: list[OfficialSplit] = _shares(rng, len(plain), [("Test", _TEST_FRACTION)], "Training")
    kinds: list[Kind] = _shares(rng, len(plain), [("mass", 0.5)], "calcification")
    for index, (patient_id, split, kind) in enumerate(zip(plain, splits, kinds, strict=True)):
        sides = _sides(rng)[: 2 if index < bilateral else 1]
        findings += [_Finding(patient_id, side, kind, split) for side in sides]
    return sorted(findings, key=lambda finding: (finding.patient_id, finding.laterality))


def _sides(rng: np.random.Generator) -> tuple[Laterality, Laterality]:
    return ("LEFT", "RIGHT") if rng.random() < 0.5 else ("RIGHT", "LEFT")


def _shares(rng: np.random.Generator, count: int, shares: Sequence[tuple[T, float]], rest: T) -> list[T]:
    """Return `count` values in random order, each of exactly its share, the others `rest`."""
    values = [value for value, share in shares for _ in range(round(share * count))]
    values += [rest] * (count - len(values))
    return [values[index] for index in rng.permutation(count)]


def _with_lesions(rng: np.random.Generator, findings: list[_Finding], signal: float) -> list[_Finding]:
    """Draw the findings' lesions; each kind and split has the same share of malignant ones, equally hard."""
    labels = _labels(rng, findings)
    suspicions: dict[tuple[Kind, OfficialSplit, bool], Iterator[float]] = {
        (kind, split, malignant): iter(_suspicions(rng, count, malignant, signal))
        for (kind, split, malignant), count in _count_lesions(findings, labels).items()
    }
    return [
        replace(
            finding,
            lesions=tuple(
                _lesion(
                    rng,
                    finding.kind,
                    number,
                    _Truth(malignant, next(suspicions[finding.kind, finding.split, malignant]), signal),
                )
                for number, malignant in enumerate(finding_labels, start=1)
            ),
        )
        for finding, finding_labels in zip(findings, labels, strict=True)
    ]


def _labels(rng: np.random.Generator, findings: list[_Finding]) -> list[tuple[bool, ...]]:
    """Draw which lesions of each finding are malignant: one lesion in most, two or three in some, mixed in a few."""
    groups = [(finding.kind, finding.split) for finding in findings]
    first = {
        group: iter(_shares(rng, groups.count(group), [(True, _MALIGNANT_FRACTION)], False))
        for group in dict.fromkeys(groups)
    }
    agreeing = _shares(rng, len(findings), _NEIGHBOURS, ())
    first_labels = [next(first[group]) for group in groups]
    return [(label, *(label == same for same in others)) for label, others in zip(first_labels, agreeing, strict=True)]


def _count_lesions(
    findings: list[_Finding], labels: list[tuple[bool, ...]]
) -> Counter[tuple[Kind, OfficialSplit, bool]]:
    pairs = zip(findings, labels, strict=True)
    return Counter(
        (finding.kind, finding.split, label) for finding, finding_labels in pairs for label in finding_labels
    )


def _suspicions(rng: np.random.Generator, count: int, malignant: bool, signal: float) -> list[float]:
    """Return equally spaced quantiles of N(+-signal/2, 1) in random order, so that cohorts are equally hard."""
    normal = NormalDist(signal / 2 if malignant else -signal / 2)
    return [normal.inv_cdf((index + 0.5) / count) for index in rng.permutation(count)]


def _lesion(rng: np.random.Generator, kind: Kind, number: int, truth: _Truth) -> _Lesion:
    appearance = _phantoms.Lesion(
        kind=kind,
        suspicion=truth.suspicion,
        extent=math.exp(rng.uniform(math.log(0.065), math.log(0.185))),
        conspicuity=rng.random(),
    )
    pathology = "MALIGNANT" if truth.malignant else _benign_pathology(rng, truth.suspicion, truth.signal)
    return _Lesion(
        number=number,
        appearance=appearance,
        pathology=pathology,
        assessment=_assessment(rng, truth.suspicion),
        subtlety=1 + int(5 * appearance.conspicuity),
        descriptors=_descriptors(rng, kind, truth.suspicion, pathology),
    )


def _benign_pathology(rng: np.random.Generator, suspicion: float, signal: float) -> str:
    """Draw which benign lesions needed no biopsy: about 30 %, likelier the less suspicious."""
    harmless = rng.normal(suspicion + signal / 2) < -0.75
    return "BENIGN_WITHOUT_CALLBACK" if harmless else "BENIGN"


def _assessment(rng: np.random.Generator, suspicion: float) -> int:
    """Draw the BI-RADS category 0-5 of a reader who sees the suspicion with some error."""
    reading = rng.normal(suspicion, _READER_NOISE)
    assessment = 1 + int(np.digitize(reading, [-3.6, -1.5, -0.3, 1.5]))
    incomplete = assessment in (3, 4) and rng.random() < 0.1
    return 0 if incomplete else assessment


def _descriptors(rng: np.random.Generator, kind: Kind, suspicion: float, pathology: str) -> tuple[str, str]:
    """Draw shape and margins of a mass, type and distribution of calcifications."""
    first, second = (_MASS_SHAPES, _MASS_MARGINS) if kind == "mass" else (_CALC_TYPES, _CALC_DISTRIBUTIONS)
    # In the original a calc distribution is missing almost only where no callback was needed.
    undistributed = kind == "calcification" and pathology == "BENIGN_WITHOUT_CALLBACK"
    return _describe(rng, first, suspicion), "N/A" if undistributed else _describe(rng, second, suspicion)


def _describe(rng: np.random.Generator, words: Sequence[Sequence[str]], suspicion: float) -> str:
    choices = words[int(np.digitize(rng.normal(suspicion, _READER_NOISE), [-0.8, 0.8]))]
    return choices[int(rng.integers(len(choices)))]


def _layouts(rng: np.random.Generator, breasts: list[_Breast]) -> Iterator[_Layout]:
    """Draw one layout for every row of the cohort."""
    rows = sum(len(breast.views) * len(finding.lesions) for breast in breasts for finding in breast.findings)
    return iter(_shares(rng, rows, _LAYOUTS, _Layout()))


def _file_finding(
    rng: np.random.Generator, finding: _Finding, drawing: _View, seed: int
) -> tuple[list[_Image], list[Row]]:
    """Return the images of one finding in one view, and its CSV rows; takes the masks of its lesions."""
    name = f"{_KINDS[finding.kind]}-{finding.split}_{finding.patient_id}_{finding.laterality}_{drawing.view}"
    full = _Image(_place(rng, name, _FULL, 1, seed), _FULL, drawing.pixels)
    images, rows = [full], []
    for lesion in finding.lesions:
        mask, layout = next(drawing.masks)
        crop_place, mask_place = _lesion_places(rng, f"{name}_{lesion.number}", layout, seed)
        images += [_Image(crop_place, _CROP, _crop(drawing.pixels, mask)), _Image(mask_place, _MASK, mask)]
        crop_path, mask_path = _lesion_paths(finding.kind, layout, crop_place, mask_place)
        rows.append(
            {
                "patient_id": finding.patient_id,
                "breast_density" if finding.kind == "mass" else "breast density": drawing.density,
                "left or right breast": finding.laterality,
                "image view": drawing.view,
                "abnormality id": lesion.number,
                "abnormality type": finding.kind,
                **_descriptor_cells(finding.kind, lesion.descriptors),
                "assessment": lesion.assessment,
                "pathology": lesion.pathology,
                "subtlety": lesion.subtlety,
                "image file path": _dicom_path(full.place, 0),
                "cropped image file path": crop_path,
                "ROI mask file path": mask_path,
            }
        )
    return images, rows


def _descriptor_cells(kind: Kind, descriptors: tuple[str, str]) -> Row:
    columns = ("mass shape", "mass margins") if kind == "mass" else ("calc type", "calc distribution")
    return dict(zip(columns, descriptors, strict=True))


def _place(rng: np.random.Generator, patient_id: str, series: str, number: int, seed: int) -> _Place:
    return _Place(
        patient_id=patient_id,
        study_uid=_uid(seed, patient_id, series, "study"),
        series_uid=_uid(seed, patient_id, series, "series"),
        file_name=f"{number}-{rng.integers(300):03d}",
    )


def _lesion_places(rng: np.random.Generator, patient_id: str, layout: _Layout, seed: int) -> tuple[_Place, _Place]:
    """Draw the places of crop and mask; which of them is file 1 is random."""
    crop_number, mask_number = (1, 2) if rng.random() < 0.5 else (2, 1)
    crop = _place(rng, patient_id, _CROP if layout.separate else _MASK, crop_number, seed)
    return crop, _place(rng, patient_id, _MASK, mask_number, seed)


def _lesion_paths(kind: Kind, layout: _Layout, crop: _Place, mask: _Place) -> tuple[str, str]:
    """Return the cells of the crop and the mask column; a newline ends one of them, as in the original."""
    numbers = (0, 0) if layout.separate else (0, 1) if kind == "mass" else (1, 0)
    paths = [_dicom_path(place, number) for place, number in zip((crop, mask), numbers, strict=True)]
    if layout.swapped:
        paths.reverse()
    crop_end, mask_end = ("", "\n") if kind == "mass" else ("\n", "")
    return paths[0] + crop_end, paths[1] + mask_end


def _dicom_path(place: _Place, number: int) -> str:
    """Return the path in the official CSVs; no such file exists in the Kaggle copy."""
    return f"{place.patient_id}/{place.study_uid}/{place.series_uid}/{number:06d}.dcm"


def _uid(seed: int, *name: str) -> str:
    """Return a DICOM UID under 2.25, the root for UUIDs, which has no UID of the original."""
    digest = hashlib.sha256("/".join(("mammo demo", str(seed), *name)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _crop(film: _phantoms.Pixels, mask: _phantoms.Pixels) -> _phantoms.Pixels:
    """Crop the film around the lesion, with a margin of an eighth of its bounding box."""
    x, y, width, height = cv2.boundingRect(mask)
    margin = max(width, height) // 8
    top, left = max(0, y - margin), max(0, x - margin)
    return film[top : y + height + margin, left : x + width + margin]


def _write(root: Path, image: _Image) -> Row:
    """Write the image as JPEG and return its row of dicom_info.csv."""
    place = image.place
    relative = f"{place.series_uid}/{place.file_name}"
    path = root / "jpeg" / f"{relative}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = 95 if image.description == _MASK else 90
    path.write_bytes(cv2.imencode(".jpg", image.pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
    laterality, view = place.patient_id.split("_")[3:5]
    height, width = image.pixels.shape
    return {
        "file_path": f"{_COLLECTION}/dicom/{relative}.dcm",
        "image_path": f"{_COLLECTION}/jpeg/{relative}.jpg",
        "BitsAllocated": 8 if image.description == _CROP else 16,
        "BodyPartExamined": "BREAST",
        "Columns": width,
        "InstanceNumber": place.file_name[0],
        "Laterality": laterality[0],
        "Modality": "MG",
        "PatientID": place.patient_id,
        "PatientOrientation": view,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": height,
        "SeriesDescription": image.description,
        "SeriesInstanceUID": place.series_uid,
        "StudyInstanceUID": place.study_uid,
    }


def _spoil(rng: np.random.Generator, described: Described, listed: list[Row]) -> None:
    """Add the original's dirty cells: density 0, subtlety 0, missing descriptions."""
    rows = [row for table in described.values() for row in table]
    for column in ("density", "subtlety"):
        for index in rng.choice(len(rows), 2, replace=False):
            name = next(key for key in rows[index] if column in key)
            rows[index][name] = 0
    for index in rng.choice(len(listed), max(3, round(_UNDESCRIBED_FRACTION * len(listed))), replace=False):
        listed[index]["SeriesDescription"] = ""


def _write_tables(root: Path, described: Described, series: list[Row], listed: list[Row]) -> None:
    folder = root / "csv"
    folder.mkdir(parents=True)
    for (kind, split), rows in described.items():
        name = f"{_KINDS[kind].lower()}_case_description_{_SPLITS[split]}_set.csv"
        _write_csv(folder / name, rows, "\r\n")
    _write_csv(folder / "meta.csv", series, "\n")
    _write_csv(folder / "dicom_info.csv", listed, "\n")


def _series(listed: Iterable[Row]) -> Iterator[Row]:
    """Yield the rows of meta.csv: one per series; one that crop and mask share counts as a series of masks."""
    for uid, group in groupby(listed, key=lambda row: row["SeriesInstanceUID"]):
        files = list(group)
        yield {
            "SeriesInstanceUID": uid,
            "StudyInstanceUID": files[0]["StudyInstanceUID"],
            "Modality": "MG",
            "SeriesDescription": files[0]["SeriesDescription"] if len(files) == 1 else _MASK,
            "BodyPartExamined": "BREAST",
            "SeriesNumber": 1,
            "Collection": _COLLECTION,
            "Visibility": 1,
            "ImageCount": len(files),
        }


def _write_csv(path: Path, rows: Sequence[Row], line_end: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator=line_end)
        writer.writeheader()
        writer.writerows(rows)
