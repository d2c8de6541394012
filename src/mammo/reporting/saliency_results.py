"""The saliency maps of a finished run against the lesions, as a page and a table for docs/results/, without films."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from mammo.core.files import write_rounded_table, write_text
from mammo.core.paths import GRADCAM, RETRAINED_MAPS
from mammo.explain.shortcuts import REGIONS
from mammo.explain.verdicts import CHECKS, FAILED

TABLES = ("summary", "sanity", "shortcuts")
METRICS = {
    "pointing": "pointing game",
    "energy": "energy inside",
    "iou": "IoU at half the maximum",
    "iou_best": "IoU at the best threshold",
    "distance_px": "distance, px",
}
LESS_IS_BETTER = {"distance_px"}
BASELINES = {"centre": "the image's centre", "random": "an even map"}
GROUPS = [
    *(("call", value, f"{value} call") for value in ("correct", "wrong")),
    *(("size", value, f"{value} lesion") for value in ("small", "medium", "large")),
]
BETTER, WORSE = "▲", "▼"
MARKS = f"""{BETTER} marks what is better, {WORSE} what is worse than the image's centre, a cone that has seen no image:
the interval of the paired difference leaves out 0. Without a mark the two cannot be told apart."""


def write_saliency_page(name: str, models: Iterable[str], folder: Path) -> list[Path]:
    """Write <name>-saliency.md and .csv into `folder`, of those of `models` that data/gradcam explains; none: nothing.

    The .csv is their summary.csv: all metrics, by correct and wrong calls, type and size.
    """
    explained = [model for model in models if (GRADCAM / model / "summary.csv").is_file()]
    if not explained:
        return []
    summary, sanity, shortcuts = (_read_models(GRADCAM, table, explained) for table in TABLES)
    retrained = [model for model in explained if (RETRAINED_MAPS / model / "sanity.csv").is_file()]
    if retrained:
        sanity = pd.concat([sanity, _read_models(RETRAINED_MAPS, "sanity", retrained)])
    paths = [folder / f"{name}-saliency.csv", folder / f"{name}-saliency.md"]
    write_rounded_table(paths[0], summary)
    write_text(paths[1], _render_page(name, summary, sanity, shortcuts))
    return paths


def _read_models(folder: Path, table: str, models: Sequence[str]) -> pd.DataFrame:
    tables = {model: pd.read_csv(folder / model / f"{table}.csv") for model in models}
    return pd.concat(tables, names=["model", None]).reset_index("model")


def _render_page(name: str, summary: pd.DataFrame, sanity: pd.DataFrame, shortcuts: pd.DataFrame) -> str:
    overall = summary[summary["variable"] == "all"]
    return f"""# Where the models looked: {name}

Written by `python -m mammo results {name}` from `{GRADCAM}/`, which `dvc repro` computes for each of `models`, and
`python -m stages.gradcam continue_training` for the continued model. Maps of all test samples, scored against the
lesion masks within what the model sees; in brackets: 95 % confidence interval, resampled by patient.
{MARKS}
On crops around lesions the centre lies in the lesion and wins by construction.
`{name}-saliency.csv` has all metrics by correct and wrong calls, type and size of the lesion.

{summarize_pointing(overall)}

## Do the maps find the lesions?

{tabulate_scores(overall)}
Pointing game: share of the maps that are highest inside the lesion. Energy: share of a map inside it. Distance: from
the map's maximum to the lesion. The best threshold is one for all samples, chosen on these, which flatters it.

## The pointing game by call and size of the lesion

{_tabulate_groups(summary)}
## Sanity checks

{_tabulate_checks(sanity)}
{_list_rules(sanity)}
A check is passed where the whole interval is on the right side of the limit, failed where all of it is on the wrong
side, else undecided: n samples, resampled by patient, do not suffice. A dash stands where all maps are even.

## How much of the maps lies where no diagnosis can come from

