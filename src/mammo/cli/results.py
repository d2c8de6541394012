"""`python -m mammo results`: the pages of results under docs/, from the finished run."""

import argparse

from mammo.cli.parsers import Subparsers, show_examples
from mammo.core.errors import InputError


def add_parser(subparsers: Subparsers) -> None:
    """Add `results`."""
    parser = subparsers.add_parser(
        "results", help="write docs/results/NAME and docs/data/NAME from the finished run, and README's table"
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument(
        "--profile", help="the profile that was run, where NAME is not its name; the page on the data gets its name"
    )
    show_examples(
        parser,
        "python -m mammo results cbis-ddsm-mass",
        "python -m mammo results out-of-fold --profile cbis-ddsm-mass",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the pages, and print where they are."""
    from mammo.core.config import load_config
    from mammo.pipeline import test_ledger
    from mammo.reporting import results

    command, test_set = _describe_command(args), test_ledger.describe(load_config())
    for path in results.write_results(args.name, command, test_set, args.profile or args.name):
        print(path)


def _describe_command(args: argparse.Namespace) -> str:
    """Return the command that repeats the run; raise InputError for an unknown `--profile`."""
    from mammo.pipeline import profiles

    known = profiles.list_profiles()
    if args.profile and args.profile not in known:
        raise InputError(f"--profile {args.profile}: there is no such profile; there are: {', '.join(known)}")
    # A name that is no profile's would give a command that fails.
    profile = args.profile or (args.name if args.name in known else None)
    return f"python -m mammo profile {profile} && dvc repro" if profile else "dvc repro"
