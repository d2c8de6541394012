"""Explain one model: a Grad-CAM map of every test sample, and overlays of some, both classes alike."""

from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo import batches, figures, inference, models, params, saliency, tables, tracking
from mammo.batches import Samples
from stages import run
from stages.paths import GRADCAM, MODELS, PIXELS, fingerprint

BATCH = 8  # the layers run one by one and keep what they made: 64 images of 448 px in four crops take 23 GB


def main(name: str) -> None:
    """Write maps.npy (n, h, w) float16, samples.csv and the contact sheet of `models.<name>`."""
    loaded = params.load()
    test = batches.open_store(PIXELS).take("test")
    model = models.load(MODELS / f"{name}.keras")
    predicted = inference.predict(model, test)
    masks = np.load(PIXELS / "masks.npy", mmap_mode="r")[test.index.index.to_numpy()]
    with tables.fresh_folder(GRADCAM / name) as folder:
        maps = _write_maps(model, test, folder / "maps.npy")
        tables.write_text(folder / "samples.csv", predicted.to_csv(index=False, lineterminator="\n"))
        chosen = _choose(test.labels, loaded.gradcam.samples, loaded.seed)
        titles = _titles(predicted.iloc[chosen])
        sheet = figures.samples(test.pixels(chosen)[..., 0], masks[chosen], titles, maps[chosen].astype(np.float32))
        figures.save(sheet, folder / "overlays.png")
    with tracking.run(
        "gradcam",
        model=name,
        experiment=loaded.tracking.experiment,
        parameters=loaded.gradcam.model_dump() | {"seed": loaded.seed},
        tags={"data": fingerprint()},
    ) as tracked:
        tracked.log_metrics({"heat_inside_lesion": _heat_inside(maps, masks), "lesion_share": float(masks.mean())})
        tracked.log_artifact(GRADCAM / name)


def _write_maps(model: keras.Model, test: Samples, path: Path) -> npt.NDArray[np.float16]:
    count = len(test.index)
    maps = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(count, *test.image_shape[:2]))
    explainer = saliency.Explainer(model)
    for start in range(0, count, BATCH):
        positions = np.arange(start, min(start + BATCH, count))
        maps[positions] = explainer.maps(test.pixels(positions), "gradcam")
    maps.flush()
    return maps


def _choose(labels: npt.NDArray[np.int64], count: int, seed: int) -> npt.NDArray[np.int64]:
    """Up to `count` positions, half of them malignant."""
    rng = np.random.default_rng(seed)
    halves = [
        rng.permutation(np.flatnonzero(labels == label))[:wanted]
        for label, wanted in ((1, -(-count // 2)), (0, count // 2))
    ]
    return np.sort(np.concatenate(halves))


def _titles(rows: pd.DataFrame) -> list[str]:
    return [
        f"{row.sample_id}\n{'malignant' if row.label else 'benign'}, prob {row.prob:.2f}" for row in rows.itertuples()
    ]


def _heat_inside(maps: npt.NDArray[np.float16], masks: npt.NDArray[np.uint8]) -> float:
    """Share of all heat that lies inside the lesions; a map that is even everywhere gives the lesions' share."""
    total = maps.sum(dtype=np.float64)
    return float((maps * masks).sum(dtype=np.float64) / total) if total > 0 else float("nan")


if __name__ == "__main__":
    run(main)
