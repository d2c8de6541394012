"""`python -m mammo open-test`: open the test set on purpose, which is counted."""

import argparse
import datetime

from mammo.cli.parsers import Subparsers, show_examples


def add_parser(subparsers: Subparsers) -> None:
    """Add `open-test`."""
    parser = subparsers.add_parser(
        "open-test",
        help="open the test set of real data: an entry in metrics/test_ledger.csv, and evaluate.test: open",
        description="Appends date, commit, profile, data, primary comparison and reason to metrics/test_ledger.csv and "
        "sets `evaluate.test: open` in params.yaml. `dvc repro` then evaluates on the test set. Commit the ledger.",
    )
    parser.add_argument("--reason", required=True, help="why the test set is opened, in one sentence")
    show_examples(
        parser,
        "python -m mammo open-test --reason 'final table of the paper'",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Append the entry and print what follows."""
    from mammo.core.paths import TEST_LEDGER
    from mammo.pipeline import test_ledger

    entry = test_ledger.open_test(args.reason, datetime.datetime.now(datetime.UTC))
    print(f"{TEST_LEDGER}: opened for {entry['primary_a']} against {entry['primary_b']} ({entry['reason']})")
    print(f"Commit it (git add {TEST_LEDGER}), then run `dvc repro`.")
