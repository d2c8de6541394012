"""A model card per model, generated from its records and from the tables of the evaluation.

Sections after Mitchell et al., Model Cards for Model Reporting, FAT* 2019; picture and metrics lead. What a card says
about data, training and limits is read from what was recorded; no sentence in it is kept by hand per model.
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from mammo.core import row_names, schemas
from mammo.core.files import atomic_write, write_text
from mammo.core.records import Record
from mammo.core.row_names import ENSEMBLE, TWO_VIEWS, is_baseline
from mammo.reporting import comparison
from mammo.reporting.cells import format_metric, format_share
from mammo.reporting.evaluation_report.content import Content, hash_artifacts
from mammo.reporting.evaluation_report.headline import explain_missing
from mammo.reporting.evaluation_report.reader import OTHER_RATE
from mammo.reporting.evaluation_report.shortcuts import describe_controls
from mammo.reporting.evaluation_report.verdict import describe_prevalence
from mammo.reporting.figures.evaluation import not_estimable

METRICS = ("auc", "average_precision", "sensitivity", "specificity", "ppv", "npv", "accuracy", "f1", "brier")


class UnknownModelError(schemas.TableError):
    """Raised for a name that has no card; the message lists the models of the comparison table."""


def names(content: Content) -> list[str]:
    """Return the models that get a card: the reported rows but baselines and what contains the reader."""
    reported = (row_names.OFFICIAL_TEST, row_names.HELD_OUT_ROWS)
    on_test = content.comparison[content.comparison["samples"].isin(reported)]
    return [name for name in on_test["model"] if not (is_baseline(name) or row_names.contains_reader(name))]


def write(path: Path, name: str, content: Content) -> None:
    """Write the card of one model as Markdown, and its ROC curve as <name>.png beside it where it was drawn."""
    write_text(path, render(name, content))
    if name in content.roc_curves:
        with atomic_write(path.with_name(_picture_name(name))) as unfinished:
            unfinished.write_bytes(content.roc_curves[name])


def _picture_name(name: str) -> str:
    return f"{name}.png"


def render(name: str, content: Content) -> str:
    """Render the card of one model as Markdown; raises UnknownModelError for a name that is not in `names(content)`."""
    if name not in names(content):
        raise UnknownModelError(f"no model card for {name!r}; there are {', '.join(names(content))}")
    row = content.comparison[content.comparison["model"] == name].iloc[0]
    trained, evaluated = training_record(name, content), _record(content, "evaluate", name)
    records = [record for record in (trained, evaluated) if record is not None]
    rows = {title: table[table["model"] == name] for title, table in content.tables.items()}
    template = _environment().get_template("model_card.md.j2")
    return template.render(
        name=name,
        content=content,
        picture=_picture_name(name) if name in content.roc_curves else "",
        architecture=_architecture(name, content),
        trained=trained,
        training_facts=_training_facts(trained),
        splits=_split_counts(content),
        metrics=_metrics(row, describe_prevalence(content, name)),
        controls=describe_controls(row.to_dict()),
        row=row,
        subgroups=[_subgroup(row) for _, row in rows["subgroups"].iterrows()],
        worse=[row for _, row in rows["subgroups"].iterrows() if row["worse"] == 1],
        calibration=[_calibration(row) for _, row in rows["calibration"].iterrows()],
        reader=[_beside_reader(row) for _, row in rows["reader_comparison"].iterrows()],
        operating_points=[_drift(row) for _, row in rows["operating_points"].iterrows()],
        hashes={record.name: record.content() for record in records},
        artifacts=hash_artifacts(records),
    )


def training_record(name: str, content: Content) -> Record | None:
    """Return the record of the stage that made the model: train, continue_training or ensemble."""
    stage = "ensemble" if row_names.is_combined(name) else name
    record = _record(content, "train", name)
    return record if record is not None else _record(content, stage, None)


def _record(content: Content, stage: str, model: str | None) -> Record | None:
    return next((record for record in content.records if (record.stage, record.model) == (stage, model)), None)


def _environment() -> Environment:
    """Markdown is a superset of HTML: what is no markup of ours is escaped for both."""
    return Environment(
        loader=PackageLoader("mammo.reporting"),
        autoescape=True,
        finalize=_to_single_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _to_single_line(value: Any) -> Any:
    """Text that cannot break a table's row; jinja's autoescape sees to HTML, and a macro's output is done already."""
    if hasattr(value, "__html__"):
        return value
    return " ".join(str(value).split()).replace("|", "\\|").replace("`", "\\`")


