"""Schemas of the tables that travel between stages, and checks that name the column and the wrong values."""

from collections.abc import Iterator

import pandas as pd
import pandera.pandas as pa

from mammo.core.errors import InputError

KEY = ["patient_id", "laterality", "view", "abnormality_id", "abnormality_type"]
PATH_SEPARATOR = ";"  # between the masks, or the abnormalities, of one film
VIEW_SEPARATOR = "|"  # between the films of one breast, CC first, in view, image_path and mask_path
BOX_PREFIX = "box:"  # in mask_path, a lesion given as a box: box:top,left,bottom,right in px of the film
TYPES = ["mass", "calcification", "architectural_distortion", "asymmetry", "none"]


# From the least to the most suspicious: 0 (incomplete, needs further imaging) ranks between 3 (probably benign) and 4.
BIRADS_ORDER = [1, 2, 3, 0, 4, 5, 6]


class TableError(InputError):
    """A table breaks its schema; the message names file, column and values."""


def _text(*choices: str, nullable: bool = False) -> pa.Column:
    return pa.Column(str, pa.Check.isin(choices) if choices else None, nullable=nullable)


SCORES = ["prob", "prob_without_lesion"]  # of tables of predictions


_label = pa.Column("int64", pa.Check.isin([0, 1]))
_prob = pa.Column("float64", pa.Check.in_range(0, 1))
# The probability that the same model gives the same sample with its lesion removed; empty where nothing was removed.
_prob_without_lesion = pa.Column("float64", pa.Check.in_range(0, 1), nullable=True, required=False)

# birads, breast_density and subtlety: 0 and empty occur in the official files.
# mask_path: empty where no lesion is marked.
CASES = pa.DataFrameSchema(
    {
        "sample_id": pa.Column(str, unique=True),
        "patient_id": pa.Column(str, pa.Check.str_matches(r"^\S+$")),
        "laterality": _text("LEFT", "RIGHT"),
        "view": _text("CC", "MLO", f"CC{VIEW_SEPARATOR}MLO"),
        "abnormality_id": _text(),
        "abnormality_type": pa.Column(str, pa.Check.str_matches(rf"^({'|'.join(TYPES)})(\+({'|'.join(TYPES)}))*$")),
        "pathology": _text("NORMAL", "BENIGN", "BENIGN_WITHOUT_CALLBACK", "MALIGNANT"),
        "label": _label,
        "breast_density": pa.Column("Int64", pa.Check.in_range(0, 4), nullable=True),
        "birads": pa.Column("Int64", pa.Check.in_range(0, 6), nullable=True),
        "subtlety": pa.Column("Int64", pa.Check.in_range(0, 5), nullable=True),
        "official_split": _text("train", "test"),
        "image_path": _text(),
        "mask_path": _text(nullable=True),
    },
    strict=True,
    coerce=True,
)
EXCLUDED = pa.DataFrameSchema(
    {
        **{column: _text(nullable=True) for column in KEY},
        "official_split": _text("train", "test"),
        "reason": _text(),
        # The film, where it is known; those of a breast are joined as in CASES.
        "image_path": pa.Column(str, nullable=True, required=False),
    },
    strict=True,
    coerce=True,
)
_measure = pa.Column("float64", nullable=True)
# What mammo.data.plausibility measured of each mask, and of each film without one; reason: why its sample is excluded.
CHECKS = pa.DataFrameSchema(
    {
        "sample_id": _text(),
        "image_path": _text(),
        "mask_path": _text(nullable=True),
        "crop_path": _text(nullable=True),
        "marked_share": _measure,
        "inside_breast": _measure,
        "spread": _measure,
        "crop_correlation": _measure,
        "reason": _text(nullable=True),
    },
    strict=True,
    coerce=True,
)
SPLITS = pa.DataFrameSchema(
    {
        "sample_id": pa.Column(str, unique=True),
        "patient_id": _text(),
        "split": _text("train", "val", "test"),
        "fold": pa.Column("Int64", pa.Check.ge(0), nullable=True),
    },
    strict=True,
    coerce=True,
)
INDEX = pa.DataFrameSchema(
    {
        "sample_id": pa.Column(str, unique=True),
        "patient_id": _text(),
        "split": _text("train", "val", "test"),
        "fold": pa.Column("Int64", nullable=True),
        "label": _label,
        "abnormality_type": _text(),
    },
    strict=True,
    coerce=True,
)
# lesion_share: the share of the film's pixels that is marked as lesion.
SIZES = pa.DataFrameSchema(
    {"sample_id": pa.Column(str, unique=True), "lesion_share": pa.Column("float64", pa.Check.in_range(0, 1))},
    strict=True,
    coerce=True,
)
NONE_MARKED = "none marked"
# removal: how the sample of without_lesion.npy lost its lesions; see mammo.data.images.without_lesion.
WITHOUT_LESION = pa.DataFrameSchema(
    {"sample_id": pa.Column(str, unique=True), "removal": _text("healthy tissue", "inpainted", NONE_MARKED)},
    strict=True,
    coerce=True,
)
# Of each side of a film, then of its file; see mammo.data.images.border.
BORDER_BINS, BORDER_PERCENTILES = 16, (1, 10, 25, 50, 75, 90, 99)
BORDER_STATISTICS = [
    *(
        f"{side}_{statistic}"
        for side in ("top", "bottom", "left", "right")
        for statistic in (
            *("mean", "sd", *(f"p{percentile}" for percentile in BORDER_PERCENTILES), "laplacian_mean", "laplacian_sd"),
            *(f"bin{number}" for number in range(BORDER_BINS)),
        )
    ),
    *("height_px", "width_px", "bits"),
]
BORDERS = pa.DataFrameSchema(
    {"image_path": pa.Column(str, unique=True), **{name: pa.Column("float64") for name in BORDER_STATISTICS}},
    strict=True,
    coerce=True,
)
# border_score: the probability of malignancy from the film's border alone, of training rows out of fold;
# quartile: 0-3, cut at the training rows' scores.
BORDER_SCORES = pa.DataFrameSchema(
    {
        "sample_id": pa.Column(str, unique=True),
        "border_score": _prob,
        "border_quartile": pa.Column("int64", pa.Check.in_range(0, 3)),
    },
    strict=True,
    coerce=True,
)
# split "val" = rows that no model behind the scores learned from: the validation rows of one training, or all training
# patients' rows, scored out of fold. All that is fitted or chosen rests on them.
PREDICTIONS = pa.DataFrameSchema(
    {
        "sample_id": _text(),
        "patient_id": _text(),
        "split": _text("val", "test"),
        "label": _label,
        "prob": _prob,
        "prob_without_lesion": _prob_without_lesion,
    },
    strict=True,
    coerce=True,
    unique=["sample_id", "split"],
)
# split "val" = the inner validation of a fold (its operating point); "oof" = the held-out fold itself; "test" = the
# official test rows, which every fold's model predicts.
# repeat: a draw of the folds; 0 has the folds of SPLITS.
OUT_OF_FOLD = pa.DataFrameSchema(
    {
        "sample_id": _text(),
        "patient_id": _text(),
        "repeat": pa.Column("int64", pa.Check.ge(0)),
        "fold": pa.Column("int64", pa.Check.ge(0)),
        "split": _text("val", "oof", "test"),
        "label": _label,
        "prob": _prob,
        "prob_without_lesion": _prob_without_lesion,
    },
    strict=True,
    coerce=True,
    unique=["sample_id", "repeat", "fold", "split"],
)
# perceptual_hash: of films (not of masks), hexadecimal; see mammo.data.cohort.leakage. copy_of: the first path
# of the films that show the same (mammo.data.film_copies), empty where a film has no copy.
MANIFEST = pa.DataFrameSchema(
    {
        "path": pa.Column(str, unique=True),
        "bytes": pa.Column("int64", pa.Check.ge(0)),
        "height_px": pa.Column("int64", pa.Check.ge(1)),
        "width_px": pa.Column("int64", pa.Check.ge(1)),
        "sha256": pa.Column(str, pa.Check.str_length(64, 64)),
        "perceptual_hash": pa.Column(str, pa.Check.str_matches("^[0-9a-f]+$"), nullable=True),
        "copy_of": pa.Column(str, nullable=True, required=False),
    },
    strict=True,
    coerce=True,
)


