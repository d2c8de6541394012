"""From published rows to cases, for the data sets on which finished models are evaluated and none is trained.

A row is one finding in one film, or a film without findings. All rows have official_split "test", and a patient's name
starts with the data set's, so that no two data sets share a patient.
"""

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from mammo.core.parallel import parallel_map
from mammo.core.schemas import BIRADS_ORDER, BOX_PREFIX, KEY, PATH_SEPARATOR, TYPES, VIEW_SEPARATOR
from mammo.data.datasets import OUT_OF_SCOPE, DatasetError, Located, _listing
from mammo.data.datasets._repeats import DUPLICATE, find_repeats
from mammo.data.images import dicom, io

NONE = "none"  # type of a film without findings
OTHER = "other"  # type of a finding that schemas.TYPES does not name: no parameter selects it
CONTRADICTION = "another row describes the same finding differently"
# CBIS-DDSM counts both among its masses (mass shape ARCHITECTURAL_DISTORTION, ASYMMETRIC_BREAST_TISSUE ...).
OF_MASSES = ("architectural_distortion", "asymmetry")
PATHOLOGIES = ["NORMAL", "BENIGN", "MALIGNANT"]
LATERALITIES = {"L": "LEFT", "LEFT": "LEFT", "R": "RIGHT", "RIGHT": "RIGHT"}
VIEWS = {"CC": "CC", "MLO": "MLO", "ML": "MLO"}
DENSITIES = {"A": 1, "B": 2, "C": 3, "D": 4}
SUSPICIOUS = 4  # this BI-RADS category or a higher one is the positive class of data without pathology
FILM = ["patient_id", "laterality", "view", "film_id"]
BREAST = ["patient_id", "exam", "laterality"]
WHOLE_NUMBER = r"^(\d+)\.0+$"
BIRADS_CATEGORY = re.compile(r"([0-6])[a-c]?(?:\.0+)?", re.IGNORECASE)  # 4a, 4b and 4c are 4
NUMBERS = {"breast_density": "Int64", "birads": "Int64", "subtlety": "Int64", "label": "int64"}

Box = tuple[int, int, int, int]  # top, left, bottom, right in px of the film; bottom and right excluded


@dataclass(frozen=True)
class Row:
    """One finding in one film, or a film without findings.

    film_id: tells films of one view apart. exam: the visit, where a patient has several. abnormality_type: of
    schemas.TYPES, several joined by "+", or OTHER. pathology: of PATHOLOGIES, or empty where it is unknown. box: as in
    mask_path of schemas.CASES, or empty where the place is not marked. reason: why the row is unusable, or empty.
    """

    patient_id: str
    film_id: str
    laterality: str = ""
    view: str = ""
    exam: str = ""
    abnormality_id: str = "0"
    abnormality_type: str = NONE
    pathology: str = ""
    breast_density: int | None = None
    birads: int | None = None
    image_path: str = ""
    box: str = ""
    reason: str = ""


def locate(rows: list[Row], unit: str, abnormality_types: list[str], counts: dict[str, int], where: Path) -> Located:
    """Return the cases of one unit, and all other rows with their reasons.

    A lesion is a marked finding of these types. An image or a breast is a sample if it has a finding of these
    types, or none at all: normal films are the benign class of a screening population. Its label counts all its
    findings. An image with an unusable row is left out whole; a breast then rests on its other view.
    Raises DatasetError where nothing is usable.
    """
    table = pd.DataFrame([asdict(row) for row in rows], columns=list(Row.__dataclass_fields__))
    table = table.assign(subtlety=None, official_split="test", label=(table["pathology"] == "MALIGNANT"))
    table = table.astype(NUMBERS)
    table["reason"] = table["reason"].mask(table["reason"] == "", _bad_values(table))
    cases = _lesions(table, abnormality_types) if unit == "lesion" else _groups(table, unit, abnormality_types)
    if cases.empty:
        first = table["reason"].iloc[0] if len(table) else "there are none"
        raise DatasetError(f"{where}: none of the {len(table)} rows is a usable {unit}; first reason: {first}")
    excluded = table.loc[table["reason"] != "", [*KEY, "official_split", "reason", "image_path"]]
    films = {path for paths in cases["image_path"] for path in paths.split(VIEW_SEPARATOR)}
    return Located(cases, excluded.replace("", None), sorted(films), counts)


def film_problems(root: Path, paths: list[str], workers: int) -> dict[str, str]:
    """Return `film_problem` of every path, by path."""
    problems = parallel_map(lambda path: film_problem(root, path), paths, workers, "reading headers")
    return dict(zip(paths, problems, strict=True))


def files_by_name(root: Path, paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, list[str]]:
    """Return the paths, relative to root and sorted, by the film that their names say they are."""
    named: dict[str, list[str]] = {}
    for path in sorted(paths):
        named.setdefault(name(path), []).append(path.relative_to(root).as_posix())
    return named


def ambiguity(paths: list[str]) -> str:
    """Return why a film of several files is unusable, or an empty text: nothing says which one is meant."""
    return f"{len(paths)} files have this film's name: {', '.join(paths)}; keep one" if len(paths) > 1 else ""


