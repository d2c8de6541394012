"""`python -m mammo audit`: the log of inferences that `serve --audit-log` writes."""

import argparse
from pathlib import Path

from mammo.cli.parsers import Subparsers


def add_parser(subparsers: Subparsers) -> None:
    """Add `audit`."""
    parser = subparsers.add_parser(
        "audit",
        help="verify the log of inferences that `serve --audit-log` writes",
        description="Checks that no line was changed, taken out or put in. Lines cut off at the end cannot be seen: "
        "keep the last hash that this prints elsewhere, and compare.",
    )
    parser.add_argument("action", choices=["verify"])
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Verify the log and print what it holds."""
    from mammo.serving import audit_log

    verified = audit_log.verify(args.file)
    print(f"{args.file}: {verified.lines} lines, none changed; last hash {verified.last_hash}")
    if verified.unfinished_bytes:
        print(f"an unfinished line of {verified.unfinished_bytes} bytes at its end; `serve` drops it when it starts")
