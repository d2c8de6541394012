"""Train one architecture on permuted labels, and compare its saliency maps with those of the real model."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from mammo import models
from mammo.core import row_names
from mammo.core.config import Config, SaliencyMethod, TrainingConfig, load_config
from mammo.core.files import fresh_folder, write_rounded_table
from mammo.core.paths import GRADCAM, MODELS, RETRAINED_MAPS, data_fingerprint
from mammo.data.samples import Samples
from mammo.explain import label_randomization, saliency, verdicts
from mammo.explain.saliency import Explainer, Floats
from mammo.metrics.resampling import Resampling
from mammo.pipeline import explaining, saliency_files, train_run
from mammo.tracking import live_run
from mammo.tracking.live_run import StageSpec
from mammo.training import trainer
from mammo.training.result import EpochCallback
from stages import run

PERMUTED = "permuted_labels.keras"


def main(name: str) -> None:
    """Write the model of permuted labels, and agreement.csv, summary.csv and sanity.csv of maps of `models.<name>`.

    The models under further seeds are those of stage `seeds@<name>`.
    """
    config = load_config()
    task = train_run.task_for("retrained_maps", name, config)
    training = without_collapse_check(task.config)
    samples, weights_path = train_run.open_samples(training.train), train_run.find_weights(training.model)
    parameters = config.gradcam.model_dump() | {"seed": config.seed, "seeds": config.seeds.count}
    spec = StageSpec("retrained_maps", name, config.tracking.experiment, parameters, {"data": data_fingerprint()})
    with (
        train_run.resume_folder(replace(task, config=training)) as unfinished,
        live_run.resumable_run(spec, unfinished) as run_log,
    ):
        with fresh_folder(RETRAINED_MAPS / name) as folder:
            model = fit_permuted(samples, training, weights_path, unfinished, run_log.log_epoch)
            models.save(model, folder / PERMUTED)
            agreement = _measure_agreement(
                name, samples.take(config.evaluate.reported_split), folder / PERMUTED, config
            )
            checks = _write_tables(agreement, folder, config)
        run_log.log_metrics(verdicts.verdict_metrics(checks))
        run_log.log_artifact(RETRAINED_MAPS / name)


def fit_permuted(
    samples: Samples,
    config: TrainingConfig,
    weights_path: Path | None,
    checkpoint_dir: Path,
    on_epoch_end: EpochCallback,
) -> keras.Model:
    """Return a model trained on permuted labels of the training rows."""
    permuted = label_randomization.permute_labels(samples, config.seed)
    model = models.build(config.model, permuted.image_shape, config.seed, weights_path)
    trainer.fit(model, permuted, config, checkpoint_dir, on_epoch_end)
    return model


def without_collapse_check(config: TrainingConfig) -> TrainingConfig:
    """Return `config` without the check of collapse: permuted labels may teach to predict one class."""
    health = config.train.health.model_copy(update={"collapse_share": 1.0})
    return replace(config, train=config.train.model_copy(update={"health": health}))


def _measure_agreement(name: str, test: Samples, permuted: Path, config: Config) -> pd.DataFrame:
    """Return label_randomization.correlate_maps of every method, with sample_id and patient_id."""
    labels = explaining.open_explainer(permuted, test)
    further = row_names.seed_member_names(name, config.seed, config.seeds).values()
    seeds = [explaining.open_explainer(MODELS / f"{member}.keras", test) for member in further]
    keys = test.index[["sample_id", "patient_id"]].reset_index(drop=True)
    by_method = {}
    for method in config.gradcam.methods:
        real_maps = np.load(saliency_files.maps_path(GRADCAM / name, method, config.gradcam)).astype(np.float32)
        of_labels, *of_seeds = (visible_maps(explainer, test, method, config.seed) for explainer in (labels, *seeds))
        real = labels.crop_visible(real_maps)
        rows = label_randomization.correlate_maps(real, of_labels, of_seeds, keys["patient_id"])
        by_method[method] = pd.concat([keys, rows], axis=1)
    return saliency_files.stack_methods(by_method)


def visible_maps(explainer: Explainer, test: Samples, method: SaliencyMethod, seed: int) -> Floats:
    """Return the maps of all samples, cropped to what the model sees."""
    parts = [part[method] for _, part in saliency.map_batches(explainer, test, [method], seed)]
    return explainer.crop_visible(np.concatenate(parts))


def _write_tables(agreement: pd.DataFrame, folder: Path, config: Config) -> pd.DataFrame:
    """Write agreement.csv, summary.csv and sanity.csv; return the last."""
    resampling = Resampling.from_config(config.evaluate, config.seed)
    rows_of = {method: agreement[agreement["method"] == method] for method in config.gradcam.methods}
    checks = saliency_files.stack_methods(
        {method: label_randomization.check_agreement(rows, resampling) for method, rows in rows_of.items()}
    )
    summary = saliency_files.stack_methods(
        {method: label_randomization.summarize_agreement(rows, resampling) for method, rows in rows_of.items()}
    )
    write_rounded_table(folder / "agreement.csv", agreement)
    write_rounded_table(folder / "summary.csv", summary)
    write_rounded_table(folder / "sanity.csv", checks)
    return checks


if __name__ == "__main__":
    run(main)
