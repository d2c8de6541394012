"""The data report's numbers: counts, prevalence, sizes and gaps of the ingested data, as tables.

`summarise` computes all of them; nothing here reads a file or draws. A sample may hold several abnormalities
(separated by schemas.PATH_SEPARATOR) and, where it is a breast, two films (schemas.VIEW_SEPARATOR). What cannot be
estimated is nan; a table without rows means that there was nothing to count.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.schemas import BOX_PREFIX, KEY, PATH_SEPARATOR, VIEW_SEPARATOR
from mammo.data import lesions
from mammo.metrics import auc_tests, bootstrap
from mammo.metrics.resampling import LabelledRows, Resampling

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
    """The tables of a summary: schemas.CASES, SPLITS, EXCLUDED, EXCLUDED, MANIFEST, and those of later stages.

    sizes: schemas.SIZES; histograms: `intensities`; leak_audit: leakage.audit. None where there is no such file.
    published_rows: the number of rows of the data set's own tables; None takes excluded and used rows together.
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
    """Counts on the way from the published rows to the samples of each split; `patients` by split."""

    published_rows: int
    excluded_rows: int
    used_rows: int
    samples: int
    dropped_samples: int
    split_samples: Mapping[str, int]
    patients: Mapping[str, int]

    @property
    def adds_up(self) -> bool:
        """Say whether every row and every sample is counted exactly once."""
        rows = self.published_rows == self.excluded_rows + self.used_rows
        return rows and self.samples == self.dropped_samples + sum(self.split_samples.values())


@dataclass(frozen=True)
class DataSummary:
    """All tables of a data report; the functions of the same names document their columns."""

    flow: Flow
    counts: pd.DataFrame
    prevalence: pd.DataFrame
    shift: pd.DataFrame
    shortcuts: pd.DataFrame
    pathology: pd.DataFrame
    abnormalities_per: pd.DataFrame
    views_per_breast: pd.DataFrame
    mixed_labels: pd.DataFrame
    lesion_views: pd.DataFrame
    contradictions: pd.DataFrame
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


def summarise(tables: DataTables, resampling: Resampling) -> DataSummary:
    """Compute all tables of the report; intervals are resampled by patient."""
    used = join_splits(tables.cases, tables.splits)
    shares = prevalence(used, resampling)
    films = film_table(used, tables.manifest)
    marked = lesion_table(used, tables.sizes)
    histograms = pd.DataFrame(columns=["split", "level", "pixels"]) if tables.histograms is None else tables.histograms
    return DataSummary(
        flow=flow(tables),
        counts=counts(used),
        prevalence=shares,
        shift=shift(used, resampling),
        shortcuts=shortcuts(used, films, marked, resampling.confidence),
        pathology=pathology(used),
        abnormalities_per=abnormalities_per(used),
        views_per_breast=views_per_breast(used),
        mixed_labels=mixed_labels(used),
        lesion_views=lesion_views(used),
        contradictions=contradictions(used),
        films=films,
        film_sizes=quantiles(films, ["split"], FILM_MEASURES),
        lesions=marked,
        lesion_sizes=quantiles(marked, ["split", "class"], ["lesion_share"]),
        histograms=histograms,
        intensity=intensity(histograms),
        metadata=metadata(used),
        excluded=reasons(tables.excluded),
        dropped=reasons(tables.dropped),
        leak_checks=leak_checks(tables.leak_audit),
        leaks=None if tables.leak_audit is None else int(tables.leak_audit["leaks"]),
        same_film_bits=None if tables.leak_audit is None else tables.leak_audit.get("max_distance"),
        folds=folds(used),
        files=len(tables.manifest),
        bytes=int(tables.manifest["bytes"].sum()),
    )


