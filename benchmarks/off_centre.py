"""Measure whether maps follow a lesion off the centre: `python benchmarks/off_centre.py MODEL ...`, after `dvc repro`.

In a crop around a lesion the image's centre lies in the lesion, and no map can point better. Here each test lesion is
cut from its film again, at the same scale, but towards a random corner of the four: a
quarter of the side that the model's `features` show away from the centre, across and down. Maps of the finished models
by `gradcam.methods` are scored in what `features` show. Writes docs/results/<data set>-off-centre.csv and .md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mammo.core import schemas
from mammo.core.config import Config, load_config
from mammo.core.errors import InputError
from mammo.core.files import read_table, write_rounded_table, write_text
from mammo.core.paths import CASES, GRADCAM, MODELS, PIXELS, RAW
from mammo.data import sources
from mammo.data.images import preprocess
from mammo.data.images.preprocess import Square
from mammo.data.samples import Samples, open_store
from mammo.explain import localization, saliency
from mammo.metrics.resampling import Resampling
from mammo.pipeline import explaining, saliency_files
from mammo.reporting import saliency_results

RESULTS = Path("docs/results")
WIDER = 2  # times the crop that a model takes, so that one cut serves every shift


def main(*names: str) -> None:
    """Write the page and the table of some models of params.yaml, or `continue_training`."""
    config = load_config()
    if config.ingest.unit != "lesion":
        raise InputError(f"ingest.unit is {config.ingest.unit}; only crops around lesions have them in the centre")
    test = open_store(PIXELS).take("test")
    squares = wide_squares(test.index, config)
    summaries = {name: score_maps(name, test, squares, config) for name in names}
    summary = pd.concat(summaries, names=["model", None]).reset_index("model")
    stem = f"{config.ingest.dataset}-{config.ingest.unit}-off-centre".replace("_", "-")
    write_rounded_table(RESULTS / f"{stem}.csv", summary)
    write_text(RESULTS / f"{stem}.md", page(stem, names, summary[summary["variable"] == "all"]))


def wide_squares(index: pd.DataFrame, config: Config) -> list[Square]:
    """Return the test lesions with WIDER times their context and pixels."""
    wide = config.preprocess.model_copy(
        update={"context": WIDER * config.preprocess.context, "size_px": WIDER * config.preprocess.size_px}
    )
    root = sources.load_source(config.ingest.source).root(config.ingest, RAW)
    cases = read_table(CASES, schemas.CASES).set_index("sample_id").loc[index["sample_id"]]
    return [preprocess.prepare_case(case, root, "lesion", wide) for case in cases.to_dict(orient="records")]


def score_maps(name: str, test: Samples, squares: list[Square], config: Config) -> pd.DataFrame:
    """Return localization.summarize_scores of a model by method."""
    explainer = explaining.open_explainer(MODELS / f"{name}.keras", test)
    shift = min(explainer.seen) // 4
    signs = np.random.default_rng(config.seed).choice([-1, 1], (len(squares), 2))
    images, masks = (np.stack(arrays) for arrays in zip(*map(_window, squares, shift * signs), strict=True))
    samples = Samples(test.index.reset_index(drop=True), images)
    known = pd.read_csv(GRADCAM / name / "samples.csv")[["patient_id", "call", "abnormality_type", "size"]]
    parts = [part for _, part in saliency.map_batches(explainer, samples, config.gradcam.methods, config.seed)]
    summaries = {}
    for method in config.gradcam.methods:
        maps = explainer.crop_visible(np.concatenate([part[method] for part in parts]))
        rows = pd.concat([known, localization.score_maps(maps, explainer.crop_visible(masks))], axis=1)
        summaries[method] = localization.summarize_scores(rows, Resampling.from_config(config.evaluate, config.seed))
    return saliency_files.stack_methods(summaries)


def _window(square: Square, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return image and mask of the crop whose lesion lies `shift` (down, across) px off its centre."""
    side = len(square.image) // WIDER
    top, left = (len(square.image) - side) // 2 - shift
    inside = (slice(top, top + side), slice(left, left + side))
    return square.image[inside], square.mask[inside]


def page(stem: str, names: tuple[str, ...], overall: pd.DataFrame) -> str:
    """Return the page of results."""
    return f"""# Do maps follow the lesion off the centre?

Written by `python benchmarks/off_centre.py {" ".join(names)}`, after `dvc repro` on lesions.

The test lesions, each cut from its film anew, at the scale that the models learnt, but so that it lies towards a
corner drawn at random: a quarter of the side that a model sees from the centre, across and down. The models learnt
from crops with the lesion in the middle. In brackets: 95 % confidence interval, resampled by patient.
{saliency_results.MARKS}
`{stem}.csv` has all metrics by correct and wrong calls, type and size of the lesion; a call is that on the crop with
the lesion in the middle.

{saliency_results.summarize_pointing(overall)}

{saliency_results.tabulate_scores(overall)}"""


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
