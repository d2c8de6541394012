"""`python -m mammo profile`: merge a named parameter set into params.yaml."""

import argparse

from mammo.cli.parsers import Subparsers, show_examples


def add_parser(subparsers: Subparsers) -> None:
    """Add `profile`."""
    parser = subparsers.add_parser("profile", help="merge profiles/NAME.yaml into params.yaml, keeping its comments")
    parser.add_argument("name", metavar="NAME", help="a file of profiles/, without .yaml")
    show_examples(
        parser,
        "python -m mammo profile cbis-ddsm-mass && dvc repro",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Merge the profile into params.yaml."""
    from mammo.pipeline import profiles

    changed = profiles.apply_profile(args.name)
    print(f"params.yaml: {len(changed)} values changed ({', '.join(changed) or 'it was merged already'})")
    print("`git diff params.yaml` shows the experiment, `dvc repro` runs it, `git checkout params.yaml` undoes it")