def film_problem(root: Path, path: str) -> str:
    """Return why a film (relative to root) is unusable by its header, missing or unreadable, or an empty text."""
    if _listing.is_missing(root / path):
        return f"{path} is missing"
    try:
        io.read_shape(root / path)
    except dicom.PixelError as error:
        return str(error).replace(f"{root}/", "")
    return ""


def clip_box(root: Path, path: str, box: Box) -> str:
    """Clip `box` at the film's edges and return it as an entry of mask_path; empty where it lies off the film."""
    height, width = io.read_shape(root / path)
    top, left = max(0, box[0]), max(0, box[1])
    bottom, right = min(height, box[2]), min(width, box[3])
    return f"{BOX_PREFIX}{top},{left},{bottom},{right}" if top < bottom and left < right else ""


def parse_birads(text: str) -> int | None:
    """Return the BI-RADS category 4 for `4`, `4a` to `4c` and `4.0`; None for any other text, such as 99."""
    category = BIRADS_CATEGORY.fullmatch(text.strip())
    return int(category[1]) if category else None


def pathology_from_birads(birads: int) -> str:
    """Return the pathology that stands for a reader's BI-RADS category; empty for 0 (incomplete)."""
    if birads == 0:
        return ""
    return "MALIGNANT" if birads >= SUSPICIOUS else "NORMAL" if birads == 1 else "BENIGN"


def join_types(types: list[str]) -> str:
    """Join types to one text, in the order of schemas.TYPES; OTHER and NONE stand only alone."""
    named = [name for name in TYPES if name in types and name != NONE]
    return "+".join(named) if named else OTHER if OTHER in types else NONE


def read_csv(path: Path, columns: list[str], separator: str, cure: str) -> pd.DataFrame:
    """Read the columns as stripped text; raises DatasetError with the cure for a missing file or column."""
    if not path.is_file():
        raise DatasetError(f"{path} does not exist. {cure}")
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} is not a CSV table: {error}. {cure}") from error
    return select_columns(table, columns, path, cure)


def select_columns(table: pd.DataFrame, columns: list[str], path: Path, cure: str) -> pd.DataFrame:
    """Return `columns` as stripped text, ignoring blanks around a name; raises DatasetError for a missing one.

    A spreadsheet writes the number 58 as 58.0: a whole number becomes 58 again.
    """
    table = table.rename(columns=lambda name: str(name).strip())
    missing = [name for name in columns if name not in table]
    if missing:
        present = ", ".join(table.columns)
        raise DatasetError(f"{path}: column(s) {', '.join(missing)} missing; it has: {present}. {cure}")
    cells = {name: table[name].astype(str).str.strip() for name in columns}
    return pd.DataFrame({name: text.str.replace(WHOLE_NUMBER, r"\1", regex=True) for name, text in cells.items()})


