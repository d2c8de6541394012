"""Small synthetic copies of the external data sets, each in the layout that its authors published.

A `write_*` function fills `root` and returns what it planted: the mask of each marked lesion, by film and by its number
among the film's findings.
"""

import plistlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openpyxl
import pandas as pd
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from mammo.data.sources import _phantoms
from tests.dicoms import write_dicom

HEIGHT_PX = 160
SIDES = {"L": "LEFT", "R": "RIGHT"}
VIEWS = ["CC", "MLO"]
SIDE_BY_VIEW = list(product(SIDES, VIEWS))

Mask = npt.NDArray[np.uint8]
Planted = dict[tuple[str, str], Mask]


@dataclass(frozen=True)
class Finding:
    """A lesion to draw, and whether it is malignant."""

    kind: _phantoms.Kind
    malignant: bool


class Painter:
    """Draws films one after another from one seed."""

    def __init__(self, seed: int, height_px: int = HEIGHT_PX):
        self.rng = np.random.default_rng(seed)
        self.height_px = height_px

    def film(self, side: str, view: str, findings: list[Finding]) -> _phantoms.Film:
        lesions = [
            _phantoms.Lesion(finding.kind, 2.0 if finding.malignant else -2.0, 0.16, 0.9) for finding in findings
        ]
        anatomy = _phantoms.draw_anatomy(self.rng, density=2)
        return _phantoms.draw_film(self.rng, anatomy, _phantoms.Projection(SIDES[side], view, self.height_px), lesions)


def bounds(mask: Mask) -> tuple[int, int, int, int]:
    """top, left, bottom, right of what a mask marks; bottom and right excluded."""
    rows, columns = np.nonzero(mask)
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


# mini-MIAS

MIAS = {  # film: class, severity, findings; with one normal pair, one film of two lesions and one without a circle
    1: ("CIRC", "B", [Finding("mass", malignant=False)]),
    2: ("SPIC", "M", [Finding("mass", malignant=True)]),
    3: ("NORM", "", []),
    4: ("NORM", "", []),
    5: ("CALC", "B", [Finding("calcification", malignant=False), Finding("calcification", malignant=False)]),
    6: ("CALC", "M", []),
    7: ("ARCH", "M", [Finding("mass", malignant=True)]),
    8: ("NORM", "", []),
}
UNPLACED = {6: "*NOTE 3*"}


def write_mini_mias(root: Path, patients: int = 4, seed: int = 3) -> Planted:
    """Info.txt and mdbNNN.pgm; `patients` beyond the four of MIAS repeat their films in turn."""
    painter, planted, lines = Painter(seed), {}, ["INFORMATION:", "", "1st column: MIAS database reference number."]
    for number in range(1, 2 * patients + 1):
        name, severity, findings = MIAS[(number - 1) % len(MIAS) + 1]
        stem = f"mdb{number:03d}"
        drawn = painter.film("L" if number % 2 else "R", "MLO", findings)
        film, masks = squared(drawn.pixels), [squared(mask) for mask in drawn.masks]
        write_pgm(root / f"{stem}.pgm", film)
        tissue = "FGD"[number % 3]
        circles = [" ".join(map(str, circle(mask))) for mask in masks] or [UNPLACED.get(number, "")]
        lines += [f"{stem} {tissue} {name} {severity} {place}".rstrip() for place in circles]
        planted |= {(stem, str(order)): mask for order, mask in enumerate(masks, start=1)}
    (root / "Info.txt").write_text("\r\n".join(lines) + "\r\n", encoding="latin-1")
    return planted


def squared(image: Mask) -> Mask:
    """Centred in a square, as the publishers did."""
    height, width = image.shape
    left = (height - width) // 2
    return np.pad(image, ((0, 0), (left, height - width - left)))


