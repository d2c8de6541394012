"""Measure what films know of the label without the lesion: `python benchmarks/shortcuts.py ROOT [--weights FILE]`.

ROOT: a copy of CBIS-DDSM as ingest.root names it. Only official training rows are read, and every score is out of fold
by patient, so that no test label is looked at. Writes tables and figures to docs/shortcuts/. weights: a Keras file
whose
feature map stands for a model; without it the table of models is left as it is. About fifteen minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from mammo.core import schemas
from mammo.core.config import PreprocessConfig
from mammo.core.files import write_rounded_table
from mammo.core.parallel import parallel_map
from mammo.data.datasets import cbis_ddsm
from mammo.data.images import io, preprocess
from mammo.evaluation import border_scores, lesion_verdict, shortcut_controls, shortcut_probe
from mammo.metrics.controlled_auc import controlled_auc
from mammo.metrics.resampling import LabelledRows, Resampling

matplotlib.use("Agg")
from matplotlib import pyplot as plt

FOLDER = Path("docs/shortcuts")
SEED, FOLDS, WORKERS, SIZE_PX, PROBE_PX = 20, 5, 2, 224, 96
RESAMPLING = Resampling(1000, SEED)
SETTINGS = PreprocessConfig(
    size_px=SIZE_PX, bits=8, context=1.5, clahe=None, window_percentiles=(1.0, 99.5),
    edge_margin=0.0, equalisation=0.0, blur_px=0.0,
)  # fmt: skip
VARIANTS: dict[str, dict[str, float]] = {
    "as it is": {},
    "edge_margin 0.02": {"edge_margin": 0.02},
    "equalisation 1": {"equalisation": 1.0},
    "blur_px 1": {"blur_px": 1.0},
    "all three": {"edge_margin": 0.02, "equalisation": 1.0, "blur_px": 1.0},
}
CORNER_PX, CORNERS = 48, 10

Pixels = NDArray[Any]


def read_training_cases(root: Path, unit: str) -> pd.DataFrame:
    """Return the official training rows with folds by patient and the marks of all lesions of each film."""
    cases = cbis_ddsm.locate(root, unit, ["mass"], WORKERS).cases
    cases = cases[cases["official_split"] == "train"].reset_index(drop=True)
    film = cases.groupby(["patient_id", "laterality", "view"])["mask_path"]
    return cases.assign(film_mask_path=film.transform(lambda marks: ";".join(marks.dropna())))


def join_folds(cases: pd.DataFrame) -> pd.DataFrame:
    """Add `fold`, stratified by label."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED)
    fold = np.zeros(len(cases), int)
    for number, (_, held_out) in enumerate(folds.split(cases, cases["label"], cases["patient_id"])):
        fold[held_out] = number
    return cases.assign(fold=pd.array(fold, dtype="Int64"), split="train")


def prepare(cases: pd.DataFrame, root: Path, unit: str, settings: PreprocessConfig) -> dict[str, Any]:
    """Return the arrays of the store and the border statistics."""
    records = cases.to_dict(orient="records")
    samples = list(
        parallel_map(lambda case: preprocess.prepare_sample(case, root, unit, settings), records, WORKERS, unit)
    )
    borders = pd.DataFrame([sample.borders[0] for sample in samples], columns=schemas.BORDER_STATISTICS)
    return {
        "images": np.stack([sample.square.image for sample in samples]),
        "without_lesion": np.stack([sample.without_lesion for sample in samples]),
        "borders": borders.assign(image_path=cases["image_path"]).drop_duplicates("image_path"),
        "removals": pd.Series([sample.removal for sample in samples]).value_counts(),
    }


def extract(arrays: dict[str, Any], weights: Path) -> dict[str, Pixels]:
    """Return mean- and max-pooled features of the images with and without their lesions."""
    import keras

    model = keras.models.load_model(weights, compile=False)
    maps = keras.Model(model.inputs, [keras.ops.mean(model.output, (1, 2)), keras.ops.max(model.output, (1, 2))])
    channels = model.input_shape[-1]
    features = {}
    for name in ("images", "without_lesion"):
        parts = []
        for start in range(0, len(arrays[name]), 32):
            grey = arrays[name][start : start + 32, ..., None].astype(np.float32) / 127.5 - 1
            parts.append(np.concatenate(maps.predict_on_batch(np.repeat(grey, channels, axis=-1)), axis=1))
        features[name] = np.concatenate(parts)
    return features


def predict_out_of_fold(cases: pd.DataFrame, features: dict[str, Pixels]) -> pd.DataFrame:
    """Return predictions with and without the lesion, of each fold by a model of the others."""
    probs = {name: np.zeros(len(cases)) for name in features}
    for fold in range(FOLDS):
        held_out = (cases["fold"] == fold).to_numpy(bool)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced", max_iter=2000))
        model.fit(features["images"][~held_out], cases["label"][~held_out])
        for name in features:
            probs[name][held_out] = model.predict_proba(features[name][held_out])[:, 1]
    columns = ["sample_id", "patient_id", "label", "fold"]
    return cases[columns].assign(prob=probs["images"], prob_without_lesion=probs["without_lesion"])


def measure_model(name: str, rows: pd.DataFrame, scores: pd.DataFrame) -> dict[str, Any]:
    """Return a row of models.csv."""
    labelled, prob = LabelledRows.from_table(rows), rows["prob"].to_numpy(float)
    plain = controlled_auc(labelled, prob, np.zeros(len(rows), int), RESAMPLING)
    values = {"n": plain.n, "n_patients": plain.n_patients}
    values |= {"auc": plain.value, "auc_low": plain.low, "auc_high": plain.high}
    values |= shortcut_controls.control_auc(rows, scores, RESAMPLING)
    return {"model": name, **values, "verdict": lesion_verdict.judge_drop(values)}


