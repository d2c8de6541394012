"""The evaluation as one self-contained HTML page, and a card per model, from tables, records and figures."""

import dataclasses
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from mammo.core import row_names, schemas
from mammo.core.config import Config, load_config
from mammo.core.files import fresh_folder, read_splits, read_table
from mammo.core.paths import (
    AUC_FIGURE,
    AUGMENTED,
    CASES,
    DROPPED,
    EVALUATION_TABLES,
    EXCLUDED,
    GRADCAM,
    HISTORY,
    MODEL_CARDS,
    PAIRED_TESTS,
    PIXELS,
    PREDICTIONS,
    RAW,
    REPORT,
    REPORT_FIGURES,
    REPORT_PAGE,
    RETRAINED_MAPS,
    ROC,
    ROC_FIGURE,
    SPLITS,
    data_fingerprint,
)
from mammo.core.records import Record, read_record
from mammo.data import sources
from mammo.data.samples import open_store
from mammo.evaluation import operating_point, prediction_tables, promotion_rule, reader
from mammo.evaluation.comparison_rows import tabulate_roc
from mammo.metrics import discrimination
from mammo.pipeline import saliency_files, test_ledger
from mammo.pipeline.workspace_records import TABLE_TAGS, result_paths
from mammo.reporting import evaluation_report, model_card
from mammo.reporting.evaluation_report.content import Content, MappedCase, package_versions, read_tables
from mammo.reporting.evaluation_report.subgroups import IMAGES_PER_KIND
from mammo.reporting.figures import contact_sheets, evaluation, overlays, png, saliency, training
from mammo.reporting.figures.film_places import FilmPlaces
from mammo.reporting.figures.saliency import MappedSamples
from mammo.tracking import live_run, provenance, publishing
from stages import run

ROC_TITLE = "ROC on the reported samples"
TRAININGS = ("train", row_names.CONTINUED)  # stages whose models are rows by their own names
log = logging.getLogger(__name__)

Sheets = tuple[list[MappedCase], list[MappedCase]]  # of the checked samples, and of those off the lesion


def main() -> None:
    """Write report.html, model_cards/<model>.md and figures/train/<model>/; the same inputs give the same bytes."""
    config = load_config()
    records = [read_record(path) for path in result_paths(config)]
    with fresh_folder(REPORT) as folder:
        figures = folder / REPORT_FIGURES.name
        curves = _draw_trainings(figures / "train", records, config)
        places = open_places(config)
        maps = {name: draw_saliency(figures / "gradcam" / name, name, config, places) for name in config.models}
        content = dataclasses.replace(
            _content(records, config),
            training_curves=curves,
            gradcam={name: checked for name, (checked, _) in maps.items()},
            shortcut_images={name: worst for name, (_, worst) in maps.items()},
        )
        content = _draw_rows(figures, content, config)
        evaluation_report.write(folder / REPORT_PAGE.name, content)
        for name in model_card.names(content):
            model_card.write(folder / MODEL_CARDS.name / f"{name}.md", name, content)
    with live_run.tracked_run(
        "report",
        experiment=config.tracking.experiment,
        parameters={"rule": config.evaluate.rule, "value": config.evaluate.value},
        tags={"data": data_fingerprint(), "unit": config.ingest.unit},
    ) as run_log:
        run_log.log_artifact(REPORT)


def _draw_trainings(folder: Path, records: Sequence[Record], config: Config) -> dict[str, bytes]:
    """Draw every training's figures into <folder>/<model>/; return the training curves as PNG by model."""
    curves: dict[str, bytes] = {}
    kept = find_kept_epochs(records)
    for name in row_names.table_row_names(config.models):
        history = pd.read_csv(HISTORY / f"{name}.csv")
        figures = {
            "history": training.draw_history(history, kept[name], name),
            **_draw_validation(name),
            "augmentation": _draw_augmentations(name),
        }
        for title, figure in figures.items():
            colours = png.PHOTO_COLOURS if title == "augmentation" else png.CHART_COLOURS
            saved = png.save_figure(figure, folder / name / f"{title}.png", colours)
            curves |= {name: saved} if title == "history" else {}
    return curves


def find_kept_epochs(records: Iterable[Record]) -> dict[str, int]:
    """Return the epoch, counted from 1, whose weights each training kept, by the name of its row."""
    trained = [record for record in records if record.stage in TRAININGS]
    epochs = {record.model or record.stage: record.metrics["best_epoch"] for record in trained}
    return {name: int(epoch) for name, epoch in epochs.items() if epoch is not None}