def join_splits(cases: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Return the cases that have a split, with `split`, `fold` and `class`.

    cases: schemas.CASES, splits: schemas.SPLITS; dropped cases have no split.
    """
    used = cases.merge(splits, on=["sample_id", "patient_id"], validate="one_to_one")
    return used.assign(**{"class": np.where(used["label"] == 1, CLASSES[1], CLASSES[0])})


def count_published_rows(cases: pd.DataFrame) -> "pd.Series[int]":
    """Return the number of published rows of each sample: one per abnormality in one film."""
    return cases["abnormality_id"].str.count(f"[{PATH_SEPARATOR}{VIEW_SEPARATOR}]") + 1


def abnormalities(cases: pd.DataFrame) -> "pd.Series[int]":
    """Return the number of abnormalities of each sample; one in two views counts twice."""
    return count_published_rows(cases).where(cases["abnormality_type"] != NO_ABNORMALITY, 0)


def split_by_film(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the samples with one row per film: `view` and `image_path` are those of the film alone."""
    apart = {name: cases[name].str.split(VIEW_SEPARATOR, regex=False) for name in ("view", "image_path")}
    return cases.assign(**apart).explode(["view", "image_path"], ignore_index=True)


def flow(tables: DataTables) -> Flow:
    """Count the published rows that became samples, and the samples by split."""
    used_rows = int(count_published_rows(tables.cases).sum())
    by_split = tables.splits.groupby("split")
    return Flow(
        published_rows=used_rows + len(tables.excluded) if tables.published_rows is None else tables.published_rows,
        excluded_rows=len(tables.excluded),
        used_rows=used_rows,
        samples=len(tables.cases),
        dropped_samples=len(tables.dropped),
        split_samples={name: int(count) for name, count in _by_split(by_split.size()).items()},
        patients={name: int(count) for name, count in _by_split(by_split["patient_id"].nunique()).items()},
    )


def _by_split(values: "pd.Series[Any]") -> dict[str, Any]:
    return {name: values.get(name, 0) for name in SPLITS}


def counts(used: pd.DataFrame) -> pd.DataFrame:
    """Count samples, patients, breasts, views, films, abnormalities, benign and malignant per split and over all."""
    return pd.DataFrame([{"split": name, **_counts(rows)} for name, rows in _splits_and_all(used)])


def counts_of(table: pd.DataFrame, split: str) -> dict[str, int]:
    """Return the row of a split, or of `all`, in a table of counts by split."""
    row = table[table["split"] == split].drop(columns="split").iloc[0]
    return {str(name): int(count) for name, count in row.items()}


def _splits_and_all(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [*((name, rows[rows["split"] == name]) for name in SPLITS), (ALL, rows)]


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    films = split_by_film(rows)
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
    """Count samples by split, abnormality_type and pathology (`n`); combinations that do not occur have no row."""
    keys = ["split", "abnormality_type", "pathology"]
    counted = used.groupby(keys, observed=True).size().reset_index(name="n")
    order = {name: place for place, name in enumerate([*SPLITS, *PATHOLOGIES])}
    return counted.sort_values(keys, key=lambda column: column.map(order).fillna(0), kind="stable", ignore_index=True)


def abnormalities_per(used: pd.DataFrame) -> pd.DataFrame:
    """Count the units (films, breasts, patients) by their number of abnormalities: level, abnormalities, units.

    The level `film` is left out where a sample is a breast: the table does not say which film has which abnormality.
    """
    levels = {"breast": BREAST, "patient": ["patient_id"]}
    if not used["view"].str.contains(VIEW_SEPARATOR, regex=False).any():
        levels = {"film": ["image_path"], **levels}
    samples = used.assign(abnormalities=abnormalities(used))
    parts = [
        samples.groupby(columns)["abnormalities"].sum().value_counts().sort_index().rename("units").reset_index()
        for columns in levels.values()
    ]
    return pd.concat([part.assign(level=name) for name, part in zip(levels, parts, strict=True)], ignore_index=True)[
        ["level", "abnormalities", "units"]
    ]


def views_per_breast(used: pd.DataFrame) -> pd.DataFrame:
    """Count breasts per split by their views: split, CC and MLO, CC alone, MLO alone."""
    views = split_by_film(used).groupby(["split", *BREAST])["view"].agg(lambda names: " ".join(sorted(set(names))))
    named = views.map({"CC MLO": BOTH_VIEWS, "CC": "CC alone", "MLO": "MLO alone"}).reset_index()
    counted = [
        {"split": name, **{kind: int((rows["view"] == kind).sum()) for kind in (BOTH_VIEWS, "CC alone", "MLO alone")}}
        for name, rows in _splits_and_all(named)
    ]
    return pd.DataFrame(counted)


def mixed_labels(used: pd.DataFrame) -> pd.DataFrame:
    """Count views, breasts and patients with benign and malignant samples: level, mixed, units."""
    rows = []
    for level, columns in {"view": VIEW, "breast": BREAST, "patient": ["patient_id"]}.items():
        classes = used.groupby(columns)["label"].nunique()
        rows.append({"level": level, "mixed": int((classes > 1).sum()), "units": len(classes)})
    return pd.DataFrame(rows)


def lesion_views(used: pd.DataFrame) -> pd.DataFrame:
    """Count lesions per split by their views: split, samples, lesions, in both views, in one view, contradicting.

    Without rows where a sample is an image or a breast.
    """
    columns = ["split", "samples", "lesions", "in both views", "in one view", "contradicting"]
    if not lesions.are_single_lesions(used):
        return pd.DataFrame(columns=columns)
    rows = []
    for name, samples in _splits_and_all(used):
        counted = lesions.count_views(samples)
        both = counted["lesions"] - counted["lesions_in_one_view"]
        sizes = (len(samples), counted["lesions"], both, counted["lesions_in_one_view"])
        rows.append((name, *sizes, counted["contradicting_lesions"]))
    return pd.DataFrame(rows, columns=columns)


def contradictions(used: pd.DataFrame) -> pd.DataFrame:
    """Return the lesions whose views differ in pathology (lesions.find_contradictions)."""
    single = lesions.are_single_lesions(used)
    return lesions.find_contradictions(used if single else used.iloc[:0])


def folds(used: pd.DataFrame) -> pd.DataFrame:
    """Count per fold: patients, samples, benign, malignant, share_malignant, samples of each abnormality type."""
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


def prevalence(used: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """Return the malignant share by variable, value and split: n, n_patients, n_malignant, prevalence, low, high.

    The variable `all` has one value, `all`; a variable that is the same for all samples is left out.
    """
    rows = []
    for variable in (ALL, *VARIABLES):
        values = pd.Series(ALL, used.index) if variable == ALL else values_of(used, variable)
        if variable != ALL and values.nunique() < 2:
            continue
        for value in sorted(values.unique(), key=lambda name: (name == MISSING, name)):
            for split in SPLITS:
                share = _malignant_share(used[(values == value) & (used["split"] == split)], resampling)
                rows.append({"variable": variable, "value": value, "split": split, **share})
    return pd.DataFrame(rows)


def values_of(rows: pd.DataFrame, variable: str) -> "pd.Series[str]":
    """Return the values of a column as text, `empty` where there is none."""
    column = rows[variable]
    return column.astype("string").fillna(MISSING).astype(str)


def _malignant_share(rows: pd.DataFrame, resampling: Resampling) -> dict[str, float]:
    """Return the malignant share of the rows, which is the accuracy of deciding `malignant` for every row."""
    sizes = {"n": len(rows), "n_patients": rows["patient_id"].nunique(), "n_malignant": int(rows["label"].sum())}
    if rows.empty:
        return {**sizes, "prevalence": np.nan, "low": np.nan, "high": np.nan}
    intervals = bootstrap.decision_intervals(_labelled(rows), np.ones(len(rows), int), resampling)
    share = intervals["accuracy"]
    return {**sizes, "prevalence": share.value, "low": share.low, "high": share.high}


def _labelled(rows: pd.DataFrame) -> LabelledRows:
    return LabelledRows(rows["label"].to_numpy(), rows["patient_id"].to_numpy(str))


def shift(used: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """Return the malignant shares of training (train and val) and test patients, over all and by abnormality type.

    Columns: group, training, test, difference (test minus training), low, high. The limits combine those of the two
    shares, whose patients differ (Zou & Donner, Stat Med 2008).
    """
    types = sorted(used["abnormality_type"].unique())
    groups = {ALL: used} | ({kind: used[used["abnormality_type"] == kind] for kind in types} if len(types) > 1 else {})
    rows = []
    for name, samples in groups.items():
        training = samples[samples["split"].isin(DEVELOPMENT)]
        test = samples[samples["split"] == "test"]
        shares = [_malignant_share(part, resampling) for part in (training, test)]
        rows.append({"group": name, **difference(*shares)})
    return pd.DataFrame(rows)


def difference(training: Mapping[str, float], test: Mapping[str, float]) -> dict[str, float]:
    """Return test minus training of two independent shares, limits by the method of variance estimates recovery."""
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


def shortcuts(used: pd.DataFrame, films: pd.DataFrame, marked: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return the AUC of single numbers that need no image: number, n, n_patients, auc, low, high.

    On train and val, so that nothing is learned about test. An AUC above .5: larger where malignant. A number that
    is the same for all samples is left out; BI-RADS is the reader's assessment, not a shortcut. Intervals: DeLong by
    patient.
    """
    training = used[used["split"].isin(DEVELOPMENT)]
    training_films = split_by_film(training)[["sample_id", "image_path"]].merge(
        films.drop_duplicates("image_path"), on="image_path"
    )
    means = training_films.groupby("sample_id")[FILM_MEASURES].mean()
    graded = training.set_index("sample_id")[["breast_density", "subtlety"]].replace(0, pd.NA).astype("Float64")
    lesion = marked.set_index("sample_id")["lesion_share"]
    numbers = graded.join(means).join(lesion).astype("float64").reindex(training["sample_id"])
    rows = []
    for name in numbers.columns:
        known = numbers[name].notna().to_numpy()
        if numbers[name].nunique() < 2:
            continue
        interval = auc_tests.delong_interval(_labelled(training[known]), numbers[name][known], confidence)
        rows.append(
            {
                "number": str(name),
                "n": interval.n,
                "n_patients": interval.n_patients,
                "auc": interval.value,
                "low": interval.low,
                "high": interval.high,
            }
        )
    return pd.DataFrame(rows, columns=["number", "n", "n_patients", "auc", "low", "high"])


def film_table(used: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return one row per film and split: split, image_path, height_px, width_px, aspect (height / width), megabytes."""
    films = split_by_film(used)[["split", "image_path"]].drop_duplicates()
    sizes = manifest[["path", "height_px", "width_px", "bytes"]]
    table = films.merge(sizes, left_on="image_path", right_on="path").drop(columns="path")
    return table.assign(aspect=table["height_px"] / table["width_px"], megabytes=table["bytes"] / 1e6)


def lesion_table(used: pd.DataFrame, sizes: pd.DataFrame | None) -> pd.DataFrame:
    """Return one row per sample with a marked lesion: sample_id, split, class, lesion_share (of its films' pixels)."""
    columns = ["sample_id", "split", "class", "lesion_share"]
    if sizes is None:
        return pd.DataFrame(columns=columns)
    samples = used.merge(sizes, on="sample_id", validate="one_to_one")
    return samples.loc[samples["lesion_share"] > 0, columns].reset_index(drop=True)


def quantiles(rows: pd.DataFrame, by: list[str], columns: list[str]) -> pd.DataFrame:
    """Return `by`, measure, n and QUANTILES of each column in each group, in the order of the splits."""
    parts = [
        {**dict(zip(by, key, strict=True)), "measure": column, "n": len(group)}
        | {name: float(group[column].quantile(level)) for name, level in QUANTILES.items()}
        for key, group in sorted(rows.groupby(by), key=lambda part: (SPLITS.index(part[0][0]), part[0][1:]))
        for column in columns
    ]
    return pd.DataFrame(parts, columns=[*by, "measure", "n", *QUANTILES])


def intensities(images: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], split: "pd.Series[str]") -> pd.DataFrame:
    """Count pixels per split and level: split, level (0 black .. 255 white, of any depth), pixels.

    images: (n, h, w) ; read one at a time, so that a memory-mapped store of any size fits; split: (n,).
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
    """Return per split: black (share of pixels at level 0), white, and mean, sd, q05, median, q95 of the rest, 0-1."""
    rows = [_moments(str(name), group) for name, group in histograms.groupby("split") if group["pixels"].sum()]
    table = pd.DataFrame(rows, columns=["split", "black", "white", "mean", "sd", "q05", "median", "q95"])
    return table.sort_values("split", key=lambda column: column.map(SPLITS.index), ignore_index=True)


def _moments(split: str, histogram: pd.DataFrame) -> dict[str, float | str]:
    pixels = histogram.sort_values("level")["pixels"].to_numpy(np.float64)
    not_black = pixels[1:]
    level = np.arange(1, LEVELS) / (LEVELS - 1)
    ends = {"split": split, "black": pixels[0] / pixels.sum(), "white": pixels[-1] / pixels.sum()}
    if not not_black.sum():
        return ends
    mean = np.average(level, weights=not_black)
    below = np.cumsum(not_black) / not_black.sum()
    places = {"q05": 0.05, "median": 0.5, "q95": 0.95}
    return {
        **ends,
        "mean": mean,
        "sd": float(np.sqrt(np.average((level - mean) ** 2, weights=not_black))),
        **{name: float(level[np.searchsorted(below, share)]) for name, share in places.items()},
    }


def metadata(used: pd.DataFrame) -> pd.DataFrame:
    """Count samples by state of each grade and of the marking: variable, state, train, val, test, n_malignant, n.

    States: `1 to 4` (the known values), `0`, `empty`; of the marking: mask, box, none.
    """
    states = {grade: _grade_state(used, grade) for grade in GRADES} | {"marking": _marking(used)}
    rows = []
    for variable, state in states.items():
        for value in dict.fromkeys([*sorted(set(state) - {"0", MISSING}), "0", MISSING]):
            samples = used[state == value]
            if samples.empty:
                continue
            by_split = {name: int((samples["split"] == name).sum()) for name in SPLITS}
            sizes = {"n_malignant": int(samples["label"].sum()), "n": len(samples)}
            rows.append({"variable": variable, "state": value, **by_split, **sizes})
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
    """Count rows (schemas.EXCLUDED) by kind of reason and official split: reason, train, test, example.

    Reasons that differ in a path or an identifier alone are of one kind; `example` is the first row of the kind.
    """
    kind = rows["reason"].str.replace(PARTICULAR, "…", regex=True)
    counted = []
    for name, group in rows.groupby(kind, sort=False):
        first = group.iloc[0]
        key = " ".join(str(first[column]) for column in KEY if pd.notna(first[column]))
        by_split = {split: int((group["official_split"] == split).sum()) for split in ("train", "test")}
        counted.append({"reason": name, **by_split, "example": f"{key}: {first['reason']}"})
    return pd.DataFrame(counted, columns=["reason", "train", "test", "example"])


def leak_checks(audit: Mapping[str, Any] | None) -> pd.DataFrame:
    """Return the audit (leakage.audit) as a table: `between` and every count of its checks."""
    checks = {} if audit is None else audit["checks"]
    return pd.DataFrame([{"between": name, **counted} for name, counted in checks.items()])
