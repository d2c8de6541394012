"""Explain one model: saliency maps of every test sample, scored against the lesions, and overlays of some samples."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo import (
    batches,
    figures,
    localisation,
    models,
    operating,
    params,
    sanity,
    subgroups,
    tables,
    tracking,
)
from mammo.batches import Samples
from mammo.errors import InputError
from mammo.params import EvaluateParams, Params, SaliencyMethod
from mammo.saliency import Explainer
from stages import run
from stages.paths import GRADCAM, MODELS, PIXELS, PREDICTIONS, fingerprint

BATCH = 16
OUTCOMES = {(1, 1): "true positive", (1, 0): "false negative", (0, 1): "false positive", (0, 0): "true negative"}

Maps = npt.NDArray[np.float16]


def main(name: str) -> None:
    """Write maps, contact sheets, scores.csv, summary.csv and sanity checks of `models.<name>`.

    maps.npy (n, h, w) float16, samples.csv and overlays.png are of the first method; the others carry their name.
    """
    loaded = params.load()
    store = batches.open_store(PIXELS)
    test = store.take("test")
    predictions = tables.read(PREDICTIONS / f"{name}.csv", tables.PREDICTIONS)
    samples = _called(test, predictions, loaded.evaluate).assign(
        size=_size_thirds(store.index)[test.index.index.to_numpy()]
    )
    chosen = choose(samples, loaded.gradcam.choose, loaded.gradcam.samples, loaded.seed)
    masks = np.load(PIXELS / "masks.npy", mmap_mode="r")[test.index.index.to_numpy()]
    explainer = Explainer(models.load(MODELS / f"{name}.keras"))
    with tables.fresh_folder(GRADCAM / name) as folder:
        tables.write_rounded(folder / "samples.csv", samples)
        maps = {method: _write_maps(explainer, test, method, folder, loaded) for method in loaded.gradcam.methods}
        for method, found in maps.items():
            shown = found[chosen].astype(np.float32)
            sheet = figures.samples(test.pixels(chosen)[..., 0], masks[chosen], _titles(samples.iloc[chosen]), shown)
            figures.save(sheet, folder / f"overlays{_suffix(method, loaded)}.png")
        scores = pd.concat([_scores(samples, test, found, masks, method) for method, found in maps.items()])
        tables.write_rounded(folder / "scores.csv", scores)
        summary = _summary(scores, loaded)
        tables.write_rounded(folder / "summary.csv", summary)
        checks = _check(explainer, test.pixels(chosen), folder, loaded)
    with tracking.run(
        "gradcam",
        model=name,
        experiment=loaded.tracking.experiment,
        parameters=loaded.gradcam.model_dump() | {"seed": loaded.seed},
        tags={"data": fingerprint()},
    ) as tracked:
        first = maps[loaded.gradcam.methods[0]]
        tracked.log_metrics({"heat_inside_lesion": _heat_inside(first, masks), "lesion_share": float(masks.mean())})
        tracked.log_metrics(_headline(scores, summary, checks))
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


def _size_thirds(index: pd.DataFrame) -> "pd.Categorical[str]":
    """Thirds of the lesion's share of the film, cut on the training rows, for each row of the store."""
    sizes = tables.read(PIXELS / "sizes.csv", tables.SIZES).set_index("sample_id")["lesion_share"]
    return subgroups.thirds(index["sample_id"].map(sizes), index["split"] == "train")


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


def _write_maps(explainer: Explainer, test: Samples, method: str, folder: Path, loaded: Params) -> Maps:
    count = len(test.index)
    path = folder / f"maps{_suffix(method, loaded)}.npy"
    maps = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, *test.image_shape[:2]))
    for start in range(0, count, BATCH):
        positions = np.arange(start, min(start + BATCH, count))
        maps[positions] = explainer.maps(test.pixels(positions), method, loaded.seed)
    maps.flush()
    return maps


def _suffix(method: str, loaded: Params) -> str:
    return "" if method == loaded.gradcam.methods[0] else f"_{method}"


def _titles(rows: pd.DataFrame) -> list[str]:
    label = np.where(rows["label"] == 1, "malignant", "benign")
    sign = np.where(rows["prob"] < rows["threshold"], "<", ">=")
    columns = zip(rows["sample_id"], label, rows["prob"], sign, rows["threshold"], strict=True)
    return [f"{one}\n{of}, prob {prob:.2f} {than} threshold {limit:.2f}" for one, of, prob, than, limit in columns]


def _scores(
    samples: pd.DataFrame, test: Samples, maps: Maps, masks: npt.NDArray[np.uint8], method: str
) -> pd.DataFrame:
    images = test.images[test.index.index.to_numpy()]
    scored = localisation.scores(maps, masks).assign(outside_share=localisation.outside_share(maps, images))
    return pd.concat([samples.assign(method=method), scored], axis=1)


def _summary(scores: pd.DataFrame, loaded: Params) -> pd.DataFrame:
    """summary.csv: localisation.summary of each method, with the column method first."""
    parts: dict[SaliencyMethod, pd.DataFrame] = {
        method: localisation.summary(
            rows, resamples=loaded.evaluate.resamples, seed=loaded.seed, confidence=loaded.evaluate.confidence
        )
        for method, rows in ((name, scores[scores["method"] == name]) for name in loaded.gradcam.methods)
    }
    return _by_method(parts)


def _by_method(tables_of: Mapping[SaliencyMethod, pd.DataFrame]) -> pd.DataFrame:
    """The tables below each other, with the column method first."""
    return pd.concat(tables_of, names=["method", None]).reset_index("method")


def _check(explainer: Explainer, images: npt.NDArray[np.number], folder: Path, loaded: Params) -> pd.DataFrame:
    """Write cascade.csv and sanity.csv of the shown samples; the second is returned."""
    found = {method: sanity.check(explainer, images, method, loaded.seed) for method in loaded.gradcam.methods}
    tables.write_rounded(
        folder / "cascade.csv", _by_method({method: cascade for method, (cascade, _) in found.items()})
    )
    checks = _by_method({method: rows for method, (_, rows) in found.items()})
    tables.write_rounded(folder / "sanity.csv", checks)
    return checks


def _headline(scores: pd.DataFrame, summary: pd.DataFrame, checks: pd.DataFrame) -> dict[str, float]:
    """Overall scores by method, and of both baselines; share outside the breast; 1 for every failed check."""
    overall = summary[summary["variable"] == "all"]
    values = dict(zip(overall["method"] + "_" + overall["metric"], overall["mean"], strict=True))
    for baseline in localisation.BASELINES:
        values |= dict(zip(f"{baseline}_" + overall["metric"], overall[baseline], strict=True))
    values |= scores.groupby("method")["outside_share"].mean().add_suffix("_outside_share").to_dict()
    failed = checks["method"] + "_" + checks["check"] + "_failed"
    return values | dict(zip(failed, checks["failed"].astype(float), strict=True))


def _heat_inside(maps: Maps, masks: npt.NDArray[np.uint8]) -> float:
    """Share of all heat that lies inside the lesions; a map that is even everywhere gives the lesions' share."""
    total = maps.sum(dtype=np.float64)
    return float((maps * masks).sum(dtype=np.float64) / total) if total > 0 else float("nan")


if __name__ == "__main__":
    run(main)
