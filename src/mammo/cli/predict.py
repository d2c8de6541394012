"""`python -m mammo predict`: predictions of a finished model for image files."""

import argparse
import os
import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.cli.parsers import Subparsers, add_verify, parse_corners, parse_count, parse_output, show_examples
from mammo.core.errors import InputError
from mammo.core.tensorflow_log import set_log_level

if TYPE_CHECKING:
    import pandas as pd

    from mammo.inference.dicom_results.maker import ResultWriter
    from mammo.inference.predictor import Predictor

HASH_LENGTH = 12  # characters of a hash in a table
# Lines of the printed table below a film, its probability and its answer, where not empty.
PLACES = ("box", "pair", "views", "heat_map")
NUMBERS = ("prob", "prob_one_view", "calibrated", "threshold")
ANSWERS = ("answer", "call", "set")


def add_parser(subparsers: Subparsers) -> None:
    """Add `predict`."""
    parser = subparsers.add_parser(
        "predict",
        help="predict the probability of malignancy of image files with a finished model",
        description="Predictions of a finished model for DICOM, PNG, JPEG and TIFF files. A model of lesions needs a "
        "box around each lesion, a model of images takes whole films. A file that fails has its error in its row, and "
        "the exit code is 1 then.",
    )
    _add_films(parser)
    parser.add_argument(
        "--model",
        required=True,
        help="a row of this workspace's comparison table (its name: a model, an ensemble, two_views_...), a bundle "
        "(folder or .zip), a .keras file, or an MLflow URI (runs:/RUN/NAME, models:/NAME/VERSION)",
    )
    add_verify(parser)
    parser.add_argument(
        "--output",
        metavar="malignant=K",
        type=parse_output,
        help="of a foreign model with several outputs: which one is the probability of malignancy, counted from 0",
    )
    box = parser.add_mutually_exclusive_group()
    box.add_argument(
        "--box", metavar="X0,Y0,X1,Y1", type=parse_corners, help="the lesion in the one FILE, in px of the film"
    )
    box.add_argument("--boxes", metavar="CSV", type=Path, help="a table: file, x0, y0, x1, y1; a row per lesion")
    parser.add_argument("--confidence", type=float, help="of the prediction sets (default: 0.9 where the model has it)")
    parser.add_argument("--heat-maps", metavar="FOLDER", type=Path, help="write a heat map per row there, as PNG")
    parser.add_argument(
        "--dicom",
        metavar="FOLDER",
        type=Path,
        help="write the results of each DICOM film there: report (SR), heat map (SEG) and picture (SC) of its study",
    )
    parser.add_argument("--method", default="layercam", help="of the heat maps (default: %(default)s)")
    parser.add_argument("--workers", type=parse_count, default=os.cpu_count() or 1, help="threads that read files")
    output.add_options(parser)
    show_examples(
        parser,
        "python -m mammo predict FILM.png --model light_cnn --box 71,162,110,201 --heat-maps maps",
        "python -m mammo predict films/ --model light_cnn --boxes boxes.csv --out answers.csv",
        "python -m mammo predict --pairs pairs.csv --model two_views_ensemble_stacked",
    )
    parser.set_defaults(run=run)


def _add_films(parser: argparse.ArgumentParser) -> None:
    """Add what names the films: FILE..., or --pairs."""
    films = parser.add_mutually_exclusive_group(required=True)
    films.add_argument("files", nargs="*", default=[], metavar="FILE", help="image files, or folders of them")
    films.add_argument(
        "--pairs",
        metavar="CSV",
        type=Path,
        help="of a model of two views, instead of FILE: a table: file, pair (the same name for the CC and the MLO view "
        "of a lesion or breast), of lesions x0, y0, x1, y1",
    )


def run(args: argparse.Namespace) -> None:
    """Print or write the predictions; exit code 1 where a file failed, after all others."""
    set_log_level()
    from mammo.inference import films, predictor
    from mammo.inference.heat_maps import HeatMapSettings

    boxes = None if args.boxes is None else films.read_boxes(args.boxes)
    files = args.files if args.pairs is None else films.read_pairs(args.pairs)
    heat_maps = None if args.heat_maps is None else HeatMapSettings(args.heat_maps, args.method)
    model = replace(predictor.load(args.model, args.output, args.verify), workers=args.workers)
    writer = _open_result_writer(model, args)
    predictions = model.predict(files, args.box, boxes, confidence=args.confidence, heat_maps=heat_maps)
    output.write(args, predictions, predictions, lambda: [_table(predictions)])
    errors = [*predictions["error"].dropna(), *(writer.write(predictions) if writer else [])]
    for message in errors:
        print(f"error: {output.printable(message)}", file=sys.stderr)
    if errors:
        sys.exit(f"{len(errors)} of {len(predictions)} failed")


def _open_result_writer(model: "Predictor", args: argparse.Namespace) -> "ResultWriter | None":
    """Return what writes results as DICOM; None where none are asked for."""
    if args.dicom is None:
        return None
    if args.pairs is not None:
        raise InputError("--dicom writes the results of single films; give them without --pairs, to a row of one view")
    from mammo.inference.dicom_results import maker  # highdicom takes a second

    return maker.open_writer(model, args.dicom, args.method, args.files)


def _table(predictions: "pd.DataFrame") -> Any:
    first = predictions.iloc[0]
    version = f", record {first['version'][:HASH_LENGTH]}" if first["version"] else ""
    title = f"{first['model']}{version}, file {first['model_sha256'][:HASH_LENGTH]}"
    # A missing value is None in a column of text alone, and nan beside a text.
    filled = predictions.astype(object).where(predictions.notna(), "")
    # Not iterrows: a row of text alone becomes a Series of strings, which a name that is not UTF-8 does not fit.
    rows = map(_cells, filled.to_dict(orient="records"))
    return output.table(title, ["film", "probability", "answer"], rows)


def _cells(row: Mapping[Hashable, Any]) -> list[tuple[str, ...]]:
    """Return what a row has, a line each below its film, its probability and its answer."""
    places = _name_values(row, PLACES)
    numbers = [f"{name} {row[name]:.3f}" for name in NUMBERS if row[name] != ""]
    remarks = filter(None, [_remark(row)])
    return [(str(row["file"]), *places, *remarks), tuple(numbers), tuple(_name_values(row, ANSWERS))]


def _name_values(row: Mapping[Hashable, Any], columns: Sequence[str]) -> list[str]:
    return [f"{name} {row[name]}" for name in columns if row[name] != ""]


def _remark(row: Mapping[Hashable, Any]) -> str:
    if row["error"]:
        return f"error: {row['error']}"
    return f"no mammogram? {row['doubt']}" if row["doubt"] else ""
