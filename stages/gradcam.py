"""Explain one model: saliency maps of every test sample, scored against the lesions, and overlays of some samples."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from mammo import (
    batches,
    figures,
    localisation,
    operating,
    params,
    sanity,
    shortcuts,
    tables,
    tracking,
)
from mammo.batches import Samples
from mammo.errors import InputError
from mammo.params import EvaluateParams, Params, SaliencyMethod
from mammo.patient_means import Resampling
from mammo.saliency import Explainer
from stages import explaining, run, sizes
from stages.paths import GRADCAM, MODELS, PIXELS, PREDICTIONS, fingerprint

WORST = 4  # samples per region on the sheet of shortcuts
SEEN_IN = {"outside": "outside", "marks": "on film marks", "sides": "on the sides"}
OUTCOMES = {(1, 1): "true positive", (1, 0): "false negative", (0, 1): "false positive", (0, 0): "true negative"}

Maps = npt.NDArray[np.float16]


def main(name: str) -> None:
    """Write maps, contact sheets, scores and checks of `models.<name>`.

    maps.npy (n, h, w) float16, samples.csv, overlays.png and shortcuts.png are of the first method; those of the others
    carry its name. scores.csv has a row per method and sample; summary.csv and shortcuts.csv are their means.
    """
    loaded = params.load()
    how = Resampling.of(loaded.evaluate, loaded.seed)
    test = batches.open_store(PIXELS).take("test")
    predictions = tables.read(PREDICTIONS / f"{name}.csv", tables.PREDICTIONS)
    samples = _called(test, predictions, loaded.evaluate).merge(sizes.thirds(), on="sample_id", how="left")
    chosen = choose(samples, loaded.gradcam.choose, loaded.gradcam.samples, loaded.seed)
    masks = np.load(PIXELS / "masks.npy", mmap_mode="r")[test.index.index.to_numpy()]
    explainer = explaining.explainer(MODELS / f"{name}.keras", test)
    with tables.fresh_folder(GRADCAM / name) as folder:
        tables.write_rounded(folder / "samples.csv", samples)
        maps = _write_maps(explainer, test, folder, loaded)
        scores = {method: _scores(samples, explainer, test, found, masks) for method, found in maps.items()}
        for method, found in maps.items():
            for sheet, figure in _sheets(scores[method], chosen, test, found, masks).items():
                figures.save(figure, folder / f"{sheet}{explaining.suffix(method, loaded.gradcam)}.png")
        summary = explaining.by_method({method: localisation.summary(rows, how) for method, rows in scores.items()})
        looked = explaining.by_method({method: shortcuts.summary(rows, how) for method, rows in scores.items()})
        tables.write_rounded(folder / "scores.csv", explaining.by_method(scores))
        tables.write_rounded(folder / "summary.csv", summary)
        tables.write_rounded(folder / "shortcuts.csv", looked)
        checks = _check(explainer, maps, test.pixels(chosen), samples, chosen, folder, loaded)
    with tracking.run(
        "gradcam",
        model=name,
        experiment=loaded.tracking.experiment,
        parameters=loaded.gradcam.model_dump() | {"seed": loaded.seed},
        tags={"data": fingerprint()},
    ) as tracked:
        tracked.log_metrics(_headline(summary, looked, checks))
        tracked.log_artifact(GRADCAM / name)


def _called(test: Samples, predictions: pd.DataFrame, evaluate: EvaluateParams) -> pd.DataFrame:
    """The test samples, in their order, with prob, threshold (chosen on validation), call and outcome."""
    frozen = operating.thresholds(predictions, evaluate.rule, evaluate.value)
    known = operating.reported(predictions, frozen)[["sample_id", "prob", "threshold", "called"]]
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


def _write_maps(explainer: Explainer, test: Samples, folder: Path, loaded: Params) -> Mapping[SaliencyMethod, Maps]:
    """Maps of all test samples by method, on disk."""
    methods = loaded.gradcam.methods
    shape = (len(test.index), *test.image_shape[:2])
    paths = {method: folder / f"maps{explaining.suffix(method, loaded.gradcam)}.npy" for method in methods}
    maps = {
        method: np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for method, path in paths.items()
    }
    for positions, found in explaining.maps(explainer, test, methods, loaded.seed):
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
    found = localisation.scores(seen, explainer.visible(masks))
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
        sheet: figures.samples(
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
    loaded: Params,
) -> pd.DataFrame:
    """Write cascade.csv and perturbation.csv of the shown samples, and sanity.csv, which is returned."""
    how = Resampling.of(loaded.evaluate, loaded.seed)
    rows = samples.iloc[chosen]
    found = {
        method: sanity.check(explainer, images, rows["patient_id"], method, loaded.seed, how)
        for method in loaded.gradcam.methods
    }
    keys = rows[["sample_id", "patient_id"]].reset_index(drop=True)
    areas = {method: pd.concat([keys, checked.perturbation], axis=1) for method, checked in found.items()}
    verdicts = explaining.by_method(
        {
            method: pd.concat([checked.verdicts, _of_images(explainer, maps[method], samples, how)])
            for method, checked in found.items()
        }
    )
    tables.write_rounded(
        folder / "cascade.csv", explaining.by_method({method: checked.cascade for method, checked in found.items()})
    )
    tables.write_rounded(folder / "perturbation.csv", explaining.by_method(areas))
    tables.write_rounded(folder / "sanity.csv", verdicts)
    return verdicts


def _of_images(explainer: Explainer, maps: Maps, samples: pd.DataFrame, how: Resampling) -> pd.DataFrame:
    seen = explainer.visible(maps).astype(np.float32)
    return pd.DataFrame([sanity.check_images(seen, samples["patient_id"], how)])


def _headline(summary: pd.DataFrame, looked: pd.DataFrame, checks: pd.DataFrame) -> dict[str, float]:
    """Overall scores by method, and of both baselines; shares of regions by method; verdicts of checks."""
    overall = summary[summary["variable"] == "all"]
    values = dict(zip(overall["method"] + "_" + overall["metric"], overall["mean"], strict=True))
    for baseline in localisation.BASELINES:
        values |= dict(zip(f"{baseline}_" + overall["metric"], overall[baseline], strict=True))
    values |= dict(zip(looked["method"] + "_" + looked["region"] + "_share", looked["mean"], strict=True))
    return values | explaining.verdicts(checks)


if __name__ == "__main__":
    run(main)
