"""Explain one model: saliency maps of every test sample, scored against the lesions, and overlays of some samples."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from mammo.core import schemas
from mammo.core.config import Config, EvaluateConfig, SaliencyMethod, load_config
from mammo.core.errors import InputError
from mammo.core.files import fresh_folder, read_table, write_rounded_table
from mammo.core.paths import GRADCAM, MODELS, PIXELS, PREDICTIONS, data_fingerprint
from mammo.data.samples import Samples, open_store
from mammo.evaluation import lesion_sizes, operating_point
from mammo.explain import batches, localization, sanity_checks, shortcuts
from mammo.explain.saliency import Explainer
from mammo.metrics.resampling import Resampling
from mammo.reporting.figures import evaluation
from mammo.tracking import live_run
from stages import run

WORST = 4  # samples per region on the sheet of shortcuts
SEEN_IN = {"outside": "outside", "marks": "on film marks", "sides": "on the sides"}
OUTCOMES = {(1, 1): "true positive", (1, 0): "false negative", (0, 1): "false positive", (0, 0): "true negative"}

Maps = npt.NDArray[np.float16]


def main(name: str) -> None:
    """Write maps, contact sheets, scores and checks of `models.<name>`.

    maps.npy (n, h, w) float16, samples.csv, overlays.png and shortcuts.png are of the first method; those of the others
    carry its name. scores.csv has a row per method and sample; summary.csv and shortcuts.csv are their means.
    """
    loaded = load_config()
    how = Resampling.from_config(loaded.evaluate, loaded.seed)
    test = open_store(PIXELS).take("test")
    predictions = read_table(PREDICTIONS / f"{name}.csv", schemas.PREDICTIONS)
    samples = _called(test, predictions, loaded.evaluate).merge(
        lesion_sizes.size_tertiles(), on="sample_id", how="left"
    )
    chosen = choose(samples, loaded.gradcam.choose, loaded.gradcam.samples, loaded.seed)
    masks = np.load(PIXELS / "masks.npy", mmap_mode="r")[test.index.index.to_numpy()]
    explainer = batches.explainer(MODELS / f"{name}.keras", test)
    with fresh_folder(GRADCAM / name) as folder:
        write_rounded_table(folder / "samples.csv", samples)
        maps = _write_maps(explainer, test, folder, loaded)
        scores = {method: _scores(samples, explainer, test, found, masks) for method, found in maps.items()}
        for method, found in maps.items():
            for sheet, figure in _sheets(scores[method], chosen, test, found, masks).items():
                evaluation.save(figure, folder / f"{sheet}{batches.suffix(method, loaded.gradcam)}.png")
        summary = batches.by_method({method: localization.summary(rows, how) for method, rows in scores.items()})
        looked = batches.by_method({method: shortcuts.summary(rows, how) for method, rows in scores.items()})
        write_rounded_table(folder / "scores.csv", batches.by_method(scores))
        write_rounded_table(folder / "summary.csv", summary)
        write_rounded_table(folder / "shortcuts.csv", looked)
        checks = _check(explainer, maps, test.pixels(chosen), samples, chosen, folder, loaded)
    with live_run.tracked_run(
        "gradcam",
        model=name,
        experiment=loaded.tracking.experiment,
        parameters=loaded.gradcam.model_dump() | {"seed": loaded.seed},
        tags={"data": data_fingerprint()},
    ) as tracked:
        tracked.log_metrics(_headline(summary, looked, checks))
        tracked.log_artifact(GRADCAM / name)


def _called(test: Samples, predictions: pd.DataFrame, evaluate: EvaluateConfig) -> pd.DataFrame:
    """The test samples, in their order, with prob, threshold (chosen on validation), call and outcome."""
    frozen = operating_point.thresholds(predictions, evaluate.rule, evaluate.value)
    known = operating_point.apply_threshold(predictions, frozen)[["sample_id", "prob", "threshold", "called"]]
    samples = test.index.merge(known, on="sample_id", how="left", validate="one_to_one")
    if samples["prob"].isna().any():
        raise InputError(f"{samples['prob'].isna().sum()} test samples have no prediction; run `dvc repro` again")
    outcome = [OUTCOMES[label, int(call)] for label, call in zip(samples["label"], samples["called"], strict=True)]
    correct = samples["label"] == samples["called"]
    return samples.drop(columns="called").assign(call=np.where(correct, "correct", "wrong"), outcome=outcome)


def choose(samples: pd.DataFrame, how: str | list[str], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions of the samples that are shown, ascending.

    how: mixed (`count`, of each outcome alike while there are any), random (`count`), or the sample_ids themselves.
    """
    if isinstance(how, list):
        unknown = sorted(set(how) - set(samples["sample_id"]))
        if unknown:
            raise InputError(
                f"gradcam.choose: no test sample is named {', '.join(unknown)}; there are e.g. "
                f"{', '.join(samples['sample_id'].head(3))} (data/pixels/index.csv, split test)"
            )
        return np.flatnonzero(samples["sample_id"].isin(how))
    order = np.random.default_rng(seed).permutation(len(samples))
    if how == "mixed":
        turn = samples["outcome"].iloc[order].reset_index(drop=True)
        order = order[np.argsort(turn.groupby(turn).cumcount(), kind="stable")]
    return np.sort(order[:count])


