"""`python -m mammo audit`: the log of inferences that `serve` and `watch` write with `--audit-log`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.cli.parsers import Subparsers, parse_count, show_examples
from mammo.core.errors import InputError

if TYPE_CHECKING:
    from mammo.serving.drift import Drift, DriftReference, LoggedFilm

HEAD = ("day", "films", "median", "KS", "p", "PSI", "doubted", "referred", "alarm")


def add_parser(subparsers: Subparsers) -> None:
    """Add `audit`."""
    parser = subparsers.add_parser(
        "audit", help="verify the log of inferences of `serve` and `watch`, and read drift from it"
    )
    show_examples(
        parser,
        "python -m mammo audit verify audit.jsonl",
        "python -m mammo audit drift audit.jsonl --model light_cnn",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    verify = actions.add_parser(
        "verify",
        help="check that no line was changed",
        description="Checks that no line was changed, taken out or put in. Lines cut off at the end cannot be seen: "
        "keep the last hash that this prints elsewhere, and compare.",
    )
    verify.add_argument("file", metavar="FILE", type=Path)
    verify.set_defaults(run=run_verify)
    drift = actions.add_parser(
        "drift",
        help="compare each day with the validation rows",
        description="Compares the films of each day with the validation rows of the model, or with the first days of "
        "the log: scores, share of films that can be no mammograms, share that is referred.",
    )
    drift.add_argument("file", metavar="FILE", type=Path)
    reference = drift.add_mutually_exclusive_group(required=True)
    reference.add_argument("--model", help="a bundle, or a name of this workspace: only its answers are read")
    reference.add_argument("--baseline-days", metavar="N", type=parse_count, help="compare with the log's first N days")
    drift.add_argument("--limits", metavar="YAML", type=Path, help="what raises an alarm (docs/serving.md)")
    drift.add_argument("--page", metavar="HTML", type=Path, help="write a page there, too")
    output.add_options(drift)
    drift.set_defaults(run=run_drift)


def run_verify(args: argparse.Namespace) -> None:
    """Verify the log and print what it holds."""
    from mammo.serving import audit_log

    verified = audit_log.verify(args.file)
    print(f"{args.file}: {verified.lines} lines, none changed; last hash {verified.last_hash}")
    if verified.unfinished_bytes:
        print(f"an unfinished line of {verified.unfinished_bytes} bytes at its end; `serve` drops it when it starts")


def run_drift(args: argparse.Namespace) -> None:
    """Print the drift of each day, and write the page."""
    import pandas as pd

    from mammo.serving import drift, drift_page

    limits = drift.read_limits(args.limits)
    films, reference = _read(args)
    days = list(drift.measure_days(films, reference, limits))
    rows = pd.DataFrame([{"day": day, **_columns(measured)} for day, measured in days])
    output.write(args, rows, rows, lambda: [_table(days, reference)])
    if args.page is not None:
        output.write_file("--page", args.page, drift_page.draw(days, reference, limits))


def _read(args: argparse.Namespace) -> "tuple[list[LoggedFilm], DriftReference]":
    """Return the films to compare, and what with; raises InputError where there are none."""
    from mammo.serving import drift

    if args.model is None:
        films = list(drift.read_films(args.file, None))
        reference = drift.reference_of_days(films, args.baseline_days)
    else:
        from mammo.inference.description import describe

        about = describe(args.model)
        films = list(drift.read_films(args.file, about.model_sha256))
        reference = drift.reference_of(about)
    if not films:
        raise InputError(f"{args.file}: holds no answer {'of that model' if args.model else 'about a film'}")
    return films, reference


def _columns(measured: "Drift") -> dict[str, Any]:
    return {**vars(measured), "alarms": ", ".join(measured.alarms)}


def _table(days: "Sequence[tuple[str, Drift]]", reference: "DriftReference") -> Any:
    from mammo.serving.drift_page import cells

    return output.table(f"drift against {reference.source}", list(HEAD), [cells(day, drift) for day, drift in days])
