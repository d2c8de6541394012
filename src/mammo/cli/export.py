"""`python -m mammo export`: the bundle of a finished row of the comparison table, or its ONNX graph alone."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples
from mammo.core.errors import InputError
from mammo.core.tensorflow_log import set_log_level

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from mammo.inference.about import About


def add_parser(subparsers: Subparsers) -> None:
    """Add `export`."""
    parser = subparsers.add_parser(
        "export", help="write a finished model or ensemble with all that is needed to use it elsewhere: a bundle"
    )
    parser.add_argument("name", metavar="NAME", help="a model, an ensemble or a row two_views_... of this workspace")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER|FILE.zip|FILE.onnx", help="a bundle, or one ONNX graph alone"
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        default=[],
        metavar="FORMAT",
        help="beside .keras: saved_model (TensorFlow), onnx (pip install -r requirements/onnx.txt)",
    )
    parser.add_argument(
        "--sign",
        type=Path,
        metavar="KEY",
        help="Ed25519 private key (PEM) that signs the bundle; see --verify of predict",
    )
    output.add_json(parser)
    show_examples(
        parser,
        "python -m mammo export light_cnn --out light_cnn.zip",
        "python -m mammo export light_cnn --out light_cnn.zip --formats saved_model onnx",
        "python -m mammo export two_views_ensemble_stacked --out best.zip --sign signing.key",
        "python -m mammo export ensemble_stacked --out ensemble.onnx",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the bundle, or the graph."""
    if args.out.suffix == ".onnx":
        _write_onnx(args)
        return
    from mammo.inference import bundle

    key = None if args.sign is None else _read_key(args.sign)
    with output.progress_to_stderr():
        about = bundle.write(args.name, args.out, _format_writer(args.formats) if args.formats else None, key)
    if args.json:
        print(output.as_json({"bundle": args.out, **about.model_dump()}), end="")
        return
    films, asked = ("two views", "--pairs PAIRS.csv") if about.two_views else (f"one {about.unit} at a time", "FILE")
    print(f"{args.out}: {about.name}, {films}, record {about.record}")
    print(f"try it: python -m mammo predict {asked} --model {args.out}")


def _write_onnx(args: argparse.Namespace) -> None:
    if args.formats or args.sign is not None:
        raise InputError("--formats and --sign are of bundles; name a folder or a .zip file")
    set_log_level()
    from mammo.inference.export import write_onnx

    with output.progress_to_stderr():
        about, difference = write_onnx(args.name, args.out)
    if args.json:
        print(
            output.as_json({"onnx": args.out, "largest_difference_of_prob": difference, **about.model_dump()}), end=""
        )
        return
    print(f"{args.out}: {about.name}; its probabilities differ from the model's by at most {difference:.1g}")


def _read_key(path: Path) -> "Ed25519PrivateKey":
    from mammo.inference.signatures import read_private_key

    return read_private_key(path)


def _format_writer(names: list[str]) -> "Callable[[Path, About], object]":
    """Return the function that adds further formats to a bundle's folder."""
    set_log_level()
    from mammo.inference import model_files
    from mammo.inference.export import write_formats

    return lambda folder, about: write_formats(folder, about, model_files.load(folder, about), names)