def check_table(table: pd.DataFrame, schema: pa.DataFrameSchema, where: str) -> pd.DataFrame:
    """Return `table` with the schema's types; raises TableError naming column and values."""
    try:
        return schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise TableError(f"{where}: " + "; ".join(_explain(error.failure_cases, schema))) from None


def select_columns(table: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """Return the columns of `table` that `schema` has, in its order; optional ones may be missing."""
    return table[[name for name, column in schema.columns.items() if column.required or name in table]]


def _explain(failures: pd.DataFrame, schema: pa.DataFrameSchema) -> Iterator[str]:
    for (column, rule), cases in failures.groupby(["column", "check"], dropna=False):
        values = sorted({str(value) for value in cases["failure_case"]})
        if rule == "column_in_dataframe":
            yield f"columns missing: {', '.join(values)} (needed: {', '.join(schema.columns)})"
        elif rule == "column_in_schema":
            yield f"unknown columns: {', '.join(values)} (valid: {', '.join(schema.columns)})"
        else:
            yield f"column {column}: {rule} broken by {len(cases)} value(s), e.g. {', '.join(values[:5])}"


def assert_patients_apart(table: pd.DataFrame, where: str) -> None:
    """Raise TableError where a patient is in more than one split or fold."""
    training = table[table["fold"].notna()]
    for rows, column in ((table, "split"), (training, "fold")):
        counts = rows.groupby("patient_id")[column].nunique()
        leaking = counts.index[counts > 1]
        if len(leaking):
            raise TableError(
                f"{where}: {len(leaking)} patient(s) in more than one {column}, e.g. {', '.join(leaking[:5])}; "
                "a patient's images must stay together: rerun the split stage (dvc repro -f split)"
            )
