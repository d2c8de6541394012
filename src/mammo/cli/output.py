"""The result of a command, for people or for programs: a table, JSON or CSV, on standard output or in a file.

In JSON a number that is missing or not finite is null, in CSV a missing one is empty. Text is shown as `printable`
gives it, and in CSV a cell that a spreadsheet would compute starts with an apostrophe; JSON holds every text as it is.
"""

import argparse
import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import Any

from mammo.core.errors import InputError

FORMATS = ("table", "json", "csv")
TEXT_SUFFIXES = ("", ".txt", ".md")  # of files that hold the table as it is shown
FORMULA = ("=", "+", "-", "@")  # what spreadsheets take for the start of a formula
SURROGATES = re.compile("[\ud800-\udfff]")  # bytes of a file name that are no UTF-8, as Python holds them
WIDTH = 80  # of a terminal that nobody has widened


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --format, --json and --out, for results that are a table."""
    parser.add_argument("--format", choices=FORMATS, help="default: by the suffix of --out, else table")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there, not to standard output")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json alone, for results that are no table."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def check_options(args: argparse.Namespace) -> None:
    """Raise InputError where --out names a format that is not written, or no file; for commands without it do nothing.

    It is called before a command's work, which a refusal afterwards would lose.
    """
    if getattr(args, "out", None) is None or not hasattr(args, "format"):
        return
    known = [f".{name}" for name in FORMATS if name != "table"]
    if args.format is None and args.out.suffix.lower() not in (*known, *TEXT_SUFFIXES):
        raise InputError(
            f"--out {args.out}: {args.out.suffix} is not written; there are {', '.join(known)} and .txt, "
            "or say --format"
        )
    if args.out.is_dir():
        raise InputError(f"--out {args.out} is a folder; name a file in it")


def write(args: argparse.Namespace, content: Any, rows: Any, tables: Callable[[], Iterable[Any]]) -> None:
    """Write a result where and as the arguments of `add_options` say.

    content: what becomes JSON; rows: the DataFrame that becomes CSV; tables: what `render` shows.
    """
    suffix = "table" if args.out is None else args.out.suffix.lower().lstrip(".")
    kind = args.format or (suffix if suffix in FORMATS else "table")
    if kind == "json":
        text = as_json(content)
    elif kind == "csv":
        text = str(_guard_cells(rows).to_csv(index=False, lineterminator="\n"))
    else:
        text = render(*tables())
    if args.out is None:
        encoding = sys.stdout.encoding or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), end="")
    else:
        write_file("--out", args.out, text)


def write_file(option: str, path: Path, text: str) -> None:
    """Write a text to the file that an option names; raises InputError where it cannot be written."""
    from mammo.core.files import write_text  # pandas, only where it has been imported anyway

    try:
        write_text(path, text)
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be written ({error.strerror})") from error


def printable(text: str) -> str:
    """Return text in one line without effects on a terminal: line ends, control codes and bytes that are no text
    become escapes such as \\n, \\x1b and \\udcff."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _guard_cells(rows: Any) -> Any:
    """Return a table whose text neither steers a terminal nor is computed by a spreadsheet."""
    return rows.map(lambda value: _guard_cell(value) if isinstance(value, str) else value)


def _guard_cell(text: str) -> str:
    shown = printable(text)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def as_json(content: Any) -> str:
    """Return JSON of mappings, sequences, dataclasses, tables (as a list of rows) and plain values."""
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    return SURROGATES.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def render(*parts: Any) -> str:
    """Return tables and lines of text as rich prints them in WIDTH columns."""
    from rich.console import Console

    console = Console(width=WIDTH, highlight=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, markup=not isinstance(part, str))
    return captured.get()


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Any:
    """Return a table for `render`; nothing is cut off, long cells go on in the next line. A tuple is a cell's lines."""
    from rich.table import Table
    from rich.text import Text  # a text alone would be read as markup

    def cell(value: object) -> Text:
        lines = value if isinstance(value, tuple) else (value,)
        return Text("\n".join(printable(str(line)) for line in lines))

    rendered = Table(title=cell(title))
    for column in columns:
        rendered.add_column(cell(column), overflow="fold")
    for row in rows:
        rendered.add_row(*map(cell, row))
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