def circle(mask: Mask) -> tuple[int, int, int]:
    """x, y and radius of a circle around a mask; y counts from the bottom row up."""
    top, left, bottom, right = bounds(mask)
    radius = max(bottom - top, right - left) // 2 + 1
    return (left + right) // 2, mask.shape[0] - 1 - (top + bottom) // 2, radius


def write_pgm(path: Path, image: Mask) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"P5\n%d %d\n255\n" % image.shape[::-1] + image.tobytes())
    return path


# INbreast

INBREAST = {  # patient: BI-RADS by side, findings by side
    "61b13c59bcba149e": {"L": ("5", [Finding("mass", malignant=True)]), "R": ("1", [])},
    "c4b9ae4a06ecdb0a": {"L": ("2", [Finding("calcification", malignant=False)]), "R": ("4a", [])},
    "fd746d25eb40b3dc": {"L": ("3", [Finding("mass", malignant=False)]), "R": ("6", [Finding("mass", malignant=True)])},
}


def write_inbreast(root: Path, seed: int = 5) -> Planted:
    """INbreast.csv, AllDICOMs and AllXML: contours of masses, a cluster's outline, points for single grains."""
    painter, planted = Painter(seed), {}
    lines = ["Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads;Mass ;Micros"]
    films = [(patient, side, view) for patient in INBREAST for side, view in SIDE_BY_VIEW]
    for number, (patient, side, view) in enumerate(films):
        film_id, (birads, findings) = str(20586908 + number), INBREAST[patient][side]
        film = painter.film(side, view, findings)
        named = f"{film_id}_{patient}_MG_{side}_{'ML' if view == 'MLO' else view}_ANON.dcm"
        write_dicom(root / "AllDICOMs" / named, film.pixels.astype(np.uint16) * 16, BitsStored=12, HighBit=11)
        acr = number % 4 + 1 if number else "     "
        lines.append(f"removed;removed;{side};{view};201001;{film_id};{acr};{birads};;")
        if birads != "1":
            write_marks(root / "AllXML" / f"{film_id}.xml", list(regions(birads, findings, film.masks)))
        planted |= {(film_id, str(order)): mask for order, mask in enumerate(film.masks, start=1)}
    (root / "INbreast.csv").write_text("\n".join(lines) + "\n;;;;;;;;;\n", encoding="utf-8-sig")
    return planted