def _bad_values(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return the reason why a row's values make it unusable, or an empty text."""
    reasons = pd.Series("", index=rows.index, dtype=object)
    for column, valid in (
        ("pathology", PATHOLOGIES),
        ("view", list(VIEWS.values())),
        ("laterality", ["LEFT", "RIGHT"]),
    ):
        bad = ~rows[column].isin(valid)
        reasons[bad] = f"unknown {column} " + rows.loc[bad, column].map(repr)
    reasons[rows["birads"].notna() & ~rows["birads"].isin(BIRADS_ORDER)] = "unknown BI-RADS category (valid: 0 to 6)"
    separated = rows["image_path"].str.contains(f"[{PATH_SEPARATOR}{VIEW_SEPARATOR}]", regex=True)
    reasons[separated] = f"its path has {PATH_SEPARATOR} or {VIEW_SEPARATOR}, which separate paths: rename the folder"
    reasons[~rows["patient_id"].str.fullmatch(r"\S+")] = "the patient has no name, or one with blanks"
    repeated = _repeated(rows)
    return reasons.mask(repeated != "", repeated)


def _repeated(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return the reason of findings that are repeated, by their own number or by their place."""
    values = rows.drop(columns="reason")
    placed = values[values["box"] != ""].drop(columns="abnormality_id")
    reasons = pd.Series("", index=rows.index, dtype=object)
    for findings, key in ((values, [*FILM, "abnormality_id"]), (placed, [*FILM, "abnormality_type", "box"])):
        found = find_repeats(findings, key, CONTRADICTION)
        reasons.update(found[found != ""])
    return reasons


def _is_in_scope(types: "pd.Series[str]", selected: list[str]) -> "pd.Series[bool]":
    """Return which rows have one of the selected types; OF_MASSES are selected with the masses."""
    scope = {*selected, *(OF_MASSES if "mass" in selected else ())}
    return types.map(lambda names: bool(set(names.split("+")) & scope))


def _lesions(table: pd.DataFrame, selected: list[str]) -> pd.DataFrame:
    """Return one case per marked finding of the selected types; write the reason of all other rows of `table`."""
    usable = table["reason"] == ""
    outside = usable & ~_is_in_scope(table["abnormality_type"], selected)
    table.loc[outside, "reason"] = (
        f"{OUT_OF_SCOPE}type " + table.loc[outside, "abnormality_type"] + f", asked for: {', '.join(selected)}"
    )
    table.loc[usable & ~outside & (table["box"] == ""), "reason"] = f"{OUT_OF_SCOPE}no lesion: its place is not marked"
    good = table[table["reason"] == ""]
    names = good[[*FILM, "abnormality_id"]].agg("_".join, axis=1)
    cases = good.assign(sample_id=names, mask_path=good["box"])
    return cases.drop(columns=["film_id", "exam", "box", "reason"]).reset_index(drop=True)


def _groups(table: pd.DataFrame, unit: str, selected: list[str]) -> pd.DataFrame:
    """Return one case per film or breast; write the reason of the rows of `table` that are in none."""
    _spread_reasons(table, FILM, "another finding of this film: ")
    if unit == "breast":
        _exclude_repeated_views(table)
        unknown = table["pathology"].isin(PATHOLOGIES).groupby([table[column] for column in BREAST]).transform("all")
        table.loc[(table["reason"] == "") & ~unknown, "reason"] = "the label of this breast's other film is unknown"
    key = FILM if unit == "image" else BREAST
    types = table.groupby(key)["abnormality_type"].transform(_types_of)
    outside = (table["reason"] == "") & ~_is_in_scope(types, [*selected, NONE])
    table.loc[outside, "reason"] = f"{OUT_OF_SCOPE}type " + types[outside] + f", asked for: {', '.join(selected)}"
    whole = table.assign(
        label=table.groupby(key)["label"].transform("max"),
        birads=table.groupby(key)["birads"].transform(_most_suspicious),
        pathology=table.groupby(key)["pathology"].transform(_worst),
        types=types,
    )
    name = _film_name if unit == "image" else _breast_name
    samples = [_sample(rows, name) for _, rows in whole[whole["reason"] == ""].groupby(key, sort=True)]
    return pd.DataFrame(samples).astype(NUMBERS) if samples else pd.DataFrame()


def _spread_reasons(table: pd.DataFrame, key: list[str], because: str) -> None:
    """Copy the reason of a film's first unusable row to its usable rows; a duplicate affects no other row."""
    first = table[~table["reason"].isin(["", DUPLICATE])].groupby(key)["reason"].first().rename("elsewhere")
    elsewhere = table.join(first, on=key)["elsewhere"]
    table["reason"] = table["reason"].mask((table["reason"] == "") & elsewhere.notna(), because + elsewhere)


def _exclude_repeated_views(table: pd.DataFrame) -> None:
    """Exclude all films of a view but the first usable one: a breast has one film per view."""
    good = table[table["reason"] == ""]
    first = good.groupby([*BREAST, "view"])["film_id"].transform("first")
    repeated = good.index[good["film_id"] != first]
    table.loc[repeated, "reason"] = f"{OUT_OF_SCOPE}another film of this view of the breast is used"


def _types_of(types: "pd.Series[str]") -> str:
    return join_types([name for names in types for name in names.split("+")])


def _worst(pathologies: "pd.Series[str]") -> str:
    return max((name for name in pathologies if name in PATHOLOGIES), key=PATHOLOGIES.index, default="")


def _most_suspicious(birads: "pd.Series[int]") -> object:
    return max((category for category in birads.dropna()), key=_suspicion, default=pd.NA)


def _suspicion(birads: int) -> int:
    return BIRADS_ORDER.index(birads) if birads in BIRADS_ORDER else -1


def _film_name(first: pd.Series) -> list[str]:
    return [first[column] for column in FILM]


def _breast_name(first: pd.Series) -> list[str]:
    return [name for name in (first["patient_id"], first["exam"], first["laterality"]) if name]


def _sample(rows: pd.DataFrame, name: Callable[[pd.Series], list[str]]) -> dict[Hashable, object]:
    """Return the case of one film, or of the films of one breast, CC before MLO."""
    films = [film for _, film in rows.groupby("view", sort=True)]
    first = films[0].iloc[0]
    return {
        **first[["patient_id", "laterality", "pathology", "label", "birads"]].to_dict(),
        "abnormality_type": first["types"],
        "sample_id": "_".join(name(first)),
        "view": VIEW_SEPARATOR.join(film["view"].iloc[0] for film in films),
        "abnormality_id": PATH_SEPARATOR.join(number for film in films for number in film["abnormality_id"]),
        "breast_density": rows["breast_density"].max(),
        "subtlety": pd.NA,
        "official_split": "test",
        "image_path": VIEW_SEPARATOR.join(film["image_path"].iloc[0] for film in films),
        "mask_path": _masks(films),
    }


def _masks(films: list[pd.DataFrame]) -> str | None:
    groups = [PATH_SEPARATOR.join(box for box in film["box"] if box) for film in films]
    return VIEW_SEPARATOR.join(groups) if any(groups) else None
