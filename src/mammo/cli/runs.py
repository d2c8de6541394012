"""`python -m mammo runs`: carry finished runs to a server that this machine does not reach."""

import argparse
from pathlib import Path

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples


def add_parser(subparsers: Subparsers) -> None:
    """Add `runs pack` and `runs unpack`."""
    parser = subparsers.add_parser(
        "runs",
        help="carry finished runs in a file from a site without a network to a server",
    )
    show_examples(
        parser,
        "python -m mammo runs pack site-a.zip               where they were computed",
        "MLFLOW_TRACKING_URI=http://server:5000 python -m mammo runs unpack site-a.zip",
    )
    parts = parser.add_subparsers(required=True, metavar="pack|unpack")
    pack = parts.add_parser(
        "pack",
        help="write finished runs to a file",
        description="Writes finished runs with their metrics, files and models to a zip file. Figures and reports "
        "among the files show films.",
    )
    pack.add_argument("file", type=Path, metavar="FILE")
    pack.add_argument("run_ids", nargs="*", metavar="RUN_ID", help="of a stage or a pipeline; default: all finished")
    output.add_json(pack)
    pack.set_defaults(run=run_pack)
    unpack = parts.add_parser(
        "unpack",
        help="send the runs of a file to the current server, less those that it has",
        description="Checks the file, then sends its runs to the server of MLFLOW_TRACKING_URI. A run that the server "
        "has already, by the content of its record, is not sent again; neither does `publish` later.",
    )
    unpack.add_argument("file", type=Path, metavar="FILE")
    output.add_json(unpack)
    unpack.set_defaults(run=run_unpack)


def run_pack(args: argparse.Namespace) -> None:
    """Write the file, and print what is in it."""
    from mammo.core.config import load_config
    from mammo.tracking import run_transfer

    with output.progress_to_stderr():
        names = run_transfer.pack(load_config().tracking.experiment, args.file, args.run_ids)
    if args.json:
        print(output.as_json({"file": args.file, "runs": names}), end="")
    else:
        print(f"{args.file}: {len(names)} runs, {args.file.stat().st_size / 1e6:.1f} MB")
        print("on a machine that reaches the server: python -m mammo runs unpack FILE")


def run_unpack(args: argparse.Namespace) -> None:
    """Send the runs, and print how many the server lacked."""
    from mammo.core.config import load_config
    from mammo.tracking import run_transfer

    with output.progress_to_stderr():
        unpacked = run_transfer.unpack(load_config().tracking.experiment, args.file)
    if args.json:
        print(output.as_json(unpacked._asdict()), end="")
    else:
        print(f"{len(unpacked.sent)} runs sent, {len(unpacked.known)} known already by their content")