def _draw_rows(figures: Path, content: Content, config: Config) -> Content:
    """Draw auc.png and roc.png of all rows, and ROC curve and confusion matrix of each; add what the page shows."""
    tested, repeats = prediction_tables.read_reported(config), prediction_tables.read_repeats(config)
    rows = {
        name: operating_point.decide(predictions, reader.configure_row(name, config.evaluate))
        for name, predictions in (tested | {name: tables[0] for name, tables in repeats.items()}).items()
    }
    metrics = {str(name): row for name, row in content.comparison.set_index("model").iterrows()}
    on_test = {name: rows[name] for name in tested}
    png.save_figure(evaluation.draw_evaluated_roc(on_test, metrics, ROC_TITLE), figures / ROC_FIGURE.name)
    points = {name: (1 - metrics[name]["specificity"], metrics[name]["sensitivity"]) for name in rows}
    curves = {}
    for name, samples in rows.items():
        curve = content.roc if name in set(content.roc["model"]) else tabulate_roc(name, samples)
        roc = evaluation.draw_roc_band(curve, name, name, points)
        curves[name] = png.save_figure(roc, figures / "evaluate" / name / "roc.png")
        confusion = evaluation.draw_confusion(samples, f"{name}, operating point")
        png.save_figure(confusion, figures / "evaluate" / name / "confusion.png")
    aucs = png.save_figure(evaluation.draw_aucs(content.comparison, "AUC and its interval"), figures / AUC_FIGURE.name)
    prevalence = {name: float(samples["label"].mean()) for name, samples in rows.items()}
    return dataclasses.replace(content, roc_curves=curves, aucs=aucs, prevalence=prevalence)


def _draw_validation(name: str) -> dict[str, Figure]:
    predictions = read_table(PREDICTIONS / f"{name}.csv", schemas.PREDICTIONS)
    validation = predictions[predictions["split"] == "val"]
    return {
        "validation_roc": training.draw_validation_roc(name, validation),
        "validation_confusion": training.draw_validation_confusion(name, validation),
    }


def _draw_augmentations(name: str) -> Figure:
    """Draw a few training samples under each augmentation, as the training left them."""
    examples = np.load(AUGMENTED / f"{name}.npy")
    return contact_sheets.draw_augmentations({change: examples[change] for change in examples.dtype.names})


def open_places(config: Config) -> FilmPlaces | None:
    """Return what draws the whole films; None, with a warning, where a download is no longer on this machine."""
    root = sources.load_source(config.ingest.source).root(config.ingest, RAW)
    if not root.is_dir():
        log.warning("the sheets of heat maps are drawn without the whole films: %s does not exist", root)
        return None
    cases = read_table(CASES, schemas.CASES).set_index("sample_id", drop=False).to_dict(orient="index")
    return FilmPlaces(cast(dict[str, dict[str, object]], cases), root, config.ingest.unit, config.preprocess)


def draw_saliency(folder: Path, name: str, config: Config, places: FilmPlaces | None) -> Sheets:
    """Draw overlays.png and shortcuts.png of a model by the first method, and those of the others with its name.

    Return the samples of both sheets of the first method, each with its map beside it.
    """
    test = open_store(PIXELS).take(config.evaluate.reported_split)
    positions = test.index.index.to_numpy()
    masks = np.load(PIXELS / "masks.npy", mmap_mode="r")[positions]
    images = test.pixels(np.arange(len(positions)))[..., 0].astype(np.uint8)
    scores, checked = (
        pd.read_csv(GRADCAM / name / f"{table}.csv", dtype={"sample_id": str}) for table in ("scores", "perturbation")
    )
    cases: Sheets = [], []
    for method in config.gradcam.methods:
        maps = np.load(saliency_files.maps_path(GRADCAM / name, method, config.gradcam), mmap_mode="r")
        rows = scores[scores["method"] == method].reset_index(drop=True)
        samples = MappedSamples(rows, images, masks, maps, places)
        suffix = saliency_files.file_suffix(method, config.gradcam)
        overlays = saliency.draw_overlays(samples, set(checked["sample_id"]))
        png.save_figure(overlays, folder / f"overlays{suffix}.png", png.PHOTO_COLOURS)
        if (shortcuts := saliency.draw_shortcuts(samples)) is not None:
            png.save_figure(shortcuts, folder / f"shortcuts{suffix}.png", png.PHOTO_COLOURS)
        if method == config.gradcam.methods[0]:
            cases = _map_cases(samples, set(checked["sample_id"]))
    return cases


