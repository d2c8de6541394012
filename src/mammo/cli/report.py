"""`python -m mammo report`: where the report is, and whether it is up to date."""

import argparse
import sys
import webbrowser

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples
from mammo.core.errors import InputError
from mammo.core.paths import DATA_REPORT_PAGE, MODEL_CARDS, REPORT_PAGE

STAGES = ("report", "data_report")


def add_parser(subparsers: Subparsers) -> None:
    """Add `report`."""
    parser = subparsers.add_parser(
        "report",
        help="where the report is, and whether it is up to date; or what changed since a commit",
    )
    parser.add_argument("--update", action="store_true", help="bring it up to date first (dvc repro)")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_argument(
        "--against",
        metavar="REV",
        help="Markdown for a pull request instead: differences of the metrics between a commit, branch, tag or "
        "experiment and this workspace, with paired tests on the same samples",
    )
    output.add_json(parser)
    show_examples(
        parser,
        "python -m mammo report --open",
        "python -m mammo report --against main > comment.md",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print where the report is and what is stale; exit code 1 where there is no report."""
    from mammo.pipeline import dvc

    if args.update:
        dvc.run_dvc("repro", *STAGES, show=True)
    if args.against is not None:
        _compare(args.against, args.json)
        return
    if not REPORT_PAGE.is_file():
        raise InputError(f"{REPORT_PAGE} does not exist; run `dvc repro report`")
    stale = dvc.stale_stages(*STAGES)
    if args.json:
        cards = sorted(MODEL_CARDS.glob("*.md"))
        content = {"report": REPORT_PAGE, "model_cards": cards, "data_report": DATA_REPORT_PAGE, "stale": stale}
        print(output.as_json(content), end="")
    else:
        print(REPORT_PAGE.resolve())
        print(f"it is stale: {', '.join(stale)} would run again" if stale else "it is up to date")
        if stale:
            print("`python -m mammo report --update` brings it up to date")
    if args.open:
        webbrowser.open(REPORT_PAGE.resolve().as_uri())


def _compare(revision: str, as_json: bool) -> None:
    """Print the differences between a commit and this workspace."""
    from mammo.core.config import load_config
    from mammo.pipeline import dvc, revision_report, test_ledger

    comparison = revision_report.compare_with(revision)
    if as_json:
        print(output.as_json(comparison), end="")
    else:
        print(revision_report.to_markdown(comparison, test_ledger.describe(load_config())), end="")
    if stale := dvc.stale_stages("report"):
        print(f"warning: the workspace is stale, {', '.join(stale)} would run again (`dvc repro`)", file=sys.stderr)
