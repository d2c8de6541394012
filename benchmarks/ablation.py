"""Measure changes of models on real mammograms, one at a time: `python benchmarks/ablation.py [VARIANT ...]`.

First `python -m mammo profile cbis-ddsm-mass && python -m mammo profile ablation && dvc repro preprocess`. Each variant
changes a few values of params.yaml and is cross-validated by patient over the official training rows; no test row is
read. Writes docs/results/ablation.csv and .md: the out-of-fold AUC, and its paired difference from the variant that it
changes. Finished variants are kept in .dvc/tmp/mammo/ and not trained again. With names, these variants and those that
they are compared with are trained, and the other rows of the table stay; without one all are (hours on two cores).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import keras
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mammo.core import resume, schemas
from mammo.core.config import PARAMS_FILE, Config, SplitConfig, TrainingConfig, parse_config
from mammo.core.errors import InputError
from mammo.core.files import read_table, write_table, write_text
from mammo.core.paths import PIXELS
from mammo.data.samples import open_store
from mammo.evaluation import comparison_rows
from mammo.metrics import auc_tests
from mammo.metrics.resampling import LabelledRows, Resampling
from mammo.pipeline import train_run
from mammo.reporting import comparison
from mammo.training import folds
from mammo.training.backend import use_deterministic_kernels

RESULTS = Path("docs/results")
# A frozen base: one context, no augmentation.
PLAIN: dict[str, object] = {"augmentation_strength": 0.0, "crops": [0.75], "mirrored_rows": False}


@dataclass(frozen=True)
class Variant:
    """Changes of one model's entry and of section `train`; against: the variant that it is compared with."""

    model: str
    question: str
    against: str | None = None
    model_changes: dict[str, object] = field(default_factory=dict)
    train_changes: dict[str, object] = field(default_factory=dict)


VARIANTS = {
    "light_cnn": Variant("light_cnn", "trained from random weights, 64 px, cross-entropy"),
    "light_cnn, focal": Variant("light_cnn", "focal loss instead of cross-entropy", "light_cnn", {"loss": "focal"}),
    "light_cnn, plain": Variant("light_cnn", "no augmentation", "light_cnn", {"augmentation_strength": 0.0}),
    "light_cnn, noise": Variant(
        "light_cnn", "noise of SD 2 %", "light_cnn", train_changes={"augmentation.noise": 0.02}
    ),
    "light_cnn, unweighted": Variant("light_cnn", "no class weights", "light_cnn", train_changes={"balance": "none"}),
    "light_cnn, 128 px": Variant("light_cnn", "128 px", "light_cnn", {"input_px": 128}),
    "light_cnn, wide": Variant("light_cnn", "context 2.0 instead of 1.5", "light_cnn", {"crops": [1.0]}),
    "frozen": Variant("frozen_features", "frozen ResNet50V2-conv4, 224 px, logistic regression", None, PLAIN),
    "frozen, 112 px": Variant("frozen_features", "112 px", "frozen", PLAIN | {"input_px": 112}),
    "frozen, context 2.0": Variant("frozen_features", "context 2.0", "frozen", PLAIN | {"crops": [1.0]}),
    "frozen, context 1.2": Variant("frozen_features", "context 1.2", "frozen", PLAIN | {"crops": [0.6]}),
    "frozen, context 1.0": Variant("frozen_features", "context 1.0", "frozen", PLAIN | {"crops": [0.5]}),
    "frozen, average": Variant("frozen_features", "average pooling alone", "frozen", PLAIN | {"pool_max": False}),
    "frozen, random": Variant("frozen_features", "random weights", "frozen", PLAIN | {"weights": "none"}),
    "frozen, all contexts": Variant(
        "frozen_features", "contexts 2.0, 1.5, 1.2 and 1.0", "frozen", PLAIN | {"crops": [1.0, 0.75, 0.6, 0.5]}
    ),
    "frozen, augmented": Variant(
        "frozen_features", "four augmented copies", "frozen", PLAIN | {"augmentation_strength": 1.0}
    ),
    "frozen, mirrored": Variant(
        "frozen_features",
        "all contexts, and the mirror images of each sample as rows",
        "frozen, all contexts",
        PLAIN | {"crops": [1.0, 0.75, 0.6, 0.5], "mirrored_rows": True},
    ),
    "frozen, noise": Variant(
        "frozen_features",
        "noise of SD 2 % on the copies",
        "frozen, augmented",
        PLAIN | {"augmentation_strength": 1.0},
        {"augmentation.noise": 0.02},
    ),
    "mobilenet_v2, head": Variant(
        "mobilenet_v2",
        "160 px, ImageNet weights, frozen, logistic regression",
        None,
        {"trainable": [], "optimizer": "logistic_regression"},
    ),
    "mobilenet_v2": Variant("mobilenet_v2", "head first, then all of it", "mobilenet_v2, head"),
    "mobilenet_v2, none": Variant(
        "mobilenet_v2", "from random weights", "mobilenet_v2", {"weights": "none", "head_epochs": 0}
    ),
}


