"""VinDr-Mammo: 20,000 digital mammograms of 5,000 four-view examinations in Vietnam, double-read.

Nguyen et al., Scientific Data 2023;10:277, doi 10.1038/s41597-023-02100-7; PhysioNet, doi 10.13026/br2v-7517.
Restricted access (PhysioNet): each user signs the data use agreement; the films must not be passed on.
A label is the readers' BI-RADS category, not a pathology: 4 and 5 are positive, 1 to 3 negative (the column pathology
repeats that); an image or breast has the category of its breast, a lesion its own.
Layout: images/<study>/<image>.dicom, breast-level_annotations.csv (one row per image) and finding_annotations.csv
(categories as a Python list, and a box). Only findings of category 3 and more are marked; those of skin, nipple and
lymph nodes have no type here.
No patient is published: an examination is taken as a patient.
"""

import ast
from dataclasses import dataclass, replace
from pathlib import Path

from mammo.data.datasets import OUT_OF_SCOPE, DatasetError, Located, _annotations
from mammo.data.datasets._annotations import Box, Row

BREASTS, FINDINGS = "breast-level_annotations.csv", "finding_annotations.csv"
BREAST_COLUMNS = ["study_id", "image_id", "laterality", "view_position", "breast_birads", "breast_density"]
FINDING_COLUMNS = ["image_id", "finding_categories", "finding_birads", "xmin", "ymin", "xmax", "ymax"]
CURE = "Set `root` to the folder of the PhysioNet release: images/, breast-level_ and finding_annotations.csv"
NO_FINDING = "No Finding"
CATEGORIES = {
    "Mass": "mass",
    "Suspicious Calcification": "calcification",
    "Architectural Distortion": "architectural_distortion",
    "Asymmetry": "asymmetry",
    "Focal Asymmetry": "asymmetry",
    "Global Asymmetry": "asymmetry",
}

Record = dict[str, str]


@dataclass(frozen=True)
class Image:
    """A line of the breast table. path: relative to the root; problem: why the file is unusable, or empty."""

    record: Record
    path: str
    problem: str


def locate(root: Path, unit: str, abnormality_types: list[str], workers: int) -> Located:
    """Locate the cases under `root`; raises DatasetError where the layout or a table is not as published."""
    if not (root / "images").is_dir():
        raise DatasetError(f"{root} holds no images/. {CURE}")
    images = _records(root / BREASTS, BREAST_COLUMNS)
    findings: dict[str, list[Record]] = {}
    for finding in _records(root / FINDINGS, FINDING_COLUMNS):
        findings.setdefault(finding["image_id"], []).append(finding)
    problems = _annotations.film_problems(root, sorted({_path(image) for image in images}), workers)
    rows = []
    for record in images:
        image = Image(record, _path(record), problems[_path(record)])
        rows += _film(root, image, findings.get(record["image_id"], []), unit)
    known = {image["image_id"] for image in images}
    rows += [_unlisted(image_id) for image_id, records in findings.items() if image_id not in known for _ in records]
    return _annotations.locate(rows, unit, abnormality_types, _counts(images, findings), root)


def published(abnormality_types: list[str]) -> dict[str, int]:
    """Return the counts of the whole set, whatever the types."""
    return {"images": 20_000, "examinations": 5_000, "findings with a box": 2_254}


def _records(path: Path, columns: list[str]) -> list[Record]:
    table = _annotations.read_csv(path, columns, ",", CURE)
    return [dict(zip(columns, values, strict=True)) for values in table.itertuples(index=False, name=None)]


def _path(record: Record) -> str:
    return f"images/{record['study_id']}/{record['image_id']}.dicom"


def _film(root: Path, image: Image, findings: list[Record], unit: str) -> list[Row]:
    """Return one row per finding of an image, or one for an image without."""
    marked = [finding for finding in findings if _types(finding) != [NO_FINDING]]
    if not marked:
        return [_image_row(image, image.record["breast_birads"])]
    return [_finding_row(root, image, str(number), finding, unit) for number, finding in enumerate(marked, start=1)]


def _finding_row(root: Path, image: Image, abnormality_id: str, finding: Record, unit: str) -> Row:
    """Return the row of a finding; as a lesion it is labelled by its own BI-RADS category, else by the breast's."""
    types, outline = _types(finding), _box(finding)
    box = _annotations.clip_box(root, image.path, outline) if outline and not image.problem else ""
    image = replace(image, problem=image.problem or _finding_problem(types, _has_box(finding), box))
    return replace(
        _image_row(image, finding["finding_birads"] if unit == "lesion" else image.record["breast_birads"]),
        abnormality_id=abnormality_id,
        abnormality_type=_annotations.join_types([CATEGORIES.get(name, _annotations.OTHER) for name in types]),
        box=box,
    )


def _image_row(image: Image, category: str) -> Row:
    """Return the row of an image without findings; category: the BI-RADS category that is its label."""
    record, birads = image.record, _annotations.parse_birads(category.upper().removeprefix("BI-RADS"))
    return Row(
        patient_id=f"vindr_{record['study_id']}",
        film_id=record["image_id"],
        laterality=_annotations.LATERALITIES.get(record["laterality"].upper(), record["laterality"]),
        view=_annotations.VIEWS.get(record["view_position"].upper(), record["view_position"]),
        pathology="" if birads is None else _annotations.pathology_from_birads(birads),
        breast_density=_annotations.DENSITIES.get(record["breast_density"].upper().removeprefix("DENSITY").strip()),
        birads=birads,
        image_path=image.path,
        reason=image.problem or _assessment_problem(category, birads),
    )


def _unlisted(image_id: str) -> Row:
    return Row("vindr_unknown", image_id, reason=f"{FINDINGS}: image {image_id} is not in {BREASTS}")


def _assessment_problem(text: str, birads: int | None) -> str:
    if birads is None:
        return f"unknown BI-RADS category {text!r}" if text else f"{OUT_OF_SCOPE}no BI-RADS category of its own"
    return f"{OUT_OF_SCOPE}BI-RADS 0 is no final assessment" if birads == 0 else ""


def _types(finding: Record) -> list[str]:
    """Parse `['Mass', 'Skin Thickening']`; any other text is one unknown category."""
    text = finding["finding_categories"]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return [text]
    return [str(name).strip() for name in value] if isinstance(value, list) else [str(value).strip()]


def _finding_problem(types: list[str], has_box: bool, box: str) -> str:
    if not any(types):
        return f"{FINDINGS}: a finding without a category"
    return f"{FINDINGS}: the box is empty, no number or outside the image" if has_box and not box else ""


def _has_box(finding: Record) -> bool:
    return any(finding[edge] for edge in ("xmin", "ymin", "xmax", "ymax"))


def _box(finding: Record) -> Box | None:
    try:
        top, left, bottom, right = (int(float(finding[edge])) for edge in ("ymin", "xmin", "ymax", "xmax"))
    except (ValueError, OverflowError):
        return None
    return top, left, bottom, right


def _counts(images: list[Record], findings: dict[str, list[Record]]) -> dict[str, int]:
    return {
        "images": len({image["image_id"] for image in images}),
        "examinations": len({image["study_id"] for image in images}),
        "findings with a box": sum(_has_box(finding) for records in findings.values() for finding in records),
    }