def regions(
    birads: str, findings: list[Finding], masks: tuple[Mask, ...]
) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Names and points of the marks of one film; all but category 3 have two single calcifications too."""
    if birads != "3":
        yield from [("Calcification", [(10.0, 12.0)]), ("Calcification", [(20.5, 30.25)])]
    for finding, mask in zip(findings, masks, strict=True):
        rows, columns = np.nonzero(mask)
        points = [(float(x), float(y)) for x, y in zip(columns, rows, strict=True)]
        yield "Mass" if finding.kind == "mass" else "Cluster", points


def write_marks(path: Path, marks: list[tuple[str, list[tuple[float, float]]]]) -> None:
    """An OsiriX property list."""
    rois = [
        {"Name": name, "NumberOfPoints": len(points), "Point_px": [f"({x:f}, {y:f})" for x, y in points]}
        for name, points in marks
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(plistlib.dumps({"Images": [{"ImageIndex": 0, "NumberOfROIs": len(rois), "ROIs": rois}]}))


# VinDr-Mammo

VINDR = {  # study: breast's BI-RADS, and categories and BI-RADS of the finding in each view
    ("48575a27b7c992427041a82fa750d3fa", "L"): ("BI-RADS 5", "['Mass']", "BI-RADS 5"),
    ("48575a27b7c992427041a82fa750d3fa", "R"): ("BI-RADS 1", "['No Finding']", ""),
    ("75e8e48933289d70b407379a564f8594", "L"): ("BI-RADS 4", "['Suspicious Calcification', 'Mass']", "BI-RADS 4"),
    ("75e8e48933289d70b407379a564f8594", "R"): ("BI-RADS 3", "['Mass']", "BI-RADS 3"),
    ("c3da8caf8e4bb7ad03cd8f9cb8dd4a7a", "L"): ("BI-RADS 4", "['Skin Thickening']", ""),
    ("c3da8caf8e4bb7ad03cd8f9cb8dd4a7a", "R"): ("BI-RADS 2", "['No Finding']", ""),
}


def write_vindr(root: Path, seed: int = 9) -> Planted:
    """images/<study>/<image>.dicom and the two tables."""
    painter, planted, breasts, findings = Painter(seed), {}, [], []
    for number, ((study, side), (birads, categories, own)) in enumerate(VINDR.items()):
        for view in VIEWS:
            found = [] if "No Finding" in categories else [Finding("mass", malignant=birads > "BI-RADS 3")]
            film, image = painter.film(side, view, found), f"{number:02d}{view.lower()}"
            write_dicom(root / "images" / study / f"{image}.dicom", film.pixels)
            shared = {
                "study_id": study,
                "series_id": f"series{study[:4]}",
                "image_id": image,
                "laterality": side,
                "view_position": view,
                "height": film.pixels.shape[0],
                "width": film.pixels.shape[1],
                "breast_birads": birads,
                "breast_density": f"DENSITY {'ABCD'[number % 4]}",
                "split": "test" if number % 2 else "training",
            }
            breasts.append(shared)
            box = dict.fromkeys(["xmin", "ymin", "xmax", "ymax"])
            for mask in film.masks:
                top, left, bottom, right = bounds(mask)
                box = {"xmin": left + 0.3, "ymin": top + 0.3, "xmax": right + 0.2, "ymax": bottom + 0.2}
                if "Skin" not in categories:
                    planted[image, "1"] = mask
            findings.append(shared | {"finding_categories": categories, "finding_birads": own} | box)
    pd.DataFrame(breasts).to_csv(root / "breast-level_annotations.csv", index=False)
    pd.DataFrame(findings).to_csv(root / "finding_annotations.csv", index=False)
    return planted


# CMMD

CMMD = {  # breast: abnormality, classification; a patient's other breast has films and no row
    ("D1-0001", "R"): ("calcification", "Benign"),
    ("D1-0002", "L"): ("mass", "Malignant"),
    ("D1-0003", "L"): ("both", "Malignant"),
    ("D1-0003", "R"): ("mass", "Benign"),
    ("D2-0001", "R"): ("mass", "Malignant"),
}
CMMD_FILMS = [*CMMD, ("D2-0001", "L")]


def write_cmmd(root: Path, seed: int = 13) -> Planted:
    """CMMD_clinicaldata_revision.xlsx and a tree of DICOM files whose names say nothing."""
    painter = Painter(seed)
    for patient, side in CMMD_FILMS:
        study = generate_uid(entropy_srcs=[patient])
        for view in VIEWS:
            _, classification = CMMD.get((patient, side), ("", ""))
            film = painter.film(side, view, [Finding("mass", malignant=classification == "Malignant")])
            file = root / "manifest" / study / f"{side}{view}.dcm"
            write_dicom(file, film.pixels, PatientID=patient, ImageLaterality=side, **view_header(view, patient))
    sheet = openpyxl.Workbook()
    sheet.active.append(["ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype"])
    for (patient, side), (abnormality, classification) in CMMD.items():
        sheet.active.append([patient, side, 44, 2, abnormality, classification, None])
    sheet.save(root / "CMMD_clinicaldata_revision.xlsx")
    return {}


def view_header(view: str, patient: str) -> dict[str, object]:
    """The view as a word (D2) or as a code (D1)."""
    if patient.startswith("D2"):
        return {"ViewPosition": view}
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = ("399162004" if view == "CC" else "399368009"), "SCT"
    code.CodeMeaning = "cranio-caudal" if view == "CC" else "medio-lateral oblique"
    return {"ViewCodeSequence": [code]}
