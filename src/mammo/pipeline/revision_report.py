"""The workspace's results against those of another commit: paired differences on the same samples, as Markdown.

While the test set is closed only held-out training rows are read, in both; no statement picks a row.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
import yaml

from mammo.core import row_names, schemas
from mammo.core.config import PARAMS_FILE, Config, load_config, parse_config
from mammo.core.errors import InputError
from mammo.core.files import read_splits, read_table
from mammo.core.paths import COMPARISON, ENSEMBLES, OUT_OF_FOLD, PREDICTIONS, SPLITS
from mammo.evaluation import held_out, operating_point
from mammo.metrics import auc_tests
from mammo.metrics.auc_tests import PairedTest
from mammo.metrics.clustered_means import clustered_means
from mammo.metrics.resampling import LabelledRows, Resampling
from mammo.pipeline.revisions import Revision, changed_parameters, open_revision
from mammo.reporting.comparison import read_comparison

RATES = ("sensitivity", "specificity")
SMALLEST_P = 0.001  # of the printed table


@dataclass(frozen=True)
class Difference:
    """A row of both comparison tables on the same samples: the workspace less the other commit.

    auc_before, auc_now: as the tables have them. auc: paired test, p_holm: its p over all rows that changed. rates:
    difference and limits (value, low, high) of sensitivity and specificity at each one's frozen operating point.
    """

    row: str
    samples: str
    auc_before: float
    auc_now: float
    auc: PairedTest
    rates: dict[str, tuple[float, float, float]]
    p_holm: float = np.nan


@dataclass(frozen=True)
class Comparison:
    """What changed since a commit. skipped: why a row is not compared, by row; parameters: (before, now) by key."""

    name: str
    commit: str
    changed: list[Difference]
    unchanged: list[str]
    skipped: dict[str, str]
    parameters: dict[str, tuple[object, object]]


@dataclass(frozen=True)
class _Side:
    """One of the two states: its configuration, comparison table by row, and the reader of its tables."""

    config: Config
    table: pd.DataFrame
    splits: pd.DataFrame
    read: Callable[[Path, pa.DataFrameSchema], pd.DataFrame]

    def decide(self, row: str) -> pd.DataFrame:
        """Return the reported samples of a row at its operating point; raise InputError where no file holds them."""
        if row.startswith(row_names.CROSS_VALIDATED):
            folds = self.read(OUT_OF_FOLD / f"{row.removeprefix(row_names.CROSS_VALIDATED)}.csv", schemas.OUT_OF_FOLD)
            first = folds[(folds["repeat"] == folds["repeat"].min()) & (folds["split"] != "test")]
            return operating_point.decide(first.drop(columns="repeat"), self.config.evaluate)
        predictions = self.read(_predictions_path(row), schemas.PREDICTIONS)
        if self.config.evaluate.test == "closed":
            predictions = held_out.hold_out(predictions, self.splits)
        return operating_point.decide(predictions, self.config.evaluate)


def compare_with(name: str) -> Comparison:
    """Compare the workspace's results with those of a commit, branch, tag or experiment.

    Raise InputError where either is not finished, or one reports the test set and the other held-out rows.
    """
    now = _Side(load_config(), read_comparison().set_index("model"), read_splits(SPLITS), read_table)
    with open_revision(name) as revision:
        before = _open_side(revision)
        if before.config.evaluate.test != now.config.evaluate.test:
            raise InputError(
                f"evaluate.test is {before.config.evaluate.test} in {name} and {now.config.evaluate.test} here: "
                "they report other samples, and are not compared"
            )
        differences, skipped = _compare_rows(before, now, name)
        parameters = changed_parameters(revision.read_parameters(), _read_parameters())
    changed = _adjust([row for row in differences if row.auc.difference != 0 or any(v[0] for v in row.rates.values())])
    unchanged = [row.row for row in differences if row.row not in {other.row for other in changed}]
    return Comparison(name, revision.commit, changed, unchanged, skipped, parameters)


def _read_parameters() -> dict[str, object]:
    return dict(yaml.safe_load(PARAMS_FILE.read_text(encoding="utf-8")))


def _open_side(revision: Revision) -> _Side:
    config = parse_config(revision.read_parameters(), f"{PARAMS_FILE} of {revision.name}")
    splits = revision.read_table(SPLITS, schemas.SPLITS)
    return _Side(config, revision.read_csv(COMPARISON).set_index("model"), splits, revision.read_table)


def _predictions_path(row: str) -> Path:
    if row_names.is_baseline(row) or row_names.contains_reader(row):
        raise InputError("no file holds its scores")
    return (ENSEMBLES if row_names.is_combined(row) else PREDICTIONS) / f"{row}.csv"


def _compare_rows(before: _Side, now: _Side, name: str) -> tuple[list[Difference], dict[str, str]]:
    differences, skipped = [], {}
    for row in dict.fromkeys([*now.table.index, *before.table.index]):
        if row not in before.table.index or row not in now.table.index:
            skipped[row] = f"new: {name} has no such row" if row in now.table.index else "is a row no more"
            continue
        try:
            differences.append(_compare_row(row, before, now))
        except InputError as error:
            skipped[row] = str(error)
    return differences, skipped


def _compare_row(row: str, before: _Side, now: _Side) -> Difference:
    pairs = _pair(before.decide(row), now.decide(row))
    rows, config = LabelledRows.from_table(pairs), now.config.evaluate
    resampling = Resampling.from_config(config, now.config.seed)
    auc_before, auc_now = (float(side.table["auc"][row]) for side in (before, now))
    test = auc_tests.paired_auc_test(rows, pairs["prob_before"].to_numpy(), pairs["prob"].to_numpy(), resampling)
    rates = {rate: _rate_difference(pairs, rate, resampling) for rate in RATES}
    return Difference(row, str(now.table["samples"][row]), auc_before, auc_now, test, rates)


def _pair(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of both with prob_before and predicted_positive_before; raise InputError for other samples."""
    keys = [name for name in ("sample_id", "patient_id", "label", "fold") if name in now and name in before]
    pairs = now.merge(
        before[[*keys, "prob", "predicted_positive"]], on=keys, suffixes=("", "_before"), validate="one_to_one"
    )
    if not len(pairs) == len(before) == len(now):
        raise InputError(f"other samples, labels or folds: {len(before)} then, {len(now)} now, {len(pairs)} the same")
    return pairs


