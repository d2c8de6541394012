"""The result of a command, for people or for programs: a table, JSON or CSV, on standard output or in a file.

In JSON a number that is missing or not finite is null, in CSV a missing one is empty.
"""

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import Any

FORMATS = ("table", "json", "csv")
WIDTH = 170


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --format, --json and --out, for results that are a table."""
    parser.add_argument("--format", choices=FORMATS, help="default: by the suffix of --out, else table")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there, not to standard output")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json alone, for results that are no table."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def write(args: argparse.Namespace, content: Any, rows: Any, tables: Callable[[], Iterable[Any]]) -> None:
    """Write a result where and as the arguments of `add_options` say.

    content: what becomes JSON; rows: the DataFrame that becomes CSV; tables: what `render` shows.
    """
    suffix = "table" if args.out is None else args.out.suffix.lstrip(".")
    kind = args.format or (suffix if suffix in FORMATS else "table")
    if kind == "json":
        text = as_json(content)
    elif kind == "csv":
        text = str(rows.to_csv(index=False, lineterminator="\n"))
    else:
        text = render(*tables())
    if args.out is None:
        print(text, end="")
        return
    from mammo.core.files import write_text  # pandas, only where it has been imported anyway

    write_text(args.out, text)


def as_json(content: Any) -> str:
    """Return JSON of mappings, sequences, dataclasses, tables (as a list of rows) and plain values."""
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def render(*parts: Any) -> str:
    """Return tables and lines of text as rich prints them."""
    from rich.console import Console

    console = Console(width=WIDTH, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, markup=not isinstance(part, str))
    return captured.get()


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Any:
    """Return a table for `render`; nothing is cut off, long cells go on in the next line."""
    from rich.table import Table

    rendered = Table(title=title)
    for column in columns:
        rendered.add_column(column, overflow="fold")
    for row in rows:
        rendered.add_row(*map(str, row))
    return rendered


def progress_to_stderr() -> AbstractContextManager[object]:
    """Send what libraries print of their progress to standard error: standard output is for the result."""
    return redirect_stdout(sys.stderr)


def _plain(content: Any) -> Any:
    """Return what JSON can hold of `content`."""
    if dataclasses.is_dataclass(content) and not isinstance(content, type):
        return _plain(dataclasses.asdict(content))
    if hasattr(content, "to_dict"):
        return _plain(content.to_dict(orient="records"))
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if hasattr(content, "item"):  # a NumPy number
        return _plain(content.item())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if isinstance(content, Path):
        return content.as_posix()
    return content