def apply_variant(content: dict[str, object], variant: Variant) -> Config:
    """Return params.yaml's content with the variant's values, and without flips, which help every variant."""
    content = copy.deepcopy(content)
    content["models"][variant.model] |= variant.model_changes
    for key, value in variant.train_changes.items():
        *sections, last = key.split(".")
        section = content["train"]
        for name in sections:
            section = section[name]
        section[last] = value
    content["predict"]["flips"] = False
    return parse_config(content)


def out_of_fold(variant: Variant, content: dict[str, object]) -> pd.DataFrame:
    """Return the predictions of every fold (schemas.OUT_OF_FOLD without `repeat`), computed once."""
    config = apply_variant(content, variant)
    foundations = (config.split.model_dump_json(), config.predict.model_dump_json())
    task = replace(train_run.task_for("ablation", variant.model, config), foundations=foundations)
    path = resume.cache_folder("ablation", task.resume_key()) / "oof.csv"
    if not path.is_file():
        with train_run.resume_folder(task) as folder:
            parts = [predict_fold(task.config, config.split, fold, folder) for fold in range(config.split.folds)]
        table = schemas.select_columns(pd.concat(parts, ignore_index=True).assign(repeat=0), schemas.OUT_OF_FOLD)
        write_table(path, table, schemas.OUT_OF_FOLD)
    return read_table(path, schemas.OUT_OF_FOLD).drop(columns="repeat")


def predict_fold(config: TrainingConfig, split: SplitConfig, fold: int, folder: Path) -> pd.DataFrame:
    """Train without one fold and return its predictions."""
    samples = folds.fold_samples(open_store(PIXELS), fold, split.val_fraction, config.seed)
    fold_config, weights_path = replace(config, seed=config.seed + fold), train_run.find_weights(config.model)
    checkpoint_dir = folder / str(fold)
    model, _ = folds.fit_fold(samples, fold_config, weights_path, checkpoint_dir, epoch_printer(fold))
    return folds.predict_held_out(model, samples, config.predict.flips).assign(fold=fold)


def epoch_printer(fold: int) -> Callable[[int, dict[str, float]], None]:
    """Return a callback that prints an epoch's validation AUC."""
    return lambda epoch, values: print(f"  fold {fold}, epoch {epoch + 1}: val_auc {values['val_auc']:.3f}", flush=True)


