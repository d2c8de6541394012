"""`python -m mammo evaluate`: a finished model on labelled cases of one's own."""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.cli.parsers import Subparsers, add_verify, parse_count, show_examples
from mammo.core.errors import InputError
from mammo.core.tensorflow_log import set_log_level

if TYPE_CHECKING:
    import pandas as pd

    from mammo.inference.labelled_cases import LocalEvaluation

TITLES = {
    "metrics": "At the frozen operating point (95 % interval by patient)",
    "drift": "What the model promises, and what holds here",
    "refits": "A threshold and a calibration fitted on k of these cases, on the others",
}


def add_parser(subparsers: Subparsers) -> None:
    """Add `evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="evaluate a finished model on labelled image files of your own",
        description="Metrics with intervals at the model's frozen operating point, drift from what it promises, and "
        "the threshold and calibration that k of these cases would give. The model's own stay as they are. A file that "
        "fails is counted, and the exit code is 1 then.",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the image files")
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="CSV",
        help="a table: file, label (0, 1, benign or malignant), where known patient_id, of lesions x0, y0, x1, y1, for "
        "a model of two views pair",
    )
    parser.add_argument("--model", required=True, help="as of `predict`")
    add_verify(parser)
    parser.add_argument("--resamples", type=parse_count, default=2000, help="of the patients (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20, help="of the resamples and draws (default: %(default)s)")
    parser.add_argument("--workers", type=parse_count, default=os.cpu_count() or 1, help="threads that read files")
    output.add_options(parser)
    show_examples(
        parser,
        "python -m mammo evaluate films/ --labels labels.csv --model light_cnn",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print or write the tables; exit code 1 where a file failed."""
    set_log_level()
    from mammo.inference import labelled_cases, predictor
    from mammo.metrics.resampling import Resampling

    if not args.folder.is_dir():
        raise InputError(f"{args.folder} is no folder; name the one that holds the image files")
    model = replace(predictor.load(args.model, verify=args.verify), workers=args.workers)
    evaluated = labelled_cases.evaluate(model, args.folder, args.labels, Resampling(args.resamples, args.seed))
    output.write(args, evaluated, evaluated.metrics, lambda: _tables(model.about.name, evaluated))
    for message in evaluated.answers["error"].dropna():
        print(f"error: {output.printable(message)}", file=sys.stderr)
    if evaluated.failed:
        sys.exit(f"{evaluated.failed} of {len(evaluated.answers)} failed")


def _tables(name: str, evaluated: "LocalEvaluation") -> Iterator[Any]:
    for part, title in TITLES.items():
        table: pd.DataFrame = getattr(evaluated, part)
        if len(table):
            yield output.table(f"{name}: {title}", table.columns, table.map(_cell).to_numpy().tolist())
    yield f"{len(evaluated.answers)} cases, {evaluated.failed} failed, {evaluated.doubted} may be no mammogram"


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) and value % 1 else str(value)
