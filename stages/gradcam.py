"""Explain one model: Grad-CAM maps and overlays for test samples drawn at random, both classes alike."""

import numpy as np
import pandas as pd

from mammo import batches, inference, models, params, report, saliency, tables, tracking
from stages import run
from stages.paths import GRADCAM, MODELS, PIXELS, fingerprint


def main(name: str) -> None:
    """Write maps.npy (n, h, w), samples.csv and the contact sheet of `models.<name>`."""
    loaded = params.load()
    samples = batches.open_store(PIXELS).take("test")
    chosen = _choose(samples.index, loaded.gradcam.samples, loaded.seed)
    asked = batches.Samples(chosen, samples.images)
    model = models.load(MODELS / f"{name}.keras")
    predicted = inference.predict(model, asked)
    images = asked.pixels(np.arange(len(chosen)))
    maps = saliency.gradcam(model, images)
    masks = np.load(PIXELS / "masks.npy", mmap_mode="r")[chosen.index.to_numpy()]
    titles = [
        f"{row.sample_id}\n{'malignant' if row.label else 'benign'}, prob {row.prob:.2f}"
        for row in predicted.itertuples()
    ]
    with tables.fresh_folder(GRADCAM / name) as folder:
        np.save(folder / "maps.npy", maps)
        tables.write_text(folder / "samples.csv", predicted.to_csv(index=False, lineterminator="\n"))
        report.save(report.samples_figure(images[..., 0], masks, titles, maps), folder / "overlays.png")
    with tracking.run(
        "gradcam",
        model=name,
        experiment=loaded.tracking.experiment,
        parameters=loaded.gradcam.model_dump() | {"seed": loaded.seed},
        tags={"data": fingerprint()},
    ) as tracked:
        tracked.log_metrics({"heat_inside_lesion": float(maps[masks > 0].sum() / max(maps.sum(), 1e-9))})
        tracked.log_artifact(GRADCAM / name)


def _choose(index: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Up to `count` rows, half of them malignant."""
    rng = np.random.default_rng(seed)
    halves = [
        rng.permutation(index.index[index["label"] == label])[:wanted]
        for label, wanted in ((1, -(-count // 2)), (0, count // 2))
    ]
    return index.loc[np.sort(np.concatenate(halves))]


if __name__ == "__main__":
    run(main)
