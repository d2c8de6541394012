"""`python -m mammo reproduce`: run a finished MLflow run again, and compare."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples
from mammo.core.errors import InputError

if TYPE_CHECKING:
    from mammo.pipeline.reproduce import Reproduction


def add_parser(subparsers: Subparsers) -> None:
    """Add `reproduce`."""
    parser = subparsers.add_parser(
        "reproduce", help="run a finished MLflow run again from its commit, in a temporary worktree, and compare"
    )
    parser.add_argument("run_id", metavar="RUN_ID", help="of a stage or a whole pipeline; `make ui` shows it")
    parser.add_argument("--tolerance", type=float, default=1e-6, help="largest difference of a metric (default 1e-6)")
    parser.add_argument("--keep", action="store_true", help="leave the worktree")
    output.add_json(parser)
    show_examples(
        parser,
        "python -m mammo reproduce 0123456789abcdef0123456789abcdef",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the differences; exit code 1 where a metric differs by more than the tolerance."""
    from mammo.core.paths import project_root
    from mammo.pipeline import reproduce

    reproduction = reproduce.reproduce(args.run_id, project_root(), args.keep)
    largest = reproduction.largest()
    same = largest <= args.tolerance
    if args.json:
        print(output.as_json({"reproduced": same, "largest": largest, **vars(reproduction)}), end="")
    else:
        print(output.render(*_lines(reproduction)), end="")
    count = f"{len(reproduction.compared)} run{'s' if len(reproduction.compared) > 1 else ''}"
    if not same:
        raise InputError(f"not reproduced: a metric of {count} differs by {largest:.2g}")
    if not args.json:
        agreement = f"metrics within {largest:.2g}" if reproduction.differences else "with the same bytes"
        print(f"reproduced: {count}, {agreement}")


def _lines(reproduction: "Reproduction") -> Iterator[Any]:
    if reproduction.differences:
        rows = [
            [row.run, row.what, row.before, row.now, f"{row.distance:.2g}" if row.distance else "other bytes"]
            for row in reproduction.differences
        ]
        yield output.table("What came out otherwise", ["run", "what", "then", "now", "difference"], rows)
    for tag, (then, now) in reproduction.machine.items():
        yield f"{tag}: then {then}; now {now}"
