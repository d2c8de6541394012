"""What the maps of a finished run found, as a page and a table for docs/results/, without any film."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from mammo.core.files import write_rounded_table, write_text

GRADCAM = Path("data/gradcam")
RETRAINED = GRADCAM / "retrained"
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
CHECKS = {
    "cascade": "rank correlation with the model's own maps once all is drawn anew (Adebayo et al. 2018)",
    "perturbation": "the probability's area as pixels appear in a map's order less that as they vanish",
    "images": "rank correlation of the maps of two patients",
    "labels": "rank correlation with the maps of a model of permuted labels",
    "teaching": "by how much maps under another seed are more like the model's than those of permuted labels",
    "seeds": "by how much maps under another seed are more like the model's than its maps of another patient",
}
REGIONS = {"outside": "outside the breast", "marks": "on film marks", "sides": "along the sides"}
BETTER, WORSE = "▲", "▼"
MARKS = f"""{BETTER} marks what is better, {WORSE} what is worse than the image's centre, a cone that has seen no image:
the interval of the paired difference leaves out 0. Without a mark the two cannot be told apart."""


def write(name: str, models: Iterable[str], folder: Path) -> list[Path]:
    """Write <name>-saliency.md and .csv into `folder`, of those of `models` that data/gradcam explains; none: nothing.

    The .csv is their summary.csv: all metrics, by correct and wrong calls, type and size.
    """
    explained = [model for model in models if (GRADCAM / model / "summary.csv").is_file()]
    if not explained:
        return []
    summary, sanity, shortcuts = (_of_models(GRADCAM, table, explained) for table in TABLES)
    retrained = [model for model in explained if (RETRAINED / model / "sanity.csv").is_file()]
    if retrained:
        sanity = pd.concat([sanity, _of_models(RETRAINED, "sanity", retrained)])
    paths = [folder / f"{name}-saliency.csv", folder / f"{name}-saliency.md"]
    write_rounded_table(paths[0], summary)
    write_text(paths[1], _page(name, summary, sanity, shortcuts))
    return paths


def _of_models(folder: Path, table: str, models: Sequence[str]) -> pd.DataFrame:
    found = {model: pd.read_csv(folder / model / f"{table}.csv") for model in models}
    return pd.concat(found, names=["model", None]).reset_index("model")


def _page(name: str, summary: pd.DataFrame, sanity: pd.DataFrame, shortcuts: pd.DataFrame) -> str:
    overall = summary[summary["variable"] == "all"]
    return f"""# Where the models looked: {name}

Written by `python -m mammo results {name}` from `{GRADCAM}/`, which `dvc repro` computes for each of `models`, and
`python -m stages.gradcam continue_training` for the continued model. Maps of all test samples, scored against the
lesion masks within what the model sees; in brackets: 95 % confidence interval, resampled by patient.
{MARKS}
On crops around lesions the centre lies in the lesion and wins by construction.
`{name}-saliency.csv` has all metrics by correct and wrong calls, type and size of the lesion.

{verdict(overall)}

## Do the maps find the lesions?

{scores_table(overall)}
Pointing game: share of the maps that are highest inside the lesion. Energy: share of a map inside it. Distance: from
the map's maximum to the lesion. The best threshold is one for all samples, chosen on these, which flatters it.

## The pointing game by call and size of the lesion

{_by_group(summary)}
## Sanity checks

{_checks(sanity)}
{_rules(sanity)}
A check is passed where the whole interval is on the right side of the limit, failed where all of it is on the wrong
side, else undecided: n samples, drawn by patient, do not tell. A dash where no map is left to tell by.

## How much of the maps lies where no diagnosis can come from

