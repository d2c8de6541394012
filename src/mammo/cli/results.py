"""`python -m mammo results`: the pages of results under docs/, from the finished run."""

import argparse

from mammo.cli.parsers import Subparsers, show_examples


def add_parser(subparsers: Subparsers) -> None:
    """Add `results`."""
    parser = subparsers.add_parser(
        "results", help="write docs/results/NAME and docs/data/NAME from the finished run, and README's table"
    )
    parser.add_argument("name", metavar="NAME")
    show_examples(
        parser,
        "python -m mammo results cbis-ddsm-mass",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the pages, and print where they are."""
    from mammo.core.config import load_config
    from mammo.pipeline import profiles, test_ledger
    from mammo.reporting import results

    # A name that is no profile's would give a command that fails.
    profile = f"python -m mammo profile {args.name} && " if args.name in profiles.list_profiles() else ""
    command, test_set = f"{profile}dvc repro", test_ledger.describe(load_config())
    for path in results.write_results(args.name, command, test_set):
        print(path)