def probe_variants(cases: pd.DataFrame, root: Path, unit: str, scores: pd.DataFrame) -> None:
    """Write probe_<unit>.csv, the probes on the arrays of every variant of preprocessing."""
    by_sample = scores.set_index("sample_id")["border_score"]
    tables = []
    for name, change in VARIANTS.items():
        arrays = prepare(cases, root, unit, SETTINGS.model_copy(update={"size_px": PROBE_PX, **change}))
        table = shortcut_probe.probe_shortcuts(cases, arrays, by_sample, RESAMPLING)
        print(unit, name, table.round(3).to_string(), flush=True)
        tables.append(table.assign(unit=unit, preprocessing=name))
        write_rounded_table(FOLDER / f"probe_{unit}.csv", pd.concat(tables))


def draw_corners(rows: pd.DataFrame, root: Path) -> None:
    """Draw the upper corner away from the breast of random films of each class: no patient can be recognised."""
    rng = np.random.default_rng(SEED)
    figure, axes = plt.subplots(2, CORNERS, figsize=(CORNERS, 2.4))
    for line, (label, name) in zip(axes, ((0, "benign"), (1, "malignant")), strict=True):
        chosen = rows[rows["label"] == label].iloc[rng.permutation((rows["label"] == label).sum())[:CORNERS]]
        for axis, case in zip(line, chosen.itertuples(), strict=True):
            grey = io.read_grey(root / case.image_path)
            corner = grey[:CORNER_PX, :CORNER_PX] if case.laterality == "RIGHT" else grey[:CORNER_PX, -CORNER_PX:]
            axis.imshow(corner, cmap="gray", vmin=0, vmax=255)
            axis.set_axis_off()
        line[0].set_title(name, loc="left", fontsize=9)
    save(figure, "corners")


def draw_quartiles(shares: pd.DataFrame) -> None:
    """Draw the malignant share by quartile of the border score."""
    figure, axis = plt.subplots(figsize=(4, 3))
    middle = 100 * shares["share"]
    errors = [middle - 100 * shares["low"], 100 * shares["high"] - middle]
    axis.bar(shares["border_quartile"] + 1, middle, yerr=errors, color="#4878a8", capsize=4)
    axis.set(xlabel="quartile of the border score", ylabel="malignant, %", xticks=[1, 2, 3, 4], ylim=(0, 100))
    save(figure, "quartiles")


def draw_models(models: pd.DataFrame) -> None:
    """Draw each model's plain, controlled and lesion-free AUC."""
    figure, axis = plt.subplots(figsize=(7, 3))
    names = {"auc": "plain", "auc_controlled": "within border quartiles", "auc_without_lesion": "without the lesion"}
    for offset, (column, name) in zip((-0.2, 0, 0.2), names.items(), strict=True):
        table = models[models[column].notna()] if column in models else models.iloc[:0]
        errors = [table[column] - table[f"{column}_low"], table[f"{column}_high"] - table[column]]
        axis.errorbar(table.index + offset, table[column], yerr=errors, fmt="o", capsize=3, label=name)
    axis.axhline(0.5, color="grey", linewidth=0.8)
    axis.set(ylabel="AUC, out of fold", xticks=models.index, xticklabels=models["model"])
    axis.legend(fontsize=8)
    save(figure, "models")


def save(figure: Any, name: str) -> None:
    """Write a figure of a few kilobytes."""
    figure.tight_layout()
    figure.savefig(FOLDER / f"{name}.png", dpi=90, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Write quartiles.csv, models.csv, probe_image.csv, probe_lesion.csv and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    films = join_folds(read_training_cases(args.root, "image"))
    lesions = read_training_cases(args.root, "lesion")
    by_patient = films.drop_duplicates("patient_id").set_index("patient_id")["fold"]
    lesions = lesions.assign(fold=lesions["patient_id"].map(by_patient), split="train")
    arrays = {
        "image": prepare(films, args.root, "image", SETTINGS),
        "lesion": prepare(lesions, args.root, "lesion", SETTINGS),
    }
    print(arrays["lesion"]["removals"], arrays["image"]["removals"])
    scores = {unit: border_scores.score_borders(cases, arrays["image"]["borders"], SEED)
              for unit, cases in (("image", films), ("lesion", lesions))}  # fmt: skip
    shares = border_scores.share_by_quartile(films.merge(scores["image"], on="sample_id"), RESAMPLING)
    write_rounded_table(FOLDER / "quartiles.csv", shares)
    draw_quartiles(shares)
    draw_corners(films, args.root)
    columns = ["sample_id", "patient_id", "label", "fold"]
    border = films[columns].assign(prob=scores["image"]["border_score"].to_numpy())
    birads = lesions[columns].assign(prob=lesions["birads"].map({b: k / 6 for k, b in enumerate(schemas.BIRADS_ORDER)}))
    models = [measure_model("border of the film", border, scores["image"]),
              measure_model("BI-RADS", birads, scores["lesion"])]  # fmt: skip
    print(shares, models, flush=True)
    if args.weights:
        for name, unit, cases in (("whole film", "image", films), ("lesion crop", "lesion", lesions)):
            rows = predict_out_of_fold(cases, extract(arrays[unit], args.weights))
            models.append(measure_model(name, rows, scores[unit]))
            print(models[-1], flush=True)
    table = pd.DataFrame(models)
    write_rounded_table(FOLDER / "models.csv", table)
    draw_models(table)
    del arrays
    for unit, cases in (("image", films), ("lesion", lesions)):
        probe_variants(cases, args.root, unit, scores[unit])


if __name__ == "__main__":
    main()