def row(name: str, predictions: dict[str, pd.DataFrame], config: Config) -> dict[str, object]:
    """Return one row of the table."""
    variant, rows = VARIANTS[name], predictions[name][predictions[name]["split"] == "oof"]
    auc = comparison_rows.evaluate_predictions(predictions[name], config.evaluate, config.seed).intervals["auc"]
    line: dict[str, object] = {
        "variant": name,
        "model": variant.model,
        "what": variant.question,
        "n": auc.n,
        "n_patients": auc.n_patients,
        "auc": auc.value,
        "auc_low": auc.low,
        "auc_high": auc.high,
        "against": variant.against,
    }
    if variant.against not in predictions:
        return line
    reference = predictions[variant.against]
    both = rows.merge(
        reference[reference["split"] == "oof"][["sample_id", "prob"]], on="sample_id", suffixes=("", "_reference")
    )
    test = auc_tests.paired_auc_test(
        LabelledRows.from_table(both),
        both["prob_reference"],
        both["prob"],
        Resampling(config.evaluate.resamples, config.seed),
    )
    limits = {"difference": test.difference, "difference_low": test.low, "difference_high": test.high}
    return line | limits | {"p": test.p_value}


def page(table: pd.DataFrame) -> str:
    """Return the table as a Markdown page."""
    lines = ["| variant | what | AUC, out of fold | against | difference | p |", "|---|---|---|---|---|---|"]
    for _, line in table.iterrows():
        compared = pd.notna(line["difference"])
        against = line["against"] if compared else "-"
        limits = f"({line['difference_low']:+.3f} to {line['difference_high']:+.3f})"
        difference = f"{line['difference']:+.3f} {limits}" if compared else "-"
        p = ("< .001" if line["p"] < 0.001 else f"{line['p']:.3f}") if compared else "-"
        cells = [line["variant"], line["what"], comparison.format_interval(line, "auc"), against, difference, p]
        lines.append("| " + " | ".join(cells) + " |")
    return f"""# Ablation on real mammograms

Written by `python benchmarks/ablation.py`, after `python -m mammo profile cbis-ddsm-mass`,
`python -m mammo profile ablation` and `dvc repro preprocess`.

The mass set of CBIS-DDSM, one sample = one lesion in one view: {table["n"].iloc[0]} official training rows of
{table["n_patients"].iloc[0]} patients, cross-validated by patient over the folds of the split stage. No test row was
read. Each AUC is the mean over the folds, with its 95 % interval resampled by patient; each difference is paired, on
the same rows, and its p is not corrected for the number of questions. One seed per variant: what a network from random
weights gains or loses by .02 may be chance. Predictions without flips.

{chr(10).join(lines)}
"""


def main(names: list[str]) -> None:
    """Train the named variants, or all, and write the table of their results."""
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise InputError(f"unknown variant {unknown[0]!r}; there are: {'; '.join(VARIANTS)}")
    content = yaml.safe_load(PARAMS_FILE.read_text())
    use_deterministic_kernels()
    keras.utils.disable_interactive_logging()
    predictions = {}
    for name in with_references(names) or VARIANTS:
        start = perf_counter()
        print(name, flush=True)
        predictions[name] = out_of_fold(VARIANTS[name], content)
        print(f"  {perf_counter() - start:.0f} s", flush=True)
    config = parse_config(content)
    measured = pd.DataFrame([row(name, predictions, config) for name in predictions])
    table = keep_others(measured.round(4), read_kept()) if names else measured.round(4)
    write_text(RESULTS / "ablation.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(RESULTS / "ablation.md", page(table))


def with_references(names: list[str]) -> list[str]:
    """Return `names` with the variants that they are compared with, each once, in the order of VARIANTS."""
    wanted = {*names, *(VARIANTS[name].against for name in names)}
    return [name for name in VARIANTS if name in wanted]


def read_kept() -> pd.DataFrame | None:
    """Read the table of earlier runs."""
    path = RESULTS / "ablation.csv"
    return pd.read_csv(path) if path.is_file() else None


def keep_others(measured: pd.DataFrame, kept: pd.DataFrame | None) -> pd.DataFrame:
    """Return `measured` and the rows of `kept` for other variants, in the order of VARIANTS."""
    others = kept[kept["variant"].isin(set(VARIANTS) - set(measured["variant"]))] if kept is not None else None
    order = {name: place for place, name in enumerate(VARIANTS)}
    return pd.concat([others, measured]).sort_values("variant", key=lambda names: names.map(order))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
