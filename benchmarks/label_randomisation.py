"""Do maps hang on the labels? `python benchmarks/label_randomisation.py frozen_features`, after `dvc repro`.

Trains a model of params.yaml once on permuted training labels and compares its maps of the test samples with those in
data/gradcam/: for models that are too costly for `seeds.models`, of which the stage retrained_maps does the same beside
further seeds. Where the base is frozen its vectors are in the cache, and it takes little more than the maps.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mammo.core.config import load_config
from mammo.core.errors import InputError
from mammo.core.paths import GRADCAM
from mammo.explain import label_randomization, verdicts
from mammo.metrics.clustered_means import Means, clustered_means
from mammo.metrics.resampling import Resampling
from mammo.pipeline import explaining, saliency_files, train_run
from stages import retrained_maps


def main(name: str, *methods: str) -> None:
    """Print a line per method (all of gradcam.methods): rank correlations with limits by patient."""
    loaded = load_config()
    how = Resampling.from_config(loaded.evaluate, loaded.seed)
    samples = train_run.open_samples(loaded.train)
    test = samples.take("test")
    patients = test.index["patient_id"].to_numpy()
    own, recipe = loaded.model(name), retrained_maps.unwatched(loaded.train)
    with (
        tempfile.TemporaryDirectory() as folder,
        train_run.workplace(f"label_randomisation {name}", own, recipe, loaded) as unfinished,
    ):
        path = Path(folder) / retrained_maps.PERMUTED
        retrained_maps.train(name, samples, path, loaded, lambda epoch, values: None, unfinished)
        explainer = explaining.open_explainer(path, test)
    for method in [one for one in loaded.gradcam.methods if not methods or one in methods]:
        known = np.load(GRADCAM / name / f"maps{saliency_files.file_suffix(method, loaded.gradcam)}.npy").astype(
            np.float32
        )
        maps = retrained_maps.visible(explainer, test, method, loaded.seed)
        rows = label_randomization.correlate_maps(explainer.crop_visible(known), maps, [], patients)
        labels, other = (
            clustered_means(rows[one], patients, how) for one in (verdicts.LABELS, label_randomization.SAMPLES)
        )
        verdict = verdicts.judge_check(verdicts.LABELS, labels, verdicts.BELOW, verdicts.MAX_CORRELATION)["verdict"]
        print(f"{name}, {method}: {_text(labels)} with permuted labels, {verdict}; {_text(other)} of two patients")


def _text(found: Means) -> str:
    row = found.row()
    return f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f}, n {row['n']})"


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
