"""`python -m mammo watch`: a finished model beside an archive that speaks DICOMweb."""

import argparse
import logging
import os
import signal
import threading
from pathlib import Path

from mammo.cli.parsers import Subparsers, add_verify, parse_count, show_examples
from mammo.core.errors import InputError
from mammo.core.tensorflow_log import set_log_level

PASSWORD = "MAMMO_DICOMWEB_PASSWORD"


def add_parser(subparsers: Subparsers) -> None:
    """Add `watch`."""
    parser = subparsers.add_parser(
        "watch",
        help="answer the new films of a DICOMweb archive, in their studies",
        description="Finds mammograms in an archive, predicts each once with a model of whole films, and stores "
        "report, heat map and picture in the film's study. See docs/serving.md. For research only: not a medical "
        "device.",
    )
    parser.add_argument("url", metavar="DICOMWEB_URL", help="the root of the archive's DICOMweb services")
    parser.add_argument("--model", required=True, help="as for `predict --model`; a model of whole films")
    parser.add_argument(
        "--memory", metavar="FILE", type=Path, default=Path("watch.db"), help="what was done (default: %(default)s)"
    )
    add_verify(parser)
    parser.add_argument("--interval", type=parse_count, default=15, help="seconds between looks (default: %(default)s)")
    parser.add_argument("--since", metavar="YYYYMMDD", type=_parse_date, help="leave out studies before that day")
    parser.add_argument("--once", action="store_true", help="look once, then end")
    parser.add_argument("--user", help=f"log in by HTTP basic authentication; {PASSWORD} holds the password")
    parser.add_argument("--audit-log", metavar="FILE", type=Path, help="append each answer to this hash-chained log")
    show_examples(
        parser,
        "python -m mammo watch http://127.0.0.1:8042/dicom-web --model whole_films.zip",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Answer new films until SIGINT or SIGTERM; the film in hand is finished first."""
    set_log_level()
    if args.user and PASSWORD not in os.environ:
        raise InputError(f"--user {args.user}: set {PASSWORD} to the password")
    from mammo.inference import predictor
    from mammo.serving import watch
    from mammo.serving.dicomweb import Archive

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    login = (args.user, os.environ[PASSWORD]) if args.user else None
    model = predictor.load(args.model, verify=args.verify)
    worker = watch.open_worker(Archive(args.url, login), model, watch.Memory(args.memory), args.audit_log)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    while True:
        outcomes = worker.run_once(args.since, stop.is_set)
        if args.once or stop.wait(args.interval):
            break
    if args.once:
        print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) or "no new films")


def _parse_date(text: str) -> str:
    if len(text) != 8 or not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not YYYYMMDD")
    return text
