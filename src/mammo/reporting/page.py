"""What a report is made of: sections of tables, pictures, tiles and notes, drawn as one HTML file or as Markdown.

templates/page.html.j2 draws them as HTML that links to nothing outside; `markdown` draws the same for a repository, its
pictures as files beside it. Equal sections give equal bytes.
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import ClassVar, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

ROWS_SHOWN = 24
DISCLAIMER = (
    "For research and teaching only. Not a medical device: do not use it, or a number in this report, to diagnose or "
    "treat anyone."
)
SYNTHETIC = (
    "these films are drawn by a program. The numbers show that the pipeline works, and nothing about mammograms."
)
COLOPHON = (
    "Where data come from CBIS-DDSM (CC BY 3.0), cite Sawyer-Lee et al., The Cancer Imaging Archive 2016, doi "
    "10.7937/K9/TCIA.2016.7O02S9CY, and Lee et al., Scientific Data 2017, doi 10.1038/sdata.2017.177. “not estimable” "
    "stands where a number is undefined on these samples; a value without an interval is one whose resamples all "
    "agree, or that rests on fewer than two patients."
)


PictureSize = Literal["third", "half", "full", "thumbnail"]


@dataclass(frozen=True)
class Cell:
    """Text of a table's cell; `value` is the exact number behind it, `interval` stands below it."""

    text: str
    value: float | None = None
    interval: str = ""
    warning: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under a head; groups are (heading or nothing, rows), the first cell of a row names it."""

    kind: ClassVar[str] = "table"
    caption: str
    head: list[str]
    groups: list[tuple[str, list[list[Cell]]]]
    fold: bool = False
    one_line: bool = False  # intervals stand beside their values, not below them

    @property
    def folded(self) -> bool:
        """Whether a screen shows the caption alone until it is asked for the rows; print shows them."""
        return self.fold or sum(len(rows) for _, rows in self.groups) > ROWS_SHOWN


@dataclass(frozen=True)
class Picture:
    """A PNG or WebP; `alt` describes it for readers who cannot see it, `name` is its file's beside a Markdown page.

    width_px: of a figure on a page, in CSS pixels, so that its text has the size of the page's.
    """

    alt: str
    caption: str
    png: bytes
    name: str = ""
    width_px: int | None = None

    @property
    def uri(self) -> str:
        """The picture itself as an address, for a page without other files."""
        kind = "webp" if self.png[:4] == b"RIFF" else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side."""

    kind: ClassVar[str] = "pictures"
    pictures: list[Picture]
    size: PictureSize = "third"


@dataclass(frozen=True)
class Tiles:
    """Headline numbers, each (number, what it counts)."""

    kind: ClassVar[str] = "tiles"
    tiles: list[tuple[str, str]]


@dataclass(frozen=True)
class Note:
    """A sentence; a warning stands out."""

    kind: ClassVar[str] = "note"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Stack:
    """Notes below each other, as one part of a row."""

    kind: ClassVar[str] = "stack"
    notes: list[Note]


@dataclass(frozen=True)
class Row:
    """Blocks beside each other, where the screen is wide enough."""

    kind: ClassVar[str] = "row"
    blocks: list[Table | Pictures | Stack]


@dataclass(frozen=True)
class Fold:
    """Blocks that a screen shows when it is asked for them; print shows them."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: "Sequence[Block]"


Block = Table | Pictures | Tiles | Note | Stack | Row | Fold


@dataclass(frozen=True)
class Section:
    """A part of the report; `guide` says in one sentence how to read it."""

    id: str
    title: str
    guide: str
    blocks: list[Block]


def html(title: str, sections: Sequence[Section], *, synthetic: bool, origin: str = "") -> str:
    """Render the sections as one HTML page; `synthetic` adds the warning that the films are drawn by a program.

    origin: the line below the title, by which code and command the page was made.
    """
    environment = Environment(
        loader=PackageLoader("mammo.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return (
        template.render(
            title=title,
            origin=origin,
            sections=sections,
            disclaimer=DISCLAIMER,
            synthetic=SYNTHETIC if synthetic else None,
            colophon=COLOPHON,
        )
        + "\n"
    )


def markdown(sections: Sequence[Section], folder: str, *, synthetic: bool) -> str:
    """Render the sections in GitHub's Markdown, without a title; it refers to the pictures as `<folder>/<name>.png`."""
    parts = [f"**{DISCLAIMER}**"]
    if synthetic:
        parts.append(f"**Synthetic cohort:** {SYNTHETIC}")
    parts += [text for section in sections for text in _section(section, folder)]
    return "\n\n".join([*parts, _text(COLOPHON)]) + "\n"


def pictures(sections: Sequence[Section]) -> dict[str, bytes]:
    """Return the PNGs that `markdown` refers to, by name."""
    parts = [part for section in sections for block in section.blocks for part in flatten(block)]
    return {picture.name: picture.png for part in parts if isinstance(part, Pictures) for picture in part.pictures}


def flatten(block: Block) -> Sequence[Block]:
    """Return a block, or what it holds: blocks of a row, of a stack, and behind a fold."""
    if isinstance(block, Fold | Row):
        return [part for one in block.blocks for part in flatten(one)]
    return block.notes if isinstance(block, Stack) else [block]


def _section(section: Section, folder: str) -> Iterator[str]:
    yield f"## {_text(section.title)}"
    yield f"*How to read it: {_text(section.guide)}*"
    for block in section.blocks:
        for part in flatten(block):
            yield from _block(part, folder)


def _block(block: Block, folder: str) -> Iterator[str]:
    if isinstance(block, Note):
        yield f"**Warning:** {_text(block.text)}" if block.warning else _text(block.text)
    elif isinstance(block, Tiles):
        yield " · ".join(f"**{_text(number)}** {_text(what)}" for number, what in block.tiles)
    elif isinstance(block, Pictures):
        for picture in block.pictures:
            yield f"![{_text(picture.alt)}]({folder}/{picture.name}.png)"
            yield _text(picture.caption)
    elif isinstance(block, Table) and block.folded:
        yield f"<details><summary>{_text(block.caption)}</summary>"
        yield _rows(block)
        yield "</details>"
    elif isinstance(block, Table):
        yield f"**{_text(block.caption)}**"
        yield _rows(block)


def _rows(table: Table) -> str:
    lines = [_line(map(_text, table.head)), "|" + "---|" * len(table.head)]
    for heading, rows in table.groups:
        if heading:
            lines.append(_line([f"**{_text(heading)}**", *[""] * (len(table.head) - 1)]))
        lines += [_line(map(_cell, row)) for row in rows]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(cell: Cell) -> str:
    text = _text(f"{cell.text} {cell.interval}".strip())
    return f"**{text}**" if cell.warning else text


def _text(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    for sign in "\\`*_|[]":
        text = text.replace(sign, f"\\{sign}")
    return escape(" ".join(text.split()), quote=False)