def _rate_difference(pairs: pd.DataFrame, rate: str, resampling: Resampling) -> tuple[float, float, float]:
    """Return the difference of a rate, now less before, with limits over resampled patients."""
    wanted = 1 if rate == "sensitivity" else 0
    rows = pairs[pairs["label"] == wanted]
    change = (rows["predicted_positive"] == wanted).astype(float) - (rows["predicted_positive_before"] == wanted)
    means = clustered_means(change.to_numpy(), rows["patient_id"].to_numpy(), resampling)
    return float(means.mean[0]), float(means.low[0]), float(means.high[0])


def _adjust(rows: Sequence[Difference]) -> list[Difference]:
    """Return the rows with Holm's correction over all of them."""
    adjusted = auc_tests.holm([row.auc.p_value for row in rows])
    return [replace(row, p_holm=float(p)) for row, p in zip(rows, adjusted, strict=True)]


def to_markdown(comparison: Comparison, test_set: str) -> str:
    """Write the comparison as Markdown for a pull request; test_set: the sentence on the test set."""
    return "\n".join([*_heading(comparison, test_set), *_table(comparison.changed), *_rest(comparison)]) + "\n"


def _heading(comparison: Comparison, test_set: str) -> Iterator[str]:
    yield f"## Results against `{_cell(comparison.name)}` ({comparison.commit[:7]})\n"
    yield f"{test_set}\n"
    for samples in dict.fromkeys(row.samples for row in comparison.changed):
        rows = [row for row in comparison.changed if row.samples == samples]
        yield f"{samples.capitalize()}: {rows[0].auc.n} samples of {rows[0].auc.n_patients} patients, the same in both."
    if comparison.changed:
        yield (
            "\nDifferences are this workspace less the other, on the same samples, with 95 % limits over resampled "
            "patients; p: paired test of the AUCs (clustered DeLong), then with Holm's correction over all rows of "
            "this table. Sensitivity and specificity are at each one's own frozen operating point.\n"
        )


def _table(rows: Sequence[Difference]) -> Iterator[str]:
    if not rows:
        yield "No prediction changed."
        return
    head = ["model", "AUC", "difference of the AUC", "p", "p, Holm", *(f"difference of the {rate}" for rate in RATES)]
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        auc = _limits(row.auc.difference, row.auc.low, row.auc.high)
        rates = [_limits(*row.rates[rate]) for rate in RATES]
        values = [f"{row.auc_before:.3f} → {row.auc_now:.3f}", auc, _p(row.auc.p_value), _p(row.p_holm), *rates]
        yield "| " + " | ".join([_cell(row.row), *values]) + " |"


def _rest(comparison: Comparison) -> Iterator[str]:
    if comparison.unchanged:
        yield f"\nThe same predictions: {', '.join(map(_cell, comparison.unchanged))}."
    reasons: dict[str, list[str]] = {}
    for row, reason in comparison.skipped.items():
        reasons.setdefault(reason, []).append(row)
    yield from (f"\nNot compared: {', '.join(map(_cell, rows))} ({reason})." for reason, rows in reasons.items())
    yield from _parameters(comparison.parameters)


def _parameters(parameters: Mapping[str, tuple[object, object]]) -> Iterator[str]:
    if not parameters:
        yield "\nNo parameter changed."
        return
    yield "\n| parameter | then | now |\n|---|---|---|"
    for key, values in parameters.items():
        yield "| " + " | ".join([f"`{key}`", *("-" if value is None else _cell(str(value)) for value in values)]) + " |"


def _cell(text: str) -> str:
    """Return text that ends no cell and no line of a Markdown table."""
    return re.sub(r"\s+", " ", text).replace("|", r"\|")


def _limits(value: float, low: float, high: float) -> str:
    return f"{value:+.3f}" if np.isnan(low) else f"{value:+.3f} ({low:+.3f} to {high:+.3f})"


def _p(value: float) -> str:
    return "-" if np.isnan(value) else f"< {SMALLEST_P}" if value < SMALLEST_P else f"{value:.3f}"
