"""`python -m mammo clean`: free DVC's cache, experiments and MLflow's files, and nothing that a kept run needs."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples

if TYPE_CHECKING:
    from mammo.pipeline.cleaning import Cleaning


def add_parser(subparsers: Subparsers) -> None:
    """Add `clean`."""
    parser = subparsers.add_parser(
        "clean",
        help="free DVC's cache, experiments and MLflow's files together, less what kept runs need",
        description="Lists what of DVC's cache, of its experiments and of the files of MLflow runs no kept run needs, "
        "with its size; --yes frees it. The workspace, HEAD and all branches are kept always.",
    )
    parser.add_argument(
        "--keep",
        required=True,
        metavar="WHAT",
        help="champion (the workspace that registered it), tagged (git's tags), last:N (the last N workspaces)",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--yes", action="store_true", help="free it")
    choice.add_argument("--dry-run", action="store_true", help="list it and free nothing, as without --yes")
    output.add_json(parser)
    show_examples(
        parser,
        "python -m mammo clean --keep champion,tagged,last:5        what it would free",
        "python -m mammo clean --keep champion,tagged,last:5 --yes  free it",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """List what is freed, or would be."""
    from mammo.pipeline import cleaning

    with output.progress_to_stderr():
        found = cleaning.clean(cleaning.parse_keep(args.keep), args.yes)
    if args.json:
        content = {name: getattr(found, name) for name in ("kept", "cache_files", "experiments", "n_bytes", "notes")}
        print(output.as_json(content | {"runs": [run.info.run_id for run in found.runs], "freed": args.yes}), end="")
    else:
        print(*lines(found, args.yes), sep="\n")


def lines(found: "Cleaning", freed: bool) -> Iterator[str]:
    """Yield what is kept, what is freed, and its size."""
    yield "kept:"
    yield from (f"  {name}" for name in found.kept)
    yield "freed:" if freed else "would be freed:"
    yield f"  DVC's cache: {len(found.cache_files):,} files"
    names = [name.rsplit("/", 1)[-1] for name in found.experiments]
    yield f"  experiments: {', '.join(names) or 'none'}"
    yield f"  MLflow: the files of {len(found.runs):,} runs (their metrics and parameters stay)"
    yield f"together {found.n_bytes / 1e6:,.1f} MB"
    yield from found.notes
    if not freed:
        yield "--yes frees it; nothing was removed"
