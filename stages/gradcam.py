"""Explain one model: saliency maps of every reported sample, scored against the lesions, and checks of the maps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core import schemas
from mammo.core.config import Config, EvaluateConfig, SaliencyMethod, load_config
from mammo.core.errors import InputError
from mammo.core.files import fresh_folder, read_table, write_rounded_table
from mammo.core.paths import GRADCAM, MODELS, PIXELS, PREDICTIONS, data_fingerprint
from mammo.data.samples import Samples, open_store
from mammo.evaluation import held_out, operating_point, tertiles
from mammo.explain import localization, saliency, sanity_checks, shortcuts, verdicts
from mammo.explain.saliency import Explainer
from mammo.explain.sanity_checks import PatientImages
from mammo.metrics.resampling import Resampling
from mammo.pipeline import explaining, saliency_files
from mammo.tracking import live_run
from stages import run

Maps = npt.NDArray[np.float16]


@dataclass(frozen=True)
class ExplainedTest:
    """The test rows of a model, ready to be scored.

    rows: one per sample with prob, threshold, call (correct, wrong), outcome and size; masks, maps by method:
    (n, h, w); chosen: positions of the samples that are checked and shown.
    """

    explainer: Explainer
    samples: Samples
    rows: pd.DataFrame
    masks: npt.NDArray[np.uint8]
    maps: Mapping[SaliencyMethod, Maps]
    chosen: npt.NDArray[np.int64]


def main(name: str) -> None:
    """Write maps, scores and checks of `models.<name>`.

    maps.npy (n, h, w) float16 is of the first method; the others' files carry its name. scores.csv has a row per
    method and sample; summary.csv and shortcuts.csv are their means. cascade.csv and perturbation.csv are of the
    chosen samples, which the report shows.
    """
    config = load_config()
    test = open_store(PIXELS).take(config.evaluate.reported_split)
    predictions = read_table(PREDICTIONS / f"{name}.csv", schemas.PREDICTIONS)
    rows = _decide(test, predictions, config.evaluate).merge(_read_sizes(), on="sample_id", how="left")
    explainer = explaining.open_explainer(MODELS / f"{name}.keras", test)
    with fresh_folder(GRADCAM / name) as folder:
        write_rounded_table(folder / "samples.csv", rows)
        explained = ExplainedTest(
            explainer,
            test,
            rows,
            masks=np.load(PIXELS / "masks.npy", mmap_mode="r")[test.index.index.to_numpy()],
            maps=_write_maps(explainer, test, folder, config),
            chosen=choose_samples(rows, config.gradcam.choose, config.gradcam.samples, config.seed),
        )
        metrics = _write_scores(explained, folder, config) | _write_checks(explained, folder, config)
    with live_run.tracked_run(
        "gradcam",
        model=name,
        experiment=config.tracking.experiment,
        parameters=config.gradcam.model_dump() | {"seed": config.seed},
        tags={"data": data_fingerprint()},
    ) as run_log:
        run_log.log_metrics(metrics)
        run_log.log_artifact(GRADCAM / name)


def _decide(test: Samples, predictions: pd.DataFrame, config: EvaluateConfig) -> pd.DataFrame:
    """Return the reported samples, in their order, with prob, threshold (chosen on validation), call and outcome."""
    if config.test == "closed":
        predictions = held_out.hold_out(predictions, test.index)
    decided = operating_point.decide(predictions, config)
    columns = ["sample_id", "prob", "threshold", "predicted_positive"]
    rows = test.index.merge(decided[columns], on="sample_id", how="left", validate="one_to_one")
    if rows["prob"].isna().any():
        raise InputError(f"{rows['prob'].isna().sum()} test samples have no prediction; run `dvc repro` again")
    correct = rows["label"] == rows["predicted_positive"]
    return rows.drop(columns="predicted_positive").assign(
        call=np.where(correct, "correct", "wrong"), outcome=operating_point.name_outcomes(rows)
    )


def _read_sizes() -> pd.DataFrame:
    """Read sample_id and `size` of every sample."""
    index, sizes = (
        read_table(PIXELS / "index.csv", schemas.INDEX),
        read_table(PIXELS / "sizes.csv", schemas.SIZES),
    )
    return tertiles.size_tertiles(index, sizes)


def choose_samples(samples: pd.DataFrame, rule: str | list[str], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose the positions of the samples that are checked and shown, ascending.

    rule: mixed (`count`, of each outcome alike while there are any), random (`count`), or the sample_ids themselves.
    """
    if isinstance(rule, list):
        unknown = sorted(set(rule) - set(samples["sample_id"]))
        if unknown:
            raise InputError(
                f"gradcam.choose: no reported sample is named {', '.join(unknown)}; there are e.g. "
                f"{', '.join(samples['sample_id'].head(3))} (data/pixels/index.csv)"
            )
        return np.flatnonzero(samples["sample_id"].isin(rule))
    order = np.random.default_rng(seed).permutation(len(samples))
    if rule == "mixed":
        turn = samples["outcome"].iloc[order].reset_index(drop=True)
        order = order[np.argsort(turn.groupby(turn).cumcount(), kind="stable")]
    return np.sort(order[:count])