def _write_maps(explainer: Explainer, test: Samples, folder: Path, loaded: Config) -> Mapping[SaliencyMethod, Maps]:
    """Maps of all test samples by method, on disk."""
    methods = loaded.gradcam.methods
    shape = (len(test.index), *test.image_shape[:2])
    paths = {method: folder / f"maps{batches.suffix(method, loaded.gradcam)}.npy" for method in methods}
    maps = {
        method: np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for method, path in paths.items()
    }
    for positions, found in batches.maps(explainer, test, methods, loaded.seed):
        for method in methods:
            maps[method][positions] = found[method]
    for written in maps.values():
        written.flush()
    return maps


def _scores(
    samples: pd.DataFrame, explainer: Explainer, test: Samples, maps: Maps, masks: npt.NDArray[np.uint8]
) -> pd.DataFrame:
    images = test.images[test.index.index.to_numpy()]
    # Where a model sees no pixel no map can lie, and an even one would be no fair measure.
    seen = explainer.visible(maps)
    found = localization.scores(seen, explainer.visible(masks))
    off = shortcuts.shares(seen, explainer.visible(images))
    return pd.concat([samples, found, off], axis=1)


def _sheets(
    scores: pd.DataFrame,
    chosen: npt.NDArray[np.int64],
    test: Samples,
    maps: Maps,
    masks: npt.NDArray[np.uint8],
) -> dict[str, Figure]:
    """overlays: the chosen samples; shortcuts: those of which most lies in a region of mammo.shortcuts, if any do."""
    worst = shortcuts.worst(scores, WORST)
    of_region = [_where(scores.iloc[at], region) for region, positions in worst.items() for at in positions]
    shown = {
        "overlays": (chosen, _titles(scores.iloc[chosen])),
        "shortcuts": (np.concatenate([*worst.values(), np.empty(0, np.int64)]), of_region),
    }
    return {
        sheet: evaluation.samples(
            test.pixels(positions)[..., 0], masks[positions], titles, maps[positions].astype(np.float32)
        )
        for sheet, (positions, titles) in shown.items()
        if len(positions)
    }


def _where(row: pd.Series, region: str) -> str:
    share, area = row[f"{region}_share"], row[f"{region}_area"]
    return f"{row['sample_id']}\n{share:.1%} {SEEN_IN[region]} (even map: {area:.1%})"


def _titles(rows: pd.DataFrame) -> list[str]:
    label = np.where(rows["label"] == 1, "malignant", "benign")
    sign = np.where(rows["prob"] < rows["threshold"], "<", ">=")
    columns = zip(rows["sample_id"], label, rows["prob"], sign, rows["threshold"], strict=True)
    return [f"{one}\n{of}, prob {prob:.2f} {than} threshold {limit:.2f}" for one, of, prob, than, limit in columns]


def _check(
    explainer: Explainer,
    maps: Mapping[SaliencyMethod, Maps],
    images: npt.NDArray[np.number],
    samples: pd.DataFrame,
    chosen: npt.NDArray[np.int64],
    folder: Path,
    loaded: Config,
) -> pd.DataFrame:
    """Write cascade.csv and perturbation.csv of the shown samples, and sanity.csv, which is returned."""
    how = Resampling.from_config(loaded.evaluate, loaded.seed)
    rows = samples.iloc[chosen]
    found = {
        method: sanity_checks.check(explainer, images, rows["patient_id"], method, loaded.seed, how)
        for method in loaded.gradcam.methods
    }
    keys = rows[["sample_id", "patient_id"]].reset_index(drop=True)
    areas = {method: pd.concat([keys, checked.perturbation], axis=1) for method, checked in found.items()}
    verdicts = batches.by_method(
        {
            method: pd.concat([checked.verdicts, _of_images(explainer, maps[method], samples, how)])
            for method, checked in found.items()
        }
    )
    write_rounded_table(
        folder / "cascade.csv", batches.by_method({method: checked.cascade for method, checked in found.items()})
    )
    write_rounded_table(folder / "perturbation.csv", batches.by_method(areas))
    write_rounded_table(folder / "sanity.csv", verdicts)
    return verdicts


def _of_images(explainer: Explainer, maps: Maps, samples: pd.DataFrame, how: Resampling) -> pd.DataFrame:
    seen = explainer.visible(maps).astype(np.float32)
    return pd.DataFrame([sanity_checks.check_images(seen, samples["patient_id"], how)])


def _headline(summary: pd.DataFrame, looked: pd.DataFrame, checks: pd.DataFrame) -> dict[str, float]:
    """Overall scores by method, and of both baselines; shares of regions by method; verdicts of checks."""
    overall = summary[summary["variable"] == "all"]
    values = dict(zip(overall["method"] + "_" + overall["metric"], overall["mean"], strict=True))
    for baseline in localization.BASELINES:
        values |= dict(zip(f"{baseline}_" + overall["metric"], overall[baseline], strict=True))
    values |= dict(zip(looked["method"] + "_" + looked["region"] + "_share", looked["mean"], strict=True))
    return values | batches.verdicts(checks)


if __name__ == "__main__":
    run(main)
