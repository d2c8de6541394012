"""`python -m mammo accept`: commit stages whose code is the same program, without a rerun."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples

if TYPE_CHECKING:  # DVC takes a third of a second
    from mammo.pipeline.accept import Reason, Result


def add_parser(subparsers: Subparsers) -> None:
    """Add `accept`."""
    parser = subparsers.add_parser(
        "accept",
        help="commit stages whose code changed only in comments, docstrings, formatting or annotations, without a run",
        description="Commits each stage that differs from dvc.lock only in comments, docstrings, formatting or "
        "annotations of its code, and runs nothing. Any other change is listed and its stage stays as it is; the exit "
        "code is 1 then.",
    )
    parser.add_argument(
        "stages", nargs="*", metavar="STAGE", help="as `dvc status` names them, or groups such as train; default: all"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    output.add_json(parser)
    show_examples(
        parser,
        "python -m mammo accept",
        "python -m mammo accept train@light_cnn",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Commit the stages whose code is the same program; exit with 1 where one is refused."""
    from mammo.pipeline.accept import accept

    with output.progress_to_stderr():
        result = accept(args.stages, args.dry_run)
    if args.json:
        print(output.as_json(vars(result) | {"dry_run": args.dry_run}), end="")
    else:
        print(*lines(result, args.dry_run), sep="\n")
    if result.refused:
        sys.exit(1)


def lines(result: "Result", dry_run: bool) -> Iterator[str]:
    """Yield a line per accepted stage, a line per reason of a refused stage, and the counts."""
    accepted = "would be accepted" if dry_run else "accepted"
    for verdict in result.accepted:
        yield f"{accepted}  {verdict.stage}: {', '.join(verdict.dependencies)}"
    for verdict in result.refused:
        yield from (f"refused   {verdict.stage}: {_place(reason)}: {reason.message}" for reason in verdict.reasons)
    yield f"{len(result.accepted)} {accepted}, {len(result.refused)} refused, {result.up_to_date} up to date"


def _place(reason: "Reason") -> str:
    return reason.path if reason.line is None else f"{reason.path}:{reason.line}"