def _architecture(name: str, content: Content) -> str:
    if name.startswith(ENSEMBLE):
        return f"ensemble ({name.removeprefix(ENSEMBLE)}) of the probabilities of the members that its record names"
    if name.startswith(TWO_VIEWS):
        return f"{name.removeprefix(TWO_VIEWS)}, its log-odds averaged over a lesion's (or breast's) CC and MLO view"
    if name == row_names.CONTINUED:
        return f"{content.params.continue_training.start}, trained on from its finished checkpoint"
    return name


def _training_facts(trained: Record | None) -> dict[str, str]:
    """Return the parameters of a training, and its metrics on training and validation rows."""
    if trained is None:
        return {}
    facts = {name: _text(value) for name, value in trained.parameters.items()}
    facts |= {"epochs run": str(len(trained.history))} if trained.history else {}
    return facts | {name.replace("_", " "): _number(value) for name, value in trained.metrics.items()}


def _text(value: Any) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _split_counts(content: Content) -> list[list[str]]:
    cases = content.splits.merge(content.cases, on=["sample_id", "patient_id"], validate="one_to_one")
    rows = [_counts(split, cases[cases["split"] == split]) for split in ("train", "val", "test")]
    if content.closed:
        rows[-1][-1] = "test set closed"
    return rows


def _counts(split: str, rows: pd.DataFrame) -> list[str]:
    malignant = int(rows["label"].sum())
    return [split, str(len(rows)), str(rows["patient_id"].nunique()), format_share(malignant, len(rows))]


def _metrics(row: pd.Series, prevalence: str) -> list[list[str]]:
    """Return the metrics with their intervals; prevalence: `at 40.9 %`, which PPV and NPV hold for."""
    known = [metric for metric in METRICS if metric in row.index]
    names = {metric: format_metric(metric) for metric in known}
    names |= {metric: f"{names[metric]} {prevalence}".strip() for metric in ("ppv", "npv") if metric in names}
    return [[names[metric], _with_reason(row, metric)] for metric in known]


def _with_reason(row: pd.Series, metric: str) -> str:
    return explain_missing(metric) if pd.isna(row[metric]) else comparison.format_interval(row, metric)


def _subgroup(row: pd.Series) -> list[str]:
    count = f"{row['n']:.0f} ({row['n_patients']:.0f})"
    value = not_estimable(row["note"])
    if pd.notna(row["auc"]):
        value = _interval(row["auc"], row["low"], row["high"])
    verdict = "significantly worse" if row["worse"] == 1 else ""
    return [row["variable"].replace("_", " "), row["value"], count, f"{row['n_malignant']:.0f}", value, verdict]


def _calibration(row: pd.Series) -> list[str]:
    limited = [_interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("slope", "intercept")]
    return [row["method"], _number(row["ece"]), _number(row["brier"]), *limited, _number(row["n"])]


def _drift(row: pd.Series) -> list[str]:
    values = [_number(row[name]) for name in ("threshold", "validation", "test", "drift")]
    return [row["rule"].replace("_", " "), row["metric"], *values]


def _beside_reader(row: pd.Series) -> list[str]:
    limited = [_interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("matched", "difference")]
    matched = f"{row['rate']} at {OTHER_RATE[row['rate']]} {_number(row['at'])}"
    return [matched, _number(row["reader"]), *limited]


def _interval(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "not estimable"
    return f"{value:.3f} ({low:.3f} to {high:.3f})" if pd.notna(low) and pd.notna(high) else f"{value:.3f}"


def _number(value: float | None) -> str:
    """Three decimals; a count without."""
    if value is None or math.isnan(value):
        return "not estimable"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.3f}"
