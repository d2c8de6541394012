"""What the tables say about the data that were taken in: counts, prevalence, sizes, gaps, as tables of their own.

`summarise` computes all of it once; nothing here reads a file or draws. A sample may hold several abnormalities
(separated by tables.PATH_SEPARATOR) and, where it is a breast, two films (tables.VIEW_SEPARATOR). What cannot be
estimated is nan; a table without rows says that there was nothing to count.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.schemas import BOX_PREFIX, KEY, PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.metrics import auc_tests, bootstrap

SPLITS = ("train", "val", "test")
ALL = "all"
DEVELOPMENT = ("train", "val")
GRADES = ("breast_density", "birads", "subtlety")
VARIABLES = ("abnormality_type", "view", "laterality", *GRADES)
MISSING = "empty"
NO_ABNORMALITY = "none"  # the abnormality_type of a normal film
PATHOLOGIES = ("NORMAL", "BENIGN_WITHOUT_CALLBACK", "BENIGN", "MALIGNANT")
CLASSES = ("benign", "malignant")
BREAST = ["patient_id", "laterality"]
VIEW = [*BREAST, "view"]
FILM_MEASURES = ["height_px", "width_px", "aspect", "megabytes"]
BOTH_VIEWS = "CC and MLO"
QUANTILES = {"min": 0.0, "q25": 0.25, "median": 0.5, "q75": 0.75, "max": 1.0}
LEVELS = 256  # of the intensity histogram, whatever the depth of the pixels
# A path, a file name or an identifier inside a reason: what differs from row to row where the reason is the same.
PARTICULAR = re.compile(r"\S*(?:/|\d{4,}|\w\.[A-Za-z]{2,4}\b)\S*")


@dataclass(frozen=True)
class DataTables:
    """What a summary rests on: tables.CASES, SPLITS, EXCLUDED, EXCLUDED, MANIFEST, and what later stages added.

    sizes: tables.SIZES; histograms: `intensities`; leak_audit: leaks.audit. None where there is no such file.
    published_rows: how many rows the data set's own tables hold; None takes the rows that were found again.
    """

    cases: pd.DataFrame
    splits: pd.DataFrame
    excluded: pd.DataFrame
    dropped: pd.DataFrame
    manifest: pd.DataFrame
    sizes: pd.DataFrame | None = None
    histograms: pd.DataFrame | None = None
    leak_audit: Mapping[str, Any] | None = None
    published_rows: int | None = None


@dataclass(frozen=True)
class Flow:
    """From the published rows to the samples of each split; `patients` by split."""

    published_rows: int
    excluded_rows: int
    used_rows: int
    samples: int
    dropped_samples: int
    split_samples: Mapping[str, int]
    patients: Mapping[str, int]

    @property
    def adds_up(self) -> bool:
        """Whether no row and no sample is lost or counted twice."""
        rows = self.published_rows == self.excluded_rows + self.used_rows
        return rows and self.samples == self.dropped_samples + sum(self.split_samples.values())


@dataclass(frozen=True)
class DataSummary:
    """Everything that a data report shows, one table each; the functions of the same names say what is in them."""

    flow: Flow
    counts: pd.DataFrame
    prevalence: pd.DataFrame
    shift: pd.DataFrame
    shortcuts: pd.DataFrame
    pathology: pd.DataFrame
    abnormalities_per: pd.DataFrame
    views_per_breast: pd.DataFrame
    mixed_labels: pd.DataFrame
    films: pd.DataFrame
    film_sizes: pd.DataFrame
    lesions: pd.DataFrame
    lesion_sizes: pd.DataFrame
    histograms: pd.DataFrame
    intensity: pd.DataFrame
    metadata: pd.DataFrame
    excluded: pd.DataFrame
    dropped: pd.DataFrame
    leak_checks: pd.DataFrame
    leaks: int | None
    same_film_bits: int | None
    folds: pd.DataFrame
    files: int
    bytes: int


def summarise(given: DataTables, *, confidence: float, resamples: int, seed: int) -> DataSummary:
    """All tables of the report; intervals are resampled by patient (statistics.call_intervals)."""
    used = of_splits(given.cases, given.splits)
    shares = prevalence(used, confidence, resamples, seed)
    films = film_table(used, given.manifest)
    lesions = lesion_table(used, given.sizes)
    histograms = pd.DataFrame(columns=["split", "level", "pixels"]) if given.histograms is None else given.histograms
    return DataSummary(
        flow=flow(given),
        counts=counts(used),
        prevalence=shares,
        shift=shift(used, confidence, resamples, seed),
        shortcuts=shortcuts(used, films, lesions, confidence),
        pathology=pathology(used),
        abnormalities_per=abnormalities_per(used),
        views_per_breast=views_per_breast(used),
        mixed_labels=mixed_labels(used),
        films=films,
        film_sizes=quantiles(films, ["split"], FILM_MEASURES),
        lesions=lesions,
        lesion_sizes=quantiles(lesions, ["split", "class"], ["lesion_share"]),
        histograms=histograms,
        intensity=intensity(histograms),
        metadata=metadata(used),
        excluded=reasons(given.excluded),
        dropped=reasons(given.dropped),
        leak_checks=leak_checks(given.leak_audit),
        leaks=None if given.leak_audit is None else int(given.leak_audit["leaks"]),
        same_film_bits=None if given.leak_audit is None else given.leak_audit.get("max_distance"),
        folds=folds(used),
        files=len(given.manifest),
        bytes=int(given.manifest["bytes"].sum()),
    )


def of_splits(cases: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """The cases of the splits, with `split`, `fold` and `class`; the dropped ones are not among them.

    cases: tables.CASES, splits: tables.SPLITS.
    """
    used = cases.merge(splits, on=["sample_id", "patient_id"], validate="one_to_one")
    return used.assign(**{"class": np.where(used["label"] == 1, CLASSES[1], CLASSES[0])})


def published_rows(cases: pd.DataFrame) -> "pd.Series[int]":
    """How many published rows each sample holds: one per abnormality in one film."""
    return cases["abnormality_id"].str.count(f"[{PATH_SEPARATOR}{VIEW_SEPARATOR}]") + 1


def abnormalities(cases: pd.DataFrame) -> "pd.Series[int]":
    """How many abnormalities each sample shows; one that is seen in two views counts twice."""
    return published_rows(cases).where(cases["abnormality_type"] != NO_ABNORMALITY, 0)


def films_of(cases: pd.DataFrame) -> pd.DataFrame:
    """The samples with one row per film: `view` and `image_path` are those of the film alone."""
    apart = {name: cases[name].str.split(VIEW_SEPARATOR, regex=False) for name in ("view", "image_path")}
    return cases.assign(**apart).explode(["view", "image_path"], ignore_index=True)


def flow(given: DataTables) -> Flow:
    """How many published rows became samples, and where the samples went."""
    kept = int(published_rows(given.cases).sum())
    of_split = given.splits.groupby("split")
    return Flow(
        published_rows=kept + len(given.excluded) if given.published_rows is None else given.published_rows,
        excluded_rows=len(given.excluded),
        used_rows=kept,
        samples=len(given.cases),
        dropped_samples=len(given.dropped),
        split_samples={name: int(count) for name, count in _by_split(of_split.size()).items()},
        patients={name: int(count) for name, count in _by_split(of_split["patient_id"].nunique()).items()},
    )


def _by_split(values: "pd.Series[Any]") -> dict[str, Any]:
    return {name: values.get(name, 0) for name in SPLITS}


def counts(used: pd.DataFrame) -> pd.DataFrame:
    """Per split and over all: samples, patients, breasts, views, films, abnormalities, benign, malignant."""
    return pd.DataFrame([{"split": name, **_counts(rows)} for name, rows in _splits_and_all(used)])


def counts_of(table: pd.DataFrame, split: str) -> dict[str, int]:
    """The row of a split, or of `all`, in a table of counts by split."""
    row = table[table["split"] == split].drop(columns="split").iloc[0]
    return {str(name): int(count) for name, count in row.items()}


def _splits_and_all(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [*((name, rows[rows["split"] == name]) for name in SPLITS), (ALL, rows)]


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    films = films_of(rows)
    malignant = int(rows["label"].sum())
    return {
        "samples": len(rows),
        "patients": rows["patient_id"].nunique(),
        "breasts": _distinct(rows, BREAST),
        "views": _distinct(films, VIEW),
        "films": films["image_path"].nunique(),
        "abnormalities": int(abnormalities(rows).sum()),
        "benign": len(rows) - malignant,
        "malignant": malignant,
    }


def _distinct(rows: pd.DataFrame, columns: list[str]) -> int:
    return len(rows[columns].drop_duplicates())


def pathology(used: pd.DataFrame) -> pd.DataFrame:
    """Samples per split, abnormality_type and pathology: `n`; combinations that do not occur have no row."""
    keys = ["split", "abnormality_type", "pathology"]
    counted = used.groupby(keys, observed=True).size().reset_index(name="n")
    order = {name: place for place, name in enumerate([*SPLITS, *PATHOLOGIES])}
    return counted.sort_values(keys, key=lambda column: column.map(order).fillna(0), kind="stable", ignore_index=True)


def abnormalities_per(used: pd.DataFrame) -> pd.DataFrame:
    """How many units (film, breast, patient) show how many abnormalities: level, abnormalities, units.

    The level `film` is left out where a sample is a breast: the table does not say which film shows what.
    """
    levels = {"breast": BREAST, "patient": ["patient_id"]}
    if not used["view"].str.contains(VIEW_SEPARATOR, regex=False).any():
        levels = {"film": ["image_path"], **levels}
    shown = used.assign(abnormalities=abnormalities(used))
    parts = [
        shown.groupby(columns)["abnormalities"].sum().value_counts().sort_index().rename("units").reset_index()
        for columns in levels.values()
    ]
    return pd.concat([part.assign(level=name) for name, part in zip(levels, parts, strict=True)], ignore_index=True)[
        ["level", "abnormalities", "units"]
    ]


def views_per_breast(used: pd.DataFrame) -> pd.DataFrame:
    """Breasts per split by the views there are of them: split, CC and MLO, CC alone, MLO alone."""
    views = films_of(used).groupby(["split", *BREAST])["view"].agg(lambda seen: " ".join(sorted(set(seen))))
    named = views.map({"CC MLO": BOTH_VIEWS, "CC": "CC alone", "MLO": "MLO alone"}).reset_index()
    rows = [
        {"split": name, **{kind: int((own["view"] == kind).sum()) for kind in (BOTH_VIEWS, "CC alone", "MLO alone")}}
        for name, own in _splits_and_all(named)
    ]
    return pd.DataFrame(rows)


def mixed_labels(used: pd.DataFrame) -> pd.DataFrame:
    """Views, breasts and patients that hold benign as well as malignant samples: level, mixed, units."""
    rows = []
    for level, columns in {"view": VIEW, "breast": BREAST, "patient": ["patient_id"]}.items():
        classes = used.groupby(columns)["label"].nunique()
        rows.append({"level": level, "mixed": int((classes > 1).sum()), "units": len(classes)})
    return pd.DataFrame(rows)


def folds(used: pd.DataFrame) -> pd.DataFrame:
    """Per fold: patients, samples, benign, malignant, share_malignant, and the samples of each abnormality type."""
    training = used[used["fold"].notna()]
    types = sorted(training["abnormality_type"].unique())
    rows = [
        {
            "fold": fold,
            "patients": rows["patient_id"].nunique(),
            "samples": len(rows),
            "benign": int((rows["label"] == 0).sum()),
            "malignant": int(rows["label"].sum()),
            "share_malignant": float(rows["label"].mean()),
            **{kind: int((rows["abnormality_type"] == kind).sum()) for kind in types},
        }
        for fold, rows in training.groupby("fold")
    ]
    return pd.DataFrame(rows)


def prevalence(used: pd.DataFrame, confidence: float, resamples: int, seed: int) -> pd.DataFrame:
    """Share of malignant samples by variable, value and split: n, n_patients, n_malignant, prevalence, low, high.

    The variable `all` has one value, `all`; a variable that is the same for all samples is left out.
    """
    rows = []
    for variable in (ALL, *VARIABLES):
        values = pd.Series(ALL, used.index) if variable == ALL else values_of(used, variable)
        if variable != ALL and values.nunique() < 2:
            continue
        for value in sorted(values.unique(), key=lambda one: (one == MISSING, one)):
            for split in SPLITS:
                own = used[(values == value) & (used["split"] == split)]
                share = _share(own, confidence, resamples, seed)
                rows.append({"variable": variable, "value": value, "split": split, **share})
    return pd.DataFrame(rows)


def values_of(rows: pd.DataFrame, variable: str) -> "pd.Series[str]":
    """The values of a column as text, `empty` where there is none."""
    column = rows[variable]
    return column.astype("string").fillna(MISSING).astype(str)


def _share(rows: pd.DataFrame, confidence: float, resamples: int, seed: int) -> dict[str, float]:
    """The malignant share of the rows: to call everything malignant is right as often as a sample is malignant."""
    named = {"n": len(rows), "n_patients": rows["patient_id"].nunique(), "n_malignant": int(rows["label"].sum())}
    if rows.empty:
        return {**named, "prevalence": np.nan, "low": np.nan, "high": np.nan}
    found = bootstrap.call_intervals(
        rows["label"],
        np.ones(len(rows), int),
        rows["patient_id"].to_numpy(str),
        resamples=resamples,
        seed=seed,
        confidence=confidence,
    )["accuracy"]
    return {**named, "prevalence": found.value, "low": found.low, "high": found.high}


def shift(used: pd.DataFrame, confidence: float, resamples: int, seed: int) -> pd.DataFrame:
    """Malignant share of the training patients (train and val) and of test, over all and by abnormality type.

    Columns: group, training, test, difference (test minus training), low, high. The limits combine those of the two
    shares, whose patients differ (Zou & Donner, Stat Med 2008).
    """
    types = sorted(used["abnormality_type"].unique())
    groups = {ALL: used} | ({kind: used[used["abnormality_type"] == kind] for kind in types} if len(types) > 1 else {})
    rows = []
    for name, own in groups.items():
        training = own[own["split"].isin(DEVELOPMENT)]
        test = own[own["split"] == "test"]
        shares = [_share(part, confidence, resamples, seed) for part in (training, test)]
        rows.append({"group": name, **difference(*shares)})
    return pd.DataFrame(rows)


def difference(training: Mapping[str, float], test: Mapping[str, float]) -> dict[str, float]:
    """Test minus training of two independent shares with their limits (method of variance estimates recovery)."""
    value = test["prevalence"] - training["prevalence"]
    below = np.hypot(test["prevalence"] - test["low"], training["high"] - training["prevalence"])
    above = np.hypot(test["high"] - test["prevalence"], training["prevalence"] - training["low"])
    return {
        "training": training["prevalence"],
        "test": test["prevalence"],
        "difference": value,
        "low": float(value - below),
        "high": float(value + above),
    }


def shortcuts(used: pd.DataFrame, films: pd.DataFrame, lesions: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """How well one number tells the label apart, without the image: number, n, n_patients, auc, low, high.

    On train and val, so that nothing is learned about test. Above .5: larger where malignant. A number that is the
    same for all samples is left out; BI-RADS is the reader's answer, not a shortcut. Intervals: DeLong by patient.
    """
    training = used[used["split"].isin(DEVELOPMENT)]
    of_films = films_of(training)[["sample_id", "image_path"]].merge(
        films.drop_duplicates("image_path"), on="image_path"
    )
    of_sample = of_films.groupby("sample_id")[FILM_MEASURES].mean()
    graded = training.set_index("sample_id")[["breast_density", "subtlety"]].replace(0, pd.NA).astype("Float64")
    lesion = lesions.set_index("sample_id")["lesion_share"]
    numbers = graded.join(of_sample).join(lesion).astype("float64").reindex(training["sample_id"])
    rows = []
    for name in numbers.columns:
        known = numbers[name].notna().to_numpy()
        if numbers[name].nunique() < 2:
            continue
        own = training[known]
        found = auc_tests.delong_interval(
            own["label"], numbers[name][known], own["patient_id"].to_numpy(str), confidence=confidence
        )
        rows.append(
            {
                "number": str(name),
                "n": found.n,
                "n_patients": found.n_patients,
                "auc": found.value,
                "low": found.low,
                "high": found.high,
            }
        )
    return pd.DataFrame(rows, columns=["number", "n", "n_patients", "auc", "low", "high"])


def film_table(used: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """One row per film and split: split, image_path, height_px, width_px, aspect (height / width), megabytes."""
    films = films_of(used)[["split", "image_path"]].drop_duplicates()
    sizes = manifest[["path", "height_px", "width_px", "bytes"]]
    found = films.merge(sizes, left_on="image_path", right_on="path").drop(columns="path")
    return found.assign(aspect=found["height_px"] / found["width_px"], megabytes=found["bytes"] / 1e6)


def lesion_table(used: pd.DataFrame, sizes: pd.DataFrame | None) -> pd.DataFrame:
    """One row per sample with a marked lesion: sample_id, split, class, lesion_share (of the pixels of its films)."""
    columns = ["sample_id", "split", "class", "lesion_share"]
    if sizes is None:
        return pd.DataFrame(columns=columns)
    found = used.merge(sizes, on="sample_id", validate="one_to_one")
    return found.loc[found["lesion_share"] > 0, columns].reset_index(drop=True)


def quantiles(rows: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """`by`, measure, n and QUANTILES of each column in each group, in the order of the splits."""
    parts = [
        {**dict(zip(by, key, strict=True)), "measure": column, "n": len(own)}
        | {name: float(own[column].quantile(level)) for name, level in QUANTILES.items()}
        for key, own in sorted(rows.groupby(by), key=lambda part: (SPLITS.index(part[0][0]), part[0][1:]))
        for column in columns
    ]
    return pd.DataFrame(parts, columns=[*by, "measure", "n", *QUANTILES])


def intensities(images: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], split: "pd.Series[str]") -> pd.DataFrame:
    """Pixels per split and level: split, level (0 black .. 255 white, of any depth), pixels.

    images: (n, h, w) of which one is read at a time, so that a memory-mapped store of any size will do; split: (n,).
    """
    depth = 8 * images.dtype.itemsize
    parts = []
    for name in SPLITS:
        pixels = np.zeros(LEVELS, np.int64)
        for number in np.flatnonzero(split == name):
            pixels += np.bincount(np.ravel(images[number]) >> (depth - 8), minlength=LEVELS)
        parts.append(pd.DataFrame({"split": name, "level": np.arange(LEVELS), "pixels": pixels}))
    return pd.concat(parts, ignore_index=True)


def intensity(histograms: pd.DataFrame) -> pd.DataFrame:
    """Per split, in shares of white: black (share of pixels at level 0), and mean, sd, q05, median, q95 of the rest."""
    rows = [_moments(str(name), own) for name, own in histograms.groupby("split") if own["pixels"].sum()]
    table = pd.DataFrame(rows, columns=["split", "black", "white", "mean", "sd", "q05", "median", "q95"])
    return table.sort_values("split", key=lambda column: column.map(SPLITS.index), ignore_index=True)


def _moments(split: str, histogram: pd.DataFrame) -> dict[str, float | str]:
    pixels = histogram.sort_values("level")["pixels"].to_numpy(np.float64)
    shown = pixels[1:]
    level = np.arange(1, LEVELS) / (LEVELS - 1)
    ends = {"split": split, "black": pixels[0] / pixels.sum(), "white": pixels[-1] / pixels.sum()}
    if not shown.sum():
        return ends
    mean = np.average(level, weights=shown)
    below = np.cumsum(shown) / shown.sum()
    places = {"q05": 0.05, "median": 0.5, "q95": 0.95}
    return {
        **ends,
        "mean": mean,
        "sd": float(np.sqrt(np.average((level - mean) ** 2, weights=shown))),
        **{name: float(level[np.searchsorted(below, share)]) for name, share in places.items()},
    }


def metadata(used: pd.DataFrame) -> pd.DataFrame:
    """Samples by state of each grade and of the lesion's marking: variable, state, train, val, test, n_malignant, n.

    States: `1 to 4` (the known values), `0`, `empty`; of the marking: mask, box, none.
    """
    states = {grade: _grade_state(used, grade) for grade in GRADES} | {"marking": _marking(used)}
    rows = []
    for variable, state in states.items():
        for value in dict.fromkeys([*sorted(set(state) - {"0", MISSING}), "0", MISSING]):
            own = used[state == value]
            if own.empty:
                continue
            by_split = {name: int((own["split"] == name).sum()) for name in SPLITS}
            malignant = int(own["label"].sum())
            rows.append({"variable": variable, "state": value, **by_split, "n_malignant": malignant, "n": len(own)})
    return pd.DataFrame(rows)


def _grade_state(used: pd.DataFrame, grade: str) -> "pd.Series[str]":
    known = used[grade][used[grade] > 0]
    span = f"{known.min()} to {known.max()}" if len(known) else ""
    return values_of(used, grade).where(lambda value: value.isin(["0", MISSING]), span)


def _marking(used: pd.DataFrame) -> "pd.Series[str]":
    marked = used["mask_path"].fillna("").str.strip(VIEW_SEPARATOR)
    boxed = marked.str.contains(BOX_PREFIX, regex=False)
    return pd.Series(np.select([marked == "", boxed], ["none", "box"], "mask"), used.index)


def reasons(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows (tables.EXCLUDED) by kind of reason and official split: reason, train, test, example.

    Reasons that differ in a path or an identifier alone are of one kind; `example` is the first row of it in full.
    """
    kind = rows["reason"].str.replace(PARTICULAR, "…", regex=True)
    found = []
    for name, own in rows.groupby(kind, sort=False):
        first = own.iloc[0]
        known = " ".join(str(first[column]) for column in KEY if pd.notna(first[column]))
        by_split = {split: int((own["official_split"] == split).sum()) for split in ("train", "test")}
        found.append({"reason": name, **by_split, "example": f"{known}: {first['reason']}"})
    return pd.DataFrame(found, columns=["reason", "train", "test", "example"])


def leak_checks(audit: Mapping[str, Any] | None) -> pd.DataFrame:
    """The audit (leaks.audit) as a table: `between` and every count that its checks hold."""
    checks = {} if audit is None else audit["checks"]
    return pd.DataFrame([{"between": name, **found} for name, found in checks.items()])