def _map_cases(samples: MappedSamples, checked: Collection[str]) -> Sheets:
    """Encode the checked samples, and those whose maps lie furthest off the lesion, for the page."""
    scores, worst = samples.scores, saliency.rank_worst(samples)
    decisions = {at: saliency.title_decision(scores.iloc[at]) for at in saliency.choose_checked(samples, checked)}
    regions = {at: saliency.title_region(scores.iloc[at], region) for region, rows in worst.items() for at in rows}
    return _encode_cases(samples, decisions), _encode_cases(samples, regions)


def _encode_cases(samples: MappedSamples, titles: Mapping[int, str]) -> list[MappedCase]:
    """titles: by position."""
    cases = []
    for at, title in titles.items():
        heat = samples.maps[at].astype(np.float32)
        image = overlays.encode_case(samples.images[at], samples.masks[at], heat, samples.draw_place(at))
        caption = "; ".join(part for part in (*title.split("\n"), overlays.explain_empty(heat)) if part)
        cases.append(MappedCase(caption, png.encode_webp(image)))
    return cases


def _content(records: Sequence[Record], config: Config) -> Content:
    tables = read_tables(EVALUATION_TABLES)
    models, retrained = config.models, config.seeds.models
    return Content(
        params=config,
        fingerprint=data_fingerprint(),
        cases=read_table(CASES, schemas.CASES),
        splits=read_splits(SPLITS),
        excluded=read_table(EXCLUDED, schemas.EXCLUDED),
        dropped=read_table(DROPPED, schemas.EXCLUDED),
        comparison=publishing.table_of_records(list(records), TABLE_TAGS),
        paired_tests=pd.read_csv(PAIRED_TESTS),
        roc=pd.read_csv(ROC),
        tables=tables,
        records=records,
        versions=package_versions(),
        test_set=test_ledger.describe(config),
        origin=f"Command: dvc repro. Code: {provenance.describe_code()}.",
        validation=_score_validation(config),
        localisation=_read_models(GRADCAM, "summary", models),
        sanity=pd.concat([_read_models(GRADCAM, "sanity", models), _read_models(RETRAINED_MAPS, "sanity", retrained)]),
        retrained=_read_models(RETRAINED_MAPS, "summary", retrained),
        shortcuts=_read_models(GRADCAM, "shortcuts", models),
        error_images=_draw_errors(tables["errors"], list(models)),
    )


def _score_validation(config: Config) -> pd.DataFrame:
    """Return model, auc, n and n_patients of the models that a choice is among, on their validation rows."""
    rows = []
    for name in row_names.candidate_names(config):
        predictions = read_table(PREDICTIONS / f"{name}.csv", schemas.PREDICTIONS)
        validation = promotion_rule.select_validation_rows(predictions)
        auc = float(discrimination.auc(validation["label"], validation["prob"]))
        count = {"n": len(validation), "n_patients": validation["patient_id"].nunique()}
        rows.append({"model": name, "auc": auc, **count})
    return pd.DataFrame(rows)


def _read_models(folder: Path, name: str, models: Iterable[str]) -> pd.DataFrame:
    """Read a table that a stage left for some models below `folder`, with the column model; empty without models."""
    tables = [pd.read_csv(folder / model / f"{name}.csv").assign(model=model) for model in models]
    return pd.concat(tables) if tables else pd.DataFrame()


def _draw_errors(errors: pd.DataFrame, explained: Sequence[str]) -> dict[tuple[str, str], bytes]:
    """Draw each listed error: the image, its lesion's outline and, for a single model, its heat map."""
    index = read_table(PIXELS / "index.csv", schemas.INDEX)
    position = pd.Series(index.index, index=index["sample_id"])
    images, masks = (np.load(PIXELS / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))
    heat = _read_heat_maps(explained)
    listed = errors[(errors["rank"] <= IMAGES_PER_KIND) & ~errors["model"].map(row_names.is_baseline)]
    return {
        (model, sample): png.encode_webp(
            overlays.encode_case(
                contact_sheets.to_eight_bits(images[position[sample]]),
                masks[position[sample]],
                heat.get((model, sample)),
            )
        )
        for model, sample in zip(listed["model"], listed["sample_id"], strict=True)
    }


def _read_heat_maps(explained: Sequence[str]) -> dict[tuple[str, str], npt.NDArray[np.float16]]:
    """Read Grad-CAM maps of the test samples by model and sample; ensembles and the continued model have none."""
    heat: dict[tuple[str, str], npt.NDArray[np.float16]] = {}
    for model in explained:
        samples = pd.read_csv(GRADCAM / model / "samples.csv", dtype={"sample_id": str})["sample_id"]
        maps = np.load(GRADCAM / model / "maps.npy", mmap_mode="r")
        heat |= {(model, sample): sample_map for sample, sample_map in zip(samples, maps, strict=True)}
    return heat


if __name__ == "__main__":
    run(main)
