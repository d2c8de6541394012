"""Measure whether maps depend on the labels: `python benchmarks/label_randomisation.py MODEL`, after `dvc repro`.

Trains a model of params.yaml once on permuted training labels and compares its maps of the test samples with those in
data/gradcam/. For models that are too costly for `seeds.models`; for those the stage retrained_maps compares further
seeds as well. The vectors of a frozen base are in the cache, so that it takes little more than the maps.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mammo import models
from mammo.core.config import Config, load_config
from mammo.core.errors import InputError
from mammo.core.paths import GRADCAM
from mammo.data.samples import Samples
from mammo.explain import label_randomization, verdicts
from mammo.explain.saliency import Explainer
from mammo.metrics.clustered_means import Means, clustered_means
from mammo.metrics.resampling import Resampling
from mammo.pipeline import explaining, saliency_files, train_run
from stages import retrained_maps


def main(name: str, *methods: str) -> None:
    """Print a line per method (all of gradcam.methods): rank correlations with limits by patient."""
    config = load_config()
    resampling = Resampling.from_config(config.evaluate, config.seed)
    samples = train_run.open_samples(config.train)
    test = samples.take("test")
    patients = test.index["patient_id"].to_numpy()
    explainer = explain_permuted(name, samples, config)
    for method in [method for method in config.gradcam.methods if not methods or method in methods]:
        real_maps = np.load(saliency_files.maps_path(GRADCAM / name, method, config.gradcam)).astype(np.float32)
        maps = retrained_maps.visible_maps(explainer, test, method, config.seed)
        rows = label_randomization.correlate_maps(explainer.crop_visible(real_maps), maps, [], patients)
        permuted, pairs = (
            clustered_means(rows[column], patients, resampling)
            for column in (verdicts.LABELS, label_randomization.SAMPLES)
        )
        verdict = verdicts.judge_check(verdicts.LABELS, permuted, verdicts.BELOW, verdicts.MAX_CORRELATION)["verdict"]
        print(f"{name}, {method}: {_text(permuted)} with permuted labels, {verdict}; {_text(pairs)} of two patients")


def explain_permuted(name: str, samples: Samples, config: Config) -> Explainer:
    """Train `models.<name>` on permuted labels and return the explainer of the model."""
    task = train_run.task_for("label_randomisation", name, config)
    training = retrained_maps.without_collapse_check(task.config)
    weights_path = train_run.find_weights(training.model)
    with (
        tempfile.TemporaryDirectory() as folder,
        train_run.resume_folder(replace(task, config=training)) as checkpoint_dir,
    ):
        model = retrained_maps.fit_permuted(samples, training, weights_path, checkpoint_dir, lambda *row: None)
        path = Path(folder) / retrained_maps.PERMUTED
        models.save(model, path)
        return explaining.open_explainer(path, samples.take("test"))


def _text(means: Means) -> str:
    row = means.row()
    return f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f}, n {row['n']})"


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
