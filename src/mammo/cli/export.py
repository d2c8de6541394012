"""`python -m mammo export`: the bundle of a finished model."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mammo.cli import output
from mammo.cli.parsers import Subparsers
from mammo.core.tensorflow_log import set_log_level

if TYPE_CHECKING:
    from mammo.inference.about import About


def add_parser(subparsers: Subparsers) -> None:
    """Add `export`."""
    parser = subparsers.add_parser(
        "export", help="write a finished model with all that is needed to use it elsewhere: a bundle"
    )
    parser.add_argument("name", metavar="NAME", help="a model of this workspace")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER|FILE.zip")
    parser.add_argument(
        "--formats",
        nargs="+",
        default=[],
        metavar="FORMAT",
        help="beside .keras: saved_model (TensorFlow), onnx (pip install -r requirements/onnx.txt)",
    )
    output.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the bundle."""
    from mammo.inference import bundle

    with output.progress_to_stderr():
        about = bundle.write(args.name, args.out, _format_writer(args.formats) if args.formats else None)
    if args.json:
        print(output.as_json({"bundle": args.out, **about.model_dump()}), end="")
        return
    print(f"{args.out}: {about.name}, one {about.unit} at a time, record {about.record}")
    print(f"try it: python -m mammo predict FILE --model {args.out}")


def _format_writer(names: list[str]) -> "Callable[[Path, About], None]":
    """Return the function that adds further formats to a bundle's folder."""
    set_log_level()
    from mammo import models
    from mammo.inference import bundle
    from mammo.inference.export import write_formats

    return lambda folder, about: write_formats(folder, about, models.load(folder / bundle.MODEL), names)
