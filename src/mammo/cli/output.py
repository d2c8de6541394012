"""What a command found, for people or for programs: a table, JSON or CSV; to standard output or to a file.

In JSON a number that is missing or not finite is null, in CSV a missing one is empty.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

FORMATS = ("table", "json", "csv")
WIDTH = 170


def add_options(command: argparse.ArgumentParser) -> None:
    """--format, --json and --out, for results that are a table."""
    command.add_argument("--format", choices=FORMATS, help="default: by the suffix of --out, else table")
    command.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    command.add_argument("--out", type=Path, metavar="FILE", help="write there, not to standard output")


def add_json(command: argparse.ArgumentParser) -> None:
    """--json alone, for results that are no table."""
    command.add_argument("--json", action="store_true", help="print the result as JSON")


def write(asked: argparse.Namespace, content: Any, rows: Any, draw: Callable[[], Iterable[Any]]) -> None:
    """Write a result where and as `add_options` was asked to.

    content: what becomes JSON; rows: the DataFrame that becomes CSV; draw: what `drawn` shows of it.
    """
    suffix = "table" if asked.out is None else asked.out.suffix.lstrip(".")
    kind = asked.format or (suffix if suffix in FORMATS else "table")
    if kind == "json":
        text = as_json(content)
    elif kind == "csv":
        text = str(rows.to_csv(index=False, lineterminator="\n"))
    else:
        text = drawn(*draw())
    if asked.out is None:
        print(text, end="")
        return
    from mammo.core.files import write_text  # pandas, only where it has been imported anyway

    write_text(asked.out, text)


def as_json(content: Any) -> str:
    """`content` of mappings, sequences, dataclasses, tables (a list of rows) and plain values."""
    return json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def drawn(*shown: Any) -> str:
    """What rich makes of tables and lines of text."""
    from rich.console import Console

    console = Console(width=WIDTH, highlight=False)
    with console.capture() as captured:
        for one in shown:
            console.print(one, markup=not isinstance(one, str))
    return captured.get()


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Any:
    """A table for `drawn`; nothing is cut off, long cells go on in the next line."""
    from rich.table import Table

    made = Table(title=title)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*map(str, row))
    return made


def _plain(content: Any) -> Any:
    """What JSON can hold of `content`."""
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
