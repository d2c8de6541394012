"""`python -m mammo report`: where the report is, and whether it is up to date."""

import argparse
import webbrowser

from mammo.cli import output
from mammo.cli.parsers import Subparsers
from mammo.core.errors import InputError
from mammo.core.paths import DATA_REPORT_PAGE, MODEL_CARDS, REPORT_PAGE

STAGES = ("report", "data_report")


def add_parser(subparsers: Subparsers) -> None:
    """Add `report`."""
    parser = subparsers.add_parser("report", help="where the report is, and whether it is up to date")
    parser.add_argument("--update", action="store_true", help="bring it up to date first (dvc repro)")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    output.add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print where the report is and what is stale; exit code 1 where there is no report."""
    from mammo.pipeline import dvc

    if args.update:
        dvc.run_dvc("repro", *STAGES, show=True)
    if not REPORT_PAGE.is_file():
        raise InputError(f"{REPORT_PAGE} does not exist; run `dvc repro report`")
    stale = dvc.stale_stages(*STAGES)
    if args.json:
        cards = sorted(MODEL_CARDS.glob("*.md"))
        content = {"report": REPORT_PAGE, "model_cards": cards, "data_report": DATA_REPORT_PAGE, "stale": stale}
        print(output.as_json(content), end="")
    else:
        print(REPORT_PAGE.resolve())
        if stale:
            print(f"it is stale: {', '.join(stale)} would run again; `python -m mammo report --update` does it")
    if args.open:
        webbrowser.open(REPORT_PAGE.resolve().as_uri())
