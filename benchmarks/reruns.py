"""Does a row come out again? `python benchmarks/reruns.py ONE OTHER`: two workspaces with the same profile's results.

Compares the cross-validations (data/predictions/out_of_fold) that both folders hold, e.g. of two machines, or of one
with another number of threads. Training rows alone, each scored by the model that never saw its patient. Per fold: the
AUC of the one training and of the other. In all: the mean over the folds, as the comparison table states it, and its SD
over the folds; the controlled and the lesion-free AUC; the SD of one training's AUC, from the differences.
Writes docs/results/reruns.{csv,md}.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.core.files import read_splits, write_text
from mammo.core.paths import BORDERS, CASES, OUT_OF_FOLD, SPLITS
from mammo.evaluation import border_scores, shortcut_controls
from mammo.metrics import discrimination
from mammo.metrics.resampling import Resampling

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
RUNS = ("one", "other")
CONTROLS = {
    "controlled AUC, all training rows": shortcut_controls.CONTROLLED,
    "AUC without the lesion, all training rows": shortcut_controls.WITHOUT_LESION,
}


def held_out_rows(folder: Path, model: str) -> pd.DataFrame:
    """Return the rows of the held-out folds, never those of split test."""
    rows = pd.read_csv(folder / OUT_OF_FOLD / f"{model}.csv", dtype={"patient_id": str})
    return rows[rows["split"] == "oof"].sort_values("sample_id", ignore_index=True)


def fold_aucs(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return the AUC of each training on its held-out fold."""
    aucs = {key: discrimination.auc(part["label"], part["prob"]) for key, part in rows.groupby(["repeat", "fold"])}
    return pd.Series(aucs, dtype=np.float64)


def controls(folder: Path, rows: pd.DataFrame) -> dict[str, float]:
    """Return the controlled and the lesion-free AUC of the rows, each scored out of fold."""
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    keys = ["sample_id", "patient_id"]
    cases = read_splits(folder / SPLITS).merge(pd.read_csv(folder / CASES, dtype={"patient_id": str}), on=keys)
    borders = border_scores.score_borders(cases, pd.read_csv(folder / BORDERS), params["seed"])
    resampling = Resampling(params["evaluate"]["resamples"], params["seed"], params["evaluate"]["confidence"])
    metrics = shortcut_controls.control_auc(rows, borders, resampling)
    return {name: metrics[key] for name, key in CONTROLS.items()}


def compare(one: Path, other: Path, model: str) -> pd.DataFrame:
    """Return a table of quantity, one, other, difference for a model."""
    rows = [held_out_rows(folder, model) for folder in (one, other)]
    if not rows[0]["sample_id"].equals(rows[1]["sample_id"]):
        sys.exit(f"{model}: the two workspaces held out other samples; split both with the same params.yaml")
    aucs = [fold_aucs(table) for table in rows]
    moved = aucs[1] - aucs[0]
    table = [(f"AUC, fold {fold}", aucs[0][fold], aucs[1][fold]) for fold in aucs[0].index]
    table += [("AUC, mean over the folds", aucs[0].mean(), aucs[1].mean())]
    table += [("SD over the folds", aucs[0].std(), aucs[1].std())]
    of_controls = [controls(folder, part) for folder, part in zip((one, other), rows, strict=True)]
    table += [(name, of_controls[0][name], of_controls[1][name]) for name in CONTROLS]
    result = pd.DataFrame(table, columns=["quantity", *RUNS]).assign(model=model)
    result["difference"] = result["other"] - result["one"]
    typical = float(np.sqrt(np.mean(moved**2) / 2))  # two trainings differ by sqrt(2) times the SD of one
    return pd.concat(
        [result, pd.DataFrame([{"model": model, "quantity": "SD of one training", "difference": typical}])]
    )


def to_text(table: pd.DataFrame) -> str:
    """Return the page."""
    lines = ["| model | quantity | one run | the other | difference |", "|---|---|---|---|---|"]
    for row in table.to_dict("records"):
        numbers = ["" if np.isnan(row[column]) else f"{row[column]:.3f}" for column in (*RUNS, "difference")]
        lines.append(f"| {row['model']} | {row['quantity']} | {' | '.join(numbers)} |")
    head = " ".join((__doc__ or "").split("\n\n")[1].rpartition(" Writes ")[0].split())
    return f"# Do the rows come out again?\n\n{head}\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    """Compare all models that both workspaces have cross-validated; print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    args = parser.parse_args()
    models = [{path.stem for path in (folder / OUT_OF_FOLD).glob("*.csv")} for folder in (args.one, args.other)]
    both = sorted(models[0] & models[1])
    if not both:
        sys.exit(f"no model is in {OUT_OF_FOLD} of both {args.one} and {args.other}; `dvc repro` makes them")
    table = pd.concat([compare(args.one, args.other, model) for model in both], ignore_index=True)
    columns = ["model", "quantity", *RUNS, "difference"]
    write_text(RESULTS / "reruns.csv", table[columns].round(6).to_csv(index=False, lineterminator="\n"))
    write_text(RESULTS / "reruns.md", to_text(table))
    print(to_text(table))


if __name__ == "__main__":
    main()
