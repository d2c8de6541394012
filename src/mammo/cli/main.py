"""`python -m mammo`: what is done beside `dvc repro`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from mammo.cli import commands, output
from mammo.core.errors import InputError

Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(words: Sequence[str] | None = None) -> None:
    """Run one command; bad input ends in one message and exit code 1."""
    asked = _parser().parse_args(words)
    try:
        asked.run(asked)
    except InputError as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mammo", description=__doc__)
    to = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_predict, _add_export, _add_data, _add_compare, _add_report, _add_search, _add_reproduce):
        add(to)
    profile = to.add_parser("profile", help="merge profiles/NAME.yaml into params.yaml, keeping its comments")
    profile.add_argument("name", metavar="NAME", help="a file of profiles/, without .yaml")
    profile.set_defaults(run=commands.profile)
    result = to.add_parser(
        "results", help="write docs/results/NAME and docs/data/NAME from the finished run, and README's table"
    )
    result.add_argument("name", metavar="NAME")
    result.set_defaults(run=commands.results)
    ui = to.add_parser("ui", help="open the MLflow UI of this workspace's runs")
    ui.add_argument("--port", type=int, default=5000)
    ui.set_defaults(run=commands.ui)
    return parser


def _add_predict(to: Parsers) -> None:
    predict = to.add_parser(
        "predict",
        help="what a finished model says of image files",
        description="What a finished model says of DICOM, PNG, JPEG and TIFF files. A model of lesions needs a box "
        "around each lesion, a model of images takes whole films. A file that fails has its error in its row, and the "
        "exit code is 1 then.",
    )
    predict.add_argument("files", nargs="+", metavar="FILE", help="image files, or folders of them")
    predict.add_argument(
        "--model",
        required=True,
        help="a model or an ensemble of this workspace (its name), a bundle (folder or .zip), a .keras file, or an "
        "MLflow URI (runs:/RUN/NAME, models:/NAME/VERSION)",
    )
    box = predict.add_mutually_exclusive_group()
    box.add_argument(
        "--box", metavar="X0,Y0,X1,Y1", type=_corners, help="the lesion in the one FILE, in px of the film"
    )
    box.add_argument("--boxes", metavar="CSV", type=Path, help="a table: file, x0, y0, x1, y1; a row per lesion")
    predict.add_argument("--confidence", type=float, help="of the prediction sets (default: .9 where the model has it)")
    predict.add_argument("--heat-maps", metavar="FOLDER", type=Path, help="write where the model looked, a PNG per row")
    predict.add_argument("--method", default="layercam", help="of the heat maps (default: %(default)s)")
    predict.add_argument("--workers", type=_count, default=os.cpu_count() or 1, help="threads that read files")
    output.add_options(predict)
    predict.set_defaults(run=commands.predict)


def _add_export(to: Parsers) -> None:
    export = to.add_parser(
        "export", help="write a finished model with all that is needed to use it elsewhere: a bundle"
    )
    export.add_argument("name", metavar="NAME", help="a model of this workspace")
    export.add_argument("--out", type=Path, required=True, metavar="FOLDER|FILE.zip")
    export.add_argument(
        "--formats",
        nargs="+",
        default=[],
        metavar="FORMAT",
        help="beside .keras: saved_model (TensorFlow), onnx (pip install -r requirements/onnx.txt)",
    )
    output.add_json(export)
    export.set_defaults(run=commands.export)


def _add_data(to: Parsers) -> None:
    data = to.add_parser("data", help="fetch, check or count the data that params.yaml names")
    parts = data.add_subparsers(required=True, metavar="download|check|describe")
    download = parts.add_parser(
        "download", help="fetch what `ingest.source` names; what is there is kept, what is half there goes on"
    )
    output.add_json(download)
    download.set_defaults(run=commands.data_download)
    check = parts.add_parser(
        "check",
        help="whether files, tables and split are whole; exit code 1 where they are not",
        description="Reads every file that the data set names: missing, truncated and unreadable ones; the published "
        "counts where `ingest.expect` is `full`; files that changed since ingest; patients and films in two splits.",
    )
    output.add_json(check)
    check.set_defaults(run=commands.data_check)
    describe = parts.add_parser("describe", help="count patients, films and lesions by split, class and finding")
    output.add_options(describe)
    describe.set_defaults(run=commands.data_describe)


def _add_compare(to: Parsers) -> None:
    compare = to.add_parser(
        "compare",
        help="rows of the comparison table side by side, with the paired tests between them",
        description="Rows of the comparison table of the finished run; of two or more that are named also the paired "
        "tests of their AUCs, corrected over all pairs of the table (Holm). Nothing is computed anew.",
    )
    compare.add_argument("models", nargs="*", metavar="MODEL", help="models, ensembles, baselines; all where none is")
    compare.add_argument("--level", help="raise samples to lesion, image, breast or patient")
    compare.add_argument("--sort", metavar="METRIC", help="best first, e.g. auc; default: the order of the table")
    output.add_options(compare)
    compare.set_defaults(run=commands.compare)
    summary = to.add_parser("summary", help="print the comparison table, and where figures and runs are")
    output.add_json(summary)
    summary.set_defaults(run=commands.summary)


def _add_report(to: Parsers) -> None:
    report = to.add_parser("report", help="where the report is, and whether it is up to date")
    report.add_argument("--update", action="store_true", help="bring it up to date first (dvc repro)")
    report.add_argument("--open", action="store_true", help="open it in the browser")
    output.add_json(report)
    report.set_defaults(run=commands.report)


def _add_search(to: Parsers) -> None:
    search = to.add_parser(
        "search", help="search the parameters of models.MODEL: TPE proposes them, validation patients alone judge them"
    )
    search.add_argument("model", metavar="MODEL")
    search.add_argument(
        *("-S", "--space"),
        action="append",
        default=[],
        metavar="KEY=SPACE",
        help="what may change, e.g. 'models.light_cnn.learning_rate=log(1e-4,1e-2)'; there are uniform(a,b), log(a,b), "
        "int(a,b) and choice(a,b,...)",
    )
    search.add_argument("--spaces", type=Path, metavar="FILE", help="more of them, in YAML, nested as params.yaml")
    search.add_argument("--trials", type=int, default=30, help="in all, those of earlier calls included (30)")
    search.add_argument(
        "--folds",
        action="store_true",
        help="judge by the folds of all training patients, not by the validation patients: less luck, more time",
    )
    search.add_argument("--apply", action="store_true", help="write the best trial's values into params.yaml")
    output.add_json(search)
    search.set_defaults(run=commands.search)


def _add_reproduce(to: Parsers) -> None:
    again = to.add_parser(
        "reproduce", help="run a finished MLflow run again from its commit, in a temporary worktree, and compare"
    )
    again.add_argument("run_id", metavar="RUN_ID", help="of a stage or a whole pipeline; `make ui` shows it")
    again.add_argument("--tolerance", type=float, default=1e-6, help="largest difference of a metric (default 1e-6)")
    again.add_argument("--keep", action="store_true", help="leave the worktree")
    output.add_json(again)
    again.set_defaults(run=commands.reproduce)


def _corners(text: str) -> tuple[int, ...]:
    corners = tuple(int(part) for part in text.split(","))
    if len(corners) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not X0,Y0,X1,Y1")
    return corners


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return count