{_regions(shortcuts)}
In italics what an even map has there; {BETTER} marks maps that have more. Only samples that show such a region count.
"""


def verdict(overall: pd.DataFrame) -> str:
    """The pointing game in a sentence; overall: `localisation.summary` of all samples, by model and method."""
    rows = overall[overall["metric"] == "pointing"]
    marks = [_mark(row) for _, row in rows.iterrows()]
    best = rows.sort_values("mean").iloc[-1]
    return (
        f"Of {len(rows)} pairs of a model and a method, {marks.count(BETTER)} point at lesions better than the image's "
        f"centre does, {marks.count(WORSE)} worse. Most often {best['model']} does by {best['method']}: on "
        f"{best['mean']:.1%} of the {best['n']:.0f} samples; the centre lies in a lesion on {best['centre']:.1%}, a "
        f"random pixel on {best['random']:.1%}."
    )


def scores_table(overall: pd.DataFrame) -> str:
    """METRICS of each model and method, and of the baselines, which may differ by model; overall as for `verdict`."""
    lines = [["model", "method", "n (patients)", *METRICS.values()]]
    for (model, method), own in overall.groupby(["model", "method"], sort=False):
        of = {row["metric"]: row for _, row in own.iterrows()}
        count = f"{of['pointing']['n']:.0f} ({of['pointing']['n_patients']:.0f})"
        lines.append([str(model), str(method), count, *(_marked(of[name]) for name in METRICS)])
    return _table([*lines, *_baselines(overall)])


def _baselines(overall: pd.DataFrame) -> list[list[str]]:
    """A line per baseline, or per models on whose crops it has the same scores."""
    models: dict[tuple[str, ...], list[str]] = {}
    for model, own in overall.groupby("model", sort=False):
        # A method that leaves some maps empty has no distance of these, nor of the baselines beside them.
        of = own.sort_values("n", kind="stable").drop_duplicates("metric", keep="last").set_index("metric")
        for baseline, title in BASELINES.items():
            values = (f"*{float(of[baseline][name]):.3f}*" for name in METRICS)
            models.setdefault((f"*{title}*", *values), []).append(str(model))
    several = len(models) > len(BASELINES)
    return [[title, f"*{', '.join(of)}*" if several else "", "", *values] for (title, *values), of in models.items()]


def _by_group(summary: pd.DataFrame) -> str:
    pointing = summary[summary["metric"] == "pointing"]
    lines = [["model", "method", *(title for _, _, title in GROUPS)]]
    for (model, method), own in pointing.groupby(["model", "method"], sort=False):
        of = {(row["variable"], row["value"]): row for _, row in own.iterrows()}
        rows = [of.get((variable, value)) for variable, value, _ in GROUPS]
        cells = ["-" if row is None else f"{_marked(row)}, n {row['n']:.0f}" for row in rows]
        lines.append([str(model), str(method), *cells])
    return _table(lines)


def _checks(sanity: pd.DataFrame) -> str:
    checks = [check for check in CHECKS if check in set(sanity["check"])]
    lines = [["model", "method", *checks]]
    for (model, method), own in sanity.groupby(["model", "method"], sort=False):
        of = {row["check"]: row for _, row in own.iterrows()}
        lines.append([str(model), str(method), *(_judged(of[check]) if check in of else "" for check in checks)])
    return _table(lines)


def _rules(sanity: pd.DataFrame) -> str:
    rows = sanity.drop_duplicates("check").set_index("check")
    found = [(check, value, rows.loc[check]) for check, value in CHECKS.items() if check in rows.index]
    return "".join(f"- {check}: {value}, {row['must']} {row['limit']:g}\n" for check, value, row in found)


def _judged(row: pd.Series) -> str:
    verdict = f"**{row['verdict']}**" if row["verdict"] == "failed" else row["verdict"]
    return f"{verdict}: {_value(row, 'value')}, n {row['n']:.0f}"


def _regions(shortcuts: pd.DataFrame) -> str:
    lines = [["model", "method", *REGIONS.values()]]
    for (model, method), own in shortcuts.groupby(["model", "method"], sort=False):
        of = {row["region"]: row for _, row in own.iterrows()}
        lines.append([str(model), str(method), *(_region(of[region]) for region in REGIONS)])
    return _table(lines)


def _region(row: pd.Series) -> str:
    if pd.isna(row["mean"]):
        return "-"
    more = f" {BETTER}" if row["above_low"] > 0 else ""
    return f"{_value(row)}, *{row['even']:.3f}*{more}, n {row['n']:.0f}"


def _value(row: pd.Series, column: str = "mean") -> str:
    if pd.isna(row[column]):
        return "-"
    known = pd.notna(row["low"])
    return f"{row[column]:.3f} ({row['low']:.3f} to {row['high']:.3f})" if known else f"{row[column]:.3f}"


def _marked(row: pd.Series) -> str:
    return f"{_value(row)} {_mark(row)}".strip()


def _mark(row: pd.Series) -> str:
    """Whether a metric is better or worse than the centre's beyond chance."""
    low, high = row["above_low"], row["above_high"]
    if pd.isna(low) and row["n_patients"] > 1:  # all patients agree
        low = high = row["above_centre"]
    if low > 0:
        return WORSE if row["metric"] in LESS_IS_BETTER else BETTER
    if high < 0:
        return BETTER if row["metric"] in LESS_IS_BETTER else WORSE
    return ""


def _table(lines: list[list[str]]) -> str:
    head, *rows = ["| " + " | ".join(cell.strip() for cell in line) + " |" for line in lines]
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rows]) + "\n"
