"""What helps on real mammograms, and what does not: `python benchmarks/ablation.py [VARIANT ...]`.

First `python -m mammo profile cbis-ddsm-mass && python -m mammo profile ablation && dvc repro preprocess`. Each variant
changes a few values of params.yaml and is cross-validated by patient over the official training rows; no test row is
read. Writes docs/results/ablation.csv and .md: the out-of-fold AUC, and its paired difference from the variant that it
changes. A variant that is finished is kept in .dvc/tmp/mammo/ and not trained again; without a name all are (hours on
two cores).
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import keras
import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mammo.core import resume, schemas
from mammo.core.config import PARAMS_FILE, Config, parse_config
from mammo.core.errors import InputError
from mammo.core.files import read_table, write_table, write_text
from mammo.core.paths import PIXELS, data_fingerprint
from mammo.data.samples import open_store
from mammo.evaluation import comparison_rows
from mammo.metrics import auc_tests
from mammo.metrics.resampling import LabelledRows, Resampling
from mammo.pipeline import train_run
from mammo.reporting import comparison
from mammo.training import folds
from mammo.training.backend import use_deterministic_kernels

RESULTS = Path("docs/results")
PLAIN = {"augmentation_strength": 0.0, "crops": [0.75]}  # of a frozen base: one context, the images as they are


@dataclass(frozen=True)
class Variant:
    """A model with some of its own values changed (`own`), or of `train` (`recipe`); `against`: what it is held to."""

    model: str
    question: str
    against: str | None = None
    own: dict[str, object] = field(default_factory=dict)
    recipe: dict[str, object] = field(default_factory=dict)


VARIANTS = {
    "light_cnn": Variant("light_cnn", "trained from random weights, 64 px, cross-entropy"),
    "light_cnn, focal": Variant("light_cnn", "focal loss instead of cross-entropy", "light_cnn", {"loss": "focal"}),
    "light_cnn, plain": Variant("light_cnn", "no augmentation", "light_cnn", {"augmentation_strength": 0.0}),
    "light_cnn, noise": Variant("light_cnn", "noise of SD 2 %", "light_cnn", recipe={"augmentation.noise": 0.02}),
    "light_cnn, unweighted": Variant("light_cnn", "no class weights", "light_cnn", recipe={"balance": "none"}),
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
    "frozen, augmented": Variant("frozen_features", "four augmented copies", "frozen", {"crops": [0.75]}),
    "frozen, noise": Variant(
        "frozen_features",
        "noise of SD 2 % on the copies",
        "frozen, augmented",
        {"crops": [0.75]},
        {"augmentation.noise": 0.02},
    ),
    "mobilenet_v2, head": Variant("mobilenet_v2", "160 px, ImageNet weights, frozen", None, {"trainable": []}),
    "mobilenet_v2": Variant("mobilenet_v2", "head first, then all of it", "mobilenet_v2, head"),
    "mobilenet_v2, none": Variant(
        "mobilenet_v2", "from random weights", "mobilenet_v2", {"weights": "none", "head_epochs": 0}
    ),
}


def changed(content: dict[str, object], variant: Variant) -> Config:
    """params.yaml's content with the variant's values; prediction without flips, which all variants would gain from."""
    content = copy.deepcopy(content)
    content["models"][variant.model] |= variant.own
    for key, value in variant.recipe.items():
        *sections, last = key.split(".")
        section = content["train"]
        for name in sections:
            section = section[name]
        section[last] = value
    content["predict"]["flips"] = False
    return parse_config(content)


def out_of_fold(variant: Variant, content: dict[str, object]) -> pd.DataFrame:
    """Predictions of every fold; read back where they were computed before."""
    loaded = changed(content, variant)
    own, recipe = loaded.model(variant.model), loaded.train
    described = [own.model_dump_json(), recipe.model_dump_json(), loaded.split.model_dump_json(), str(loaded.seed)]
    foundations = [data_fingerprint(), keras.backend.backend(), *described, *resume.source_texts(*train_run.ROOMS)]
    kept = resume.cache_folder("ablation", resume.content_key(*foundations)) / "oof.csv"
    if not kept.is_file():
        samples = open_store(PIXELS)
        with train_run.workplace("ablation", own, recipe, loaded, loaded.split.model_dump_json()) as folder:
            parts = [
                folds.fit_fold(variant.model, fold, samples, loaded, loaded.seed, told(fold), folder / str(fold))[0]
                for fold in range(loaded.split.folds)
            ]
        table = pd.concat(parts, ignore_index=True).assign(repeat=0)[list(schemas.OUT_OF_FOLD.columns)]
        write_table(kept, table, schemas.OUT_OF_FOLD)
    return read_table(kept, schemas.OUT_OF_FOLD).drop(columns="repeat")


def told(fold: int) -> Callable[[int, dict[str, float]], None]:
    """A log that prints an epoch's validation AUC."""
    return lambda epoch, values: print(f"  fold {fold}, epoch {epoch + 1}: val_auc {values['val_auc']:.3f}", flush=True)


def row(name: str, found: dict[str, pd.DataFrame], loaded: Config) -> dict[str, object]:
    """One line of the table."""
    variant, rows = VARIANTS[name], found[name][found[name]["split"] == "oof"]
    auc = comparison_rows.evaluate_predictions(found[name], loaded.evaluate, loaded.seed).intervals["auc"]
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
    if variant.against not in found:
        return line
    other = found[variant.against]
    both = rows.merge(other[other["split"] == "oof"][["sample_id", "prob"]], on="sample_id", suffixes=("", "_other"))
    test = auc_tests.paired_auc_test(
        LabelledRows.from_table(both),
        both["prob_other"],
        both["prob"],
        Resampling(loaded.evaluate.resamples, loaded.seed),
    )
    limits = {"difference": test.difference, "difference_low": test.low, "difference_high": test.high}
    return line | limits | {"p": test.p_value}


def page(table: pd.DataFrame) -> str:
    """The table for people."""
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
    """Train what is missing of the named variants, then write the tables of all that are there."""
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise InputError(f"unknown variant {unknown[0]!r}; there are: {'; '.join(VARIANTS)}")
    content = yaml.safe_load(PARAMS_FILE.read_text())
    use_deterministic_kernels()
    keras.utils.disable_interactive_logging()
    found = {}
    for name in names or VARIANTS:
        start = perf_counter()
        print(name, flush=True)
        found[name] = out_of_fold(VARIANTS[name], content)
        print(f"  {perf_counter() - start:.0f} s", flush=True)
    loaded = parse_config(content)
    table = pd.DataFrame([row(name, found, loaded) for name in found])
    write_text(RESULTS / "ablation.csv", table.round(4).to_csv(index=False, lineterminator="\n"))
    write_text(RESULTS / "ablation.md", page(table))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
