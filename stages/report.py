"""The evaluation as one self-contained HTML page, and a card per model, from tables, records and figures."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core import schemas
from mammo.core.config import Config, load_config
from mammo.core.files import fresh_folder, read_splits, read_table
from mammo.core.paths import (
    CASES,
    DROPPED,
    EVALUATION_TABLES,
    EXCLUDED,
    GRADCAM,
    PAIRED_TESTS,
    PIXELS,
    REPORT,
    RETRAINED_MAPS,
    ROC,
    SPLITS,
    data_fingerprint,
)
from mammo.core.records import read_record
from mammo.pipeline.workspace_records import TABLE_TAGS, result_paths
from mammo.reporting import evaluation_report, model_card
from mammo.reporting.figures.evaluation import case_png
from mammo.tracking import live_run, publishing
from stages import run


def main() -> None:
    """Write report.html and model_cards/<model>.md; the same inputs give the same bytes."""
    loaded = load_config()
    content = _content(loaded)
    with fresh_folder(REPORT) as folder:
        evaluation_report.write(folder / "report.html", content)
        for name in model_card.names(content):
            model_card.write(folder / "model_cards" / f"{name}.md", name, content)
    with live_run.tracked_run(
        "report",
        experiment=loaded.tracking.experiment,
        parameters={"rule": loaded.evaluate.rule, "value": loaded.evaluate.value},
        tags={"data": data_fingerprint(), "unit": loaded.ingest.unit},
    ) as tracked:
        tracked.log_artifact(REPORT)


def _content(loaded: Config) -> evaluation_report.Content:
    records = [read_record(path) for path in result_paths(loaded)]
    evaluation = evaluation_report.read_tables(EVALUATION_TABLES)
    return evaluation_report.Content(
        params=loaded,
        fingerprint=data_fingerprint(),
        cases=read_table(CASES, schemas.CASES),
        splits=read_splits(SPLITS),
        excluded=read_table(EXCLUDED, schemas.EXCLUDED),
        dropped=read_table(DROPPED, schemas.EXCLUDED),
        comparison=publishing.table_of_records(records, TABLE_TAGS),
        paired_tests=pd.read_csv(PAIRED_TESTS),
        roc=pd.read_csv(ROC),
        tables=evaluation,
        records=records,
        versions=evaluation_report.versions(),
        gradcam={name: (GRADCAM / name / "overlays.png").read_bytes() for name in loaded.models},
        localisation=_of_models(GRADCAM, "summary", loaded.models),
        sanity=pd.concat(
            [
                _of_models(GRADCAM, "sanity", loaded.models),
                _of_models(RETRAINED_MAPS, "sanity", loaded.seeds.models),
            ]
        ),
        retrained=_of_models(RETRAINED_MAPS, "summary", loaded.seeds.models),
        shortcuts=_of_models(GRADCAM, "shortcuts", loaded.models),
        shortcut_images={
            name: sheet.read_bytes() for name in loaded.models if (sheet := GRADCAM / name / "shortcuts.png").is_file()
        },
        error_images=_error_images(evaluation["errors"], list(loaded.models)),
    )


def _of_models(folder: Path, name: str, models: Iterable[str]) -> pd.DataFrame:
    """A table that a stage left for each of some models below `folder`, with the column model; empty without models."""
    found = [pd.read_csv(folder / model / f"{name}.csv").assign(model=model) for model in models]
    return pd.concat(found) if found else pd.DataFrame()


def _error_images(errors: pd.DataFrame, explained: list[str]) -> dict[tuple[str, str], bytes]:
    """A picture per listed error: the image, its lesion's outline and, for a single model, its heat map."""
    index = read_table(PIXELS / "index.csv", schemas.INDEX)
    place = pd.Series(index.index, index=index["sample_id"])
    images, masks = (np.load(PIXELS / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))
    heat = _heat_maps(explained)
    shown = errors[errors["rank"] <= evaluation_report.IMAGES_PER_KIND]
    return {
        (model, sample): case_png(_eight_bits(images[place[sample]]), masks[place[sample]], heat.get((model, sample)))
        for model, sample in zip(shown["model"], shown["sample_id"], strict=True)
    }


def _eight_bits(image: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.uint8]:
    """What a PNG of the page shows of an image of either depth."""
    return (image >> (8 * image.dtype.itemsize - 8)).astype(np.uint8)


def _heat_maps(explained: list[str]) -> dict[tuple[str, str], npt.NDArray[np.float16]]:
    """Grad-CAM maps of the test samples by model and sample; ensembles and the continued model have none."""
    found: dict[tuple[str, str], npt.NDArray[np.float16]] = {}
    for model in explained:
        samples = pd.read_csv(GRADCAM / model / "samples.csv", dtype={"sample_id": str})["sample_id"]
        maps = np.load(GRADCAM / model / "maps.npy", mmap_mode="r")
        found |= {(model, sample): heat for sample, heat in zip(samples, maps, strict=True)}
    return found


if __name__ == "__main__":
    run(main)
