"""mini-MIAS: 322 digitised films of 161 women of the UK screening programme, 1024 px, MLO views only.

Suckling et al., "The Mammographic Image Analysis Society digital mammogram database", Excerpta Medica International
Congress Series 1069, 1994. Research use only, under the licence agreement that comes with the images.
A label is the severity that the publishers give each abnormality (B or M); NORM films are negative. Layout: Info.txt
and mdb001.pgm ... mdb322.pgm, anywhere below the root. A line of Info.txt is `mdb001 G CIRC B 535 425 197`: film,
tissue (F, G, D: no BI-RADS density, so that none is stated here), class, severity, then centre and radius of a circle
in px from the lower left corner, which are missing or replaced by a note where calcifications are scattered.
Film numbers are pairs of one woman, left then right: so the full-size films are named (mdb001lm, mdb002rl), although
the README of the small ones says otherwise.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from mammo.data.datasets import DatasetError, Located, _annotations, _listing
from mammo.data.datasets._annotations import Box, Row
from mammo.data.images import io

TABLE = "Info.txt"
CURE = (
    "Set `root` to the folder that holds Info.txt and the .pgm films; where a copy has the list of films in its README "
    "only, save that as Info.txt (docs/external-data.md)"
)
FILM = re.compile(r"mdb(\d{3})", re.IGNORECASE)
TISSUES = {"F", "G", "D"}
CLASSES = {
    "CALC": "calcification",
    "CIRC": "mass",
    "SPIC": "mass",
    "MISC": "mass",
    "ARCH": "architectural_distortion",
    "ASYM": "asymmetry",
    "NORM": _annotations.NONE,
}
SEVERITIES = {"B": "BENIGN", "M": "MALIGNANT"}


@dataclass(frozen=True)
class Film:
    """A film that Info.txt lists. path: relative to the root, empty where missing; problem: why it is unusable."""

    stem: str
    path: str
    problem: str


def locate(root: Path, unit: str, abnormality_types: list[str], workers: int) -> Located:
    """Locate the cases under `root`; raises DatasetError where Info.txt is missing or has no line of a film."""
    lines = _lines(root)
    listing = _listing.list_files(root, lambda path: path.suffix.lower() == ".pgm")
    files = _annotations.files_by_name(root, listing.files, lambda path: path.stem.lower())
    films = {stem: paths[0] for stem, paths in files.items()}
    named = {words[0].lower() for words in lines}
    headers = _annotations.film_problems(root, [path for stem, path in films.items() if stem in named], workers)
    problems = {stem: _annotations.ambiguity(files[stem]) or headers.get(path, "") for stem, path in films.items()}
    missing = f"is missing{listing.describe_unread()}"
    rows, counts = [], dict.fromkeys(named, 0)
    for words in lines:
        stem = words[0].lower()
        counts[stem] += 1
        film = Film(stem, films.get(stem, ""), problems.get(stem, f"{stem}.pgm {missing}"))
        rows.append(_row(root, words[1:], film, counts[stem]))
    rows += [_unlisted(stem, path) for stem, path in films.items() if stem not in named]
    return _annotations.locate(rows, unit, abnormality_types, _counts(rows), root)


def published(abnormality_types: list[str]) -> dict[str, int]:
    """Return the counts of the whole set, whatever the types."""
    return {"films": 322, "patients": 161, "rows of Info.txt": 330, "normal films": 207}


def _lines(root: Path) -> list[list[str]]:
    """Return the words of every line of Info.txt about a film; the rest of the file is an explanation."""
    listing = _listing.list_files(root, lambda path: path.name == TABLE)
    table = _listing.find_table(listing, root, f"there is no {TABLE}. {CURE}")
    text = table.read_text(encoding="latin-1")
    lines = [line.split() for line in text.splitlines()]
    about_films = [words for words in lines if len(words) > 1 and FILM.fullmatch(words[0])]
    if not about_films:
        raise DatasetError(f"{table} has no line such as `mdb001 G CIRC B 535 425 197`. {CURE}")
    return about_films


def _row(root: Path, words: list[str], film: Film, number: int) -> Row:
    """Return the row of one line of Info.txt.

    words: those after the film's name; a further line on the same film may leave the tissue out. number: of the line
    among those on the film.
    """
    words = words[1:] if words[0].upper() in TISSUES else words
    name, severity = (word.upper() for word in [*words, "", ""][:2])
    place, circle = " ".join(words[2:]), _circle(words[2:])
    problem = film.problem or _line_problem(name, severity, place, circle is not None)
    box = _annotations.clip_box(root, film.path, _box(root, film.path, *circle)) if circle and not problem else ""
    if circle and not problem and not box:
        problem = f"{TABLE}: the circle {place} lies outside the film"
    kind = CLASSES.get(name, _annotations.OTHER)
    return Row(
        patient_id=_patient(film.stem),
        film_id=film.stem,
        laterality=_laterality(film.stem),
        view="MLO",
        abnormality_id="0" if kind == _annotations.NONE else str(number),
        abnormality_type=kind,
        pathology="NORMAL" if kind == _annotations.NONE else SEVERITIES.get(severity, ""),
        image_path=film.path,
        box=box,
        reason=problem,
    )


def _line_problem(name: str, severity: str, place: str, is_circle: bool) -> str:
    if name not in CLASSES:
        return f"{TABLE}: unknown class {name!r} (valid: {', '.join(CLASSES)})"
    if CLASSES[name] != _annotations.NONE and severity not in SEVERITIES:
        return f"{TABLE}: unknown severity {severity!r} (valid: {', '.join(SEVERITIES)})"
    if place and not is_circle and "NOTE" not in place.upper():
        return f"{TABLE}: {place!r} is no circle (three numbers)"
    return ""


def _unlisted(stem: str, path: str) -> Row:
    if not FILM.fullmatch(stem):
        return Row("mini_mias", stem, reason=f"{path} is no film of mini-MIAS (mdb001.pgm ... mdb322.pgm)")
    return Row(_patient(stem), stem, _laterality(stem), "MLO", reason=f"{path} has no line in {TABLE}")


def _patient(stem: str) -> str:
    """Return the patient of a film: mdb001 and mdb002 are patient 1."""
    return f"mini_mias_{(int(stem[3:]) + 1) // 2:03d}"


def _laterality(stem: str) -> str:
    return "LEFT" if int(stem[3:]) % 2 else "RIGHT"


def _circle(words: list[str]) -> tuple[int, int, int] | None:
    """Return x, y and radius, or None where they are missing, as in `*NOTE 3*`."""
    numbers = [int(word) for word in words[:3] if word.isdecimal()]
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None


def _box(root: Path, path: str, x: int, y: int, radius: int) -> Box:
    row = io.read_shape(root / path)[0] - 1 - y
    return row - radius, x - radius, row + radius + 1, x + radius + 1


def _counts(rows: list[Row]) -> dict[str, int]:
    listed = [row for row in rows if row.image_path]
    return {
        "films": len({row.film_id for row in listed}),
        "patients": len({row.patient_id for row in listed}),
        "rows of Info.txt": len(listed),
        "normal films": len({row.film_id for row in listed if row.abnormality_type == _annotations.NONE}),
    }