def _write_maps(
    explainer: Explainer, test: Samples, folder: Path, config: Config
) -> Mapping[SaliencyMethod, npt.NDArray[np.float16]]:
    """Write maps of all test samples by method, and return them as they lie on disk."""
    methods = config.gradcam.methods
    shape = (len(test.index), *test.image_shape[:2])
    paths = {method: saliency_files.maps_path(folder, method, config.gradcam) for method in methods}
    maps = {
        method: np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for method, path in paths.items()
    }
    for positions, batch in saliency.map_batches(explainer, test, methods, config.seed):
        for method in methods:
            maps[method][positions] = batch[method]
    for stored in maps.values():
        stored.flush()
    return maps


def _write_scores(explained: ExplainedTest, folder: Path, config: Config) -> dict[str, float]:
    """Write scores.csv, summary.csv and shortcuts.csv; return the means as metrics."""
    resampling = Resampling.from_config(config.evaluate, config.seed)
    scores = {method: score_maps(explained, maps) for method, maps in explained.maps.items()}
    summary = saliency_files.stack_methods(
        {method: localization.summarize_scores(rows, resampling) for method, rows in scores.items()}
    )
    regions = saliency_files.stack_methods(
        {method: shortcuts.summarize_shares(rows, resampling) for method, rows in scores.items()}
    )
    write_rounded_table(folder / "scores.csv", saliency_files.stack_methods(scores))
    write_rounded_table(folder / "summary.csv", summary)
    write_rounded_table(folder / "shortcuts.csv", regions)
    return _to_metrics(summary, regions)


def score_maps(explained: ExplainedTest, maps: Maps) -> pd.DataFrame:
    """Score the maps of one method against the lesions and regions, within what the model sees.

    Where a model sees no pixel no map can lie, and an even one would be no fair measure.
    """
    crop = explained.explainer.crop_visible
    images = explained.samples.images[explained.samples.index.index.to_numpy()]
    scores = localization.score_maps(crop(maps), crop(explained.masks))
    shares = shortcuts.measure_shares(crop(maps), crop(images))
    return pd.concat([explained.rows, scores, shares], axis=1)


def _write_checks(explained: ExplainedTest, folder: Path, config: Config) -> dict[str, float]:
    """Write cascade.csv and perturbation.csv of the chosen samples, and sanity.csv; return the verdicts as metrics."""
    resampling = Resampling.from_config(config.evaluate, config.seed)
    rows = explained.rows.iloc[explained.chosen]
    samples = PatientImages(explained.samples.pixels(explained.chosen), rows["patient_id"])
    checks = {
        method: sanity_checks.check_method(explained.explainer, samples, method, config.seed, resampling)
        for method in config.gradcam.methods
    }
    keys = rows[["sample_id", "patient_id"]].reset_index(drop=True)
    tables = {
        "cascade": {method: check.cascade for method, check in checks.items()},
        "perturbation": {method: pd.concat([keys, check.perturbation], axis=1) for method, check in checks.items()},
        "sanity": {
            method: pd.concat([check.verdicts, _check_images(explained, method, resampling)])
            for method, check in checks.items()
        },
    }
    stacked = {title: saliency_files.stack_methods(parts) for title, parts in tables.items()}
    for title, table in stacked.items():
        write_rounded_table(folder / f"{title}.csv", table)
    return verdicts.verdict_metrics(stacked["sanity"])


def _check_images(explained: ExplainedTest, method: SaliencyMethod, resampling: Resampling) -> pd.DataFrame:
    maps = explained.explainer.crop_visible(explained.maps[method]).astype(np.float32)
    return pd.DataFrame([sanity_checks.check_images(maps, explained.rows["patient_id"], resampling)])


def _to_metrics(summary: pd.DataFrame, regions: pd.DataFrame) -> dict[str, float]:
    """Return overall scores by method, and of both baselines, and shares of regions by method."""
    overall = summary[summary["variable"] == "all"]
    metrics = dict(zip(overall["method"] + "_" + overall["metric"], overall["mean"], strict=True))
    for baseline in localization.BASELINES:
        metrics |= dict(zip(f"{baseline}_" + overall["metric"], overall[baseline], strict=True))
    return metrics | dict(zip(regions["method"] + "_" + regions["region"] + "_share", regions["mean"], strict=True))


if __name__ == "__main__":
    run(main)