{_tabulate_regions(shortcuts)}
In italics what an even map has there; {BETTER} marks maps that have more. Only samples that show such a region count.
"""


def summarize_pointing(overall: pd.DataFrame) -> str:
    """Summarize the pointing game in a sentence.

    overall: `localization.summarize_scores` of all samples, by model and method.
    """
    rows = overall[overall["metric"] == "pointing"]
    marks = [_choose_mark(row) for _, row in rows.iterrows()]
    best = rows.sort_values("mean").iloc[-1]
    return (
        f"Of {len(rows)} pairs of a model and a method, {marks.count(BETTER)} point at lesions better than the image's "
        f"centre does, {marks.count(WORSE)} worse. Most often {best['model']} does by {best['method']}: on "
        f"{best['mean']:.1%} of the {best['n']:.0f} samples; the centre lies in a lesion on {best['centre']:.1%}, a "
        f"random pixel on {best['random']:.1%}."
    )


def tabulate_scores(overall: pd.DataFrame) -> str:
    """Tabulate METRICS of each model and method, and of the baselines, which may differ by model.

    overall: as for `summarize_pointing`.
    """
    lines = [["model", "method", "n (patients)", *METRICS.values()]]
    for (model, method), rows in overall.groupby(["model", "method"], sort=False):
        by_key = {row["metric"]: row for _, row in rows.iterrows()}
        count = f"{by_key['pointing']['n']:.0f} ({by_key['pointing']['n_patients']:.0f})"
        lines.append([str(model), str(method), count, *(_format_marked(by_key[name]) for name in METRICS)])
    return _format_table([*lines, *_tabulate_baselines(overall)])


def _tabulate_baselines(overall: pd.DataFrame) -> list[list[str]]:
    """Return a line per baseline, or per models on whose crops it has the same scores."""
    models: dict[tuple[str, ...], list[str]] = {}
    for model, rows in overall.groupby("model", sort=False):
        # A method that leaves some maps empty has no distance of these, nor of the baselines beside them.
        scores = rows.sort_values("n", kind="stable").drop_duplicates("metric", keep="last").set_index("metric")
        for baseline, title in BASELINES.items():
            values = (f"*{float(scores[baseline][name]):.3f}*" for name in METRICS)
            models.setdefault((f"*{title}*", *values), []).append(str(model))
    several = len(models) > len(BASELINES)
    return [
        [title, f"*{', '.join(names)}*" if several else "", "", *values] for (title, *values), names in models.items()
    ]


def _tabulate_groups(summary: pd.DataFrame) -> str:
    pointing = summary[summary["metric"] == "pointing"]
    lines = [["model", "method", *(title for _, _, title in GROUPS)]]
    for (model, method), rows in pointing.groupby(["model", "method"], sort=False):
        by_key = {(row["variable"], row["value"]): row for _, row in rows.iterrows()}
        groups = [by_key.get((variable, value)) for variable, value, _ in GROUPS]
        cells = ["-" if row is None else f"{_format_marked(row)}, n {row['n']:.0f}" for row in groups]
        lines.append([str(model), str(method), *cells])
    return _format_table(lines)


def _tabulate_checks(sanity: pd.DataFrame) -> str:
    checks = [check for check in CHECKS if check in set(sanity["check"])]
    lines = [["model", "method", *checks]]
    for (model, method), rows in sanity.groupby(["model", "method"], sort=False):
        by_key = {row["check"]: row for _, row in rows.iterrows()}
        cells = [_format_verdict(by_key[check]) if check in by_key else "" for check in checks]
        lines.append([str(model), str(method), *cells])
    return _format_table(lines)


def _list_rules(sanity: pd.DataFrame) -> str:
    rows = sanity.drop_duplicates("check").set_index("check")
    rules = [(check, value, rows.loc[check]) for check, value in CHECKS.items() if check in rows.index]
    return "".join(f"- {check}: {value}, {row['must']} {row['limit']:g}\n" for check, value, row in rules)


def _format_verdict(row: pd.Series) -> str:
    verdict = f"**{row['verdict']}**" if row["verdict"] == FAILED else row["verdict"]
    return f"{verdict}: {_format_value(row, 'value')}, n {row['n']:.0f}"


def _tabulate_regions(shortcuts: pd.DataFrame) -> str:
    lines = [["model", "method", *REGIONS.values()]]
    for (model, method), rows in shortcuts.groupby(["model", "method"], sort=False):
        by_key = {row["region"]: row for _, row in rows.iterrows()}
        lines.append([str(model), str(method), *(_format_region(by_key[region]) for region in REGIONS)])
    return _format_table(lines)


def _format_region(row: pd.Series) -> str:
    if pd.isna(row["mean"]):
        return "-"
    more = f" {BETTER}" if row["above_low"] > 0 else ""
    return f"{_format_value(row)}, *{row['even']:.3f}*{more}, n {row['n']:.0f}"


def _format_value(row: pd.Series, column: str = "mean") -> str:
    if pd.isna(row[column]):
        return "-"
    limited = pd.notna(row["low"])
    return f"{row[column]:.3f} ({row['low']:.3f} to {row['high']:.3f})" if limited else f"{row[column]:.3f}"


def _format_marked(row: pd.Series) -> str:
    return f"{_format_value(row)} {_choose_mark(row)}".strip()


def _choose_mark(row: pd.Series) -> str:
    """Mark a metric that is better or worse than the centre's beyond chance."""
    low, high = row["above_low"], row["above_high"]
    if pd.isna(low) and row["n_patients"] > 1:  # all patients agree
        low = high = row["above_centre"]
    if low > 0:
        return WORSE if row["metric"] in LESS_IS_BETTER else BETTER
    if high < 0:
        return BETTER if row["metric"] in LESS_IS_BETTER else WORSE
    return ""


def _format_table(lines: list[list[str]]) -> str:
    head, *rows = ["| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rows]) + "\n"
