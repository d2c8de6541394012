"""`python -m mammo`: everything beside `dvc repro`.

Each command is a file of this package with `add_parser`, which sets its action as `run`. A command imports pandas,
Keras and MLflow within its action: help and refusals take no seconds.
"""

import argparse
import sys
from collections.abc import Sequence

from mammo.cli import (
    accept,
    audit,
    clean,
    compare,
    data,
    evaluate,
    experiments,
    export,
    open_test,
    output,
    plan,
    predict,
    profile,
    report,
    reproduce,
    results,
    runs,
    search,
    serve,
    ui,
    watch,
)
from mammo.core.errors import InputError

# As the help lists them.
COMMANDS = (
    predict,
    evaluate,
    serve,
    watch,
    audit,
    export,
    data,
    plan,
    experiments,
    compare,
    report,
    search,
    accept,
    reproduce,
    profile,
    open_test,
    results,
    runs,
    clean,
    ui,
)


def main(words: Sequence[str] | None = None) -> None:
    """Run one command; bad input ends in one message and exit code 1."""
    args = build_parser().parse_args(words)
    try:
        output.check_options(args)
        args.run(args)
    except InputError as error:
        lines = map(output.printable, str(error).splitlines())
        sys.exit("error: " + "\n".join(lines))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="mammo", description="`python -m mammo`: everything beside `dvc repro`.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser
